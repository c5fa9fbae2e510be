"""What stands in the way of an install at a site's cluster: all findings at once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from airbundle.deploy.objects import NAMESPACE, ObjectKey
from airbundle.deploy.rules import run_rules
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.wanted import Wanted
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.options import CONTAINER, URL
from airbundle.installer.site.facts import gather_facts, is_forbidden
from airbundle.installer.site.hook_pulls import pull_problem, untried
from airbundle.installer.site.node_findings import node_findings
from airbundle.installer.site.node_login import login_findings
from airbundle.installer.site.order import PHASES, Order
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.verify import Trusted
from airbundle.progress import SILENT, Reporter
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.local import port_problem

NODES, RELEASES = "nodes", "releases"


class SiteLike(Protocol):
    """What of a run the preflight looks at; a `SiteRun` is one."""

    @property
    def trusted(self) -> Trusted:
        """The bundle."""

    @property
    def site(self) -> SiteDir:
        """The site file, with what lies beside it."""

    @property
    def site_state(self) -> SiteState:
        """What this host keeps of the site."""

    @property
    def cluster(self) -> ClusterWriter:
        """Its API."""


LookAtNodes = Callable[[], Sequence[Finding]]
"""Looks from each node whether it can pull from the registry."""
_OF_NODES = frozenset({"node-access", "node-runtime"})
"""What looking at nodes tells better than their objects in the cluster do."""


def site_preflight(
    run: SiteLike,
    wanted: Wanted,
    *,
    phases: Sequence[str] = PHASES,
    nodes: LookAtNodes | None = None,
    unreachable: str = "",
    pods: bool = True,
    loaded: bool = True,
    reporter: Reporter = SILENT,
) -> list[Finding]:
    """Return all that stands in the way at the site, errors first; changes nothing.

    A cluster that does not answer is a finding; what needs no cluster is checked all the same.

    Args:
        run: bundle, site and cluster.
        wanted: what would be deployed; its findings are told, too.
        phases: which of `PHASES` are asked for.
        nodes: looks from the nodes; None where that is not wanted.
        unreachable: why the API does not answer, where that is known already.
        pods: whether a pod may be made, to find out whether nodes that a person set up pull what hooks run.
        loaded: whether the registry has this bundle's images already.
        reporter: gets progress.

    Raises:
        VerificationError, DocumentError: bundle or records can't be read.
    """
    with reporter.phase("preflight"):
        # What an administrator deploys needs no right of this user, and is there before the rest begins.
        handed = {name for name, choice in run.site.site.releases.items() if choice.handed_over}
        wanted = replace(wanted, releases=tuple(each for each in wanted.releases if each.name not in handed))
        if RELEASES in phases and not unreachable:
            wanted = replace(wanted, there=frozenset(name for name in wanted.made_namespaces if _is_there(run, name)))
        wanted = replace(wanted, serves="dns" in phases)
        if RELEASES not in phases:
            wanted = replace(wanted, releases=(), findings=())
        facts = gather_facts(run.cluster, wanted, unreachable)
        if pods and not facts.unreachable:
            wanted = _with_mirrors(run, wanted, phases, loaded)
        findings = run_rules(facts, wanted)
        if nodes is None or facts.unreachable:
            return findings
        findings = [finding for finding in findings if finding.code not in _OF_NODES]
        return sorted([*findings, *_looked(nodes)], key=lambda finding: finding.severity != "error")


def look_at_nodes(run: SiteRun, order: Order) -> LookAtNodes | None:
    """Return what looks from the nodes; None where the step `nodes` is not asked for."""
    if NODES not in order.phases:
        return None
    return lambda: [*login_findings(run), *node_findings(run, registry_runs=_registry_runs(run))]


def _with_mirrors(run: SiteLike, wanted: Wanted, phases: Sequence[str], loaded: bool) -> Wanted:
    """Add why hooks' images would not be pulled. Without the step, nodes have what an earlier run gave them, or a
    person: whether a person did is found out."""
    if NODES in phases or (run.site_state.root / NODES).is_dir():
        return wanted
    why = untried(wanted, loaded=loaded)
    return replace(wanted, untried=why) if why else replace(wanted, unmirrored=pull_problem(run, wanted))


def _is_there(run: SiteLike, namespace: str) -> bool:
    try:
        return run.cluster.get(ObjectKey("v1", NAMESPACE, "", namespace)) is not None
    except AirbundleError:
        return False


def _registry_runs(run: SiteRun) -> bool:
    """Tell whether the registry is up. One of this host may be down, as after a reboot: the install starts it."""
    installed = run.state.read()
    if installed.mode in ("", URL):
        return bool(installed.registry)
    port = run.options.container_port if installed.mode == CONTAINER else run.options.port
    return bool(port_problem(run.options.host, port))


def _looked(nodes: LookAtNodes) -> Sequence[Finding]:
    try:
        return nodes()
    except AirbundleError as error:
        hint = "leave the step `nodes` to an administrator (--phases)" if is_forbidden(error) else error.hint
        return [told("fact-unread", error.problem, where="nodes", hint=hint, severity="error")]
