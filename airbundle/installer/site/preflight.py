"""What stands in the way of an install at a site's cluster: all findings at once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from airbundle.bundle.inventory import KubernetesTarget
from airbundle.deploy.objects import NAMESPACE, ObjectKey
from airbundle.deploy.rules import run_rules
from airbundle.deploy.rules.catalogue import told
from airbundle.errors import AirbundleError, Finding, HostError, UsageError
from airbundle.installer.install import look
from airbundle.installer.journal import Journal
from airbundle.installer.options import CONTAINER, URL, Options
from airbundle.installer.render import Rendered, try_releases
from airbundle.installer.site.facts import gather_facts, is_forbidden
from airbundle.installer.site.node_findings import node_findings
from airbundle.installer.site.order import PHASES, Order
from airbundle.installer.site.reach import reach_cluster
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.wanted import wanted_of
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Gate, Trusted, open_trusted
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
    rendered: Rendered,
    *,
    phases: Sequence[str] = PHASES,
    nodes: LookAtNodes | None = None,
    reporter: Reporter = SILENT,
) -> list[Finding]:
    """Return all that stands in the way at the site, errors first; changes nothing.

    A cluster that does not answer is a finding; what needs no cluster is checked all the same.

    Args:
        run: bundle, site and cluster.
        rendered: what would be deployed; errors among its warnings are findings, too.
        phases: which of `PHASES` are asked for.
        nodes: looks from the nodes; None where that is not wanted.
        reporter: gets progress.

    Raises:
        VerificationError, DocumentError: bundle or records can't be read.
    """
    with reporter.phase("preflight"):
        wanted = wanted_of(run.trusted, run.site, run.site_state, rendered)
        # What an administrator deploys needs no right of this user, and is there before the rest begins.
        handed = {name for name, choice in run.site.site.releases.items() if choice.handed_over}
        wanted = replace(wanted, releases=tuple(each for each in wanted.releases if each.name not in handed))
        if handed:
            wanted = replace(wanted, there=frozenset(name for name in wanted.made_namespaces if _is_there(run, name)))
        wanted = replace(wanted, serves="dns" in phases)
        if RELEASES not in phases:
            wanted = replace(wanted, releases=(), findings=())
        # Without the step, the nodes have what an earlier run, or a person, gave them.
        wanted = replace(wanted, mirrored=NODES in phases or (run.site_state.root / NODES).is_dir())
        facts = gather_facts(run.cluster, wanted)
        findings = run_rules(facts, wanted)
        if nodes is None or facts.unreachable:
            return findings
        findings = [finding for finding in findings if finding.code not in _OF_NODES]
        return sorted([*findings, *_looked(nodes)], key=lambda finding: finding.severity != "error")


def look_at_nodes(run: SiteRun, order: Order) -> LookAtNodes | None:
    """Return what looks from the nodes; None where the step `nodes` is not asked for."""
    if NODES not in order.phases:
        return None
    return lambda: node_findings(run, registry_runs=_registry_runs(run))


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


def check_site(
    paths: Sequence[Path],
    options: Options,
    state: StateDirectory,
    gate: Gate,
    order: Order,
    *,
    bases: Sequence[Path] = (),
    reporter: Reporter = SILENT,
) -> tuple[str, list[Finding]]:
    """Do what comes before the first change of `install --site`, and no more (`airbundle preflight --site`).

    Returns:
        Name and version of the bundle, and what stands in the way: at this host, then at the cluster.

    Raises:
        As `install` before anything changed; findings are returned.
    """
    state.check_free()
    with open_trusted(paths, state, gate, bases) as trusted, reach_cluster(order, reporter) as cluster:
        findings = list(look(trusted, options, state, reporter).findings)
        wanted = RELEASES in order.phases
        rendered = _rendered(trusted, order, cluster, reporter) if wanted else Rendered((), (), ())
        site_state = SiteState(state, order.name)
        run = SiteRun(
            trusted=trusted,
            site=order.site,
            options=options,
            state=state,
            site_state=site_state,
            journal=Journal(site_state.journal),
            cluster=cluster,
            reporter=reporter,
            patience=order.patience,
        )
        nodes = look_at_nodes(run, order)
        findings += site_preflight(run, rendered, phases=order.phases, nodes=nodes, reporter=reporter)
        return trusted.title, findings


def _rendered(trusted: Trusted, order: Order, cluster: ClusterWriter, reporter: Reporter) -> Rendered:
    """Render for the cluster as it is; where it does not answer, for the one that the bundle was made for."""
    try:
        target = KubernetesTarget(cluster.version(), tuple(sorted(cluster.api_versions())))
    except AirbundleError:
        target = None  # the rules tell it
    try:
        return try_releases(trusted, order.site, kubernetes=target, reporter=reporter)
    except (HostError, UsageError) as error:
        finding = Finding(error.problem, where="render", code="render", hint=error.hint)
        return Rendered((), (), (*error.findings, finding))
