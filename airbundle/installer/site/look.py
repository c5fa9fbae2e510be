"""An install before its first change: everything is looked at once, and all that stands in the way is told at once.

`preflight --site`, `install --dry-run` and `install --site` look in the same way. An API that does not answer, or that
is another cluster's, is a finding beside the others; then nothing is asked of it that the steps would need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.inventory import KubernetesTarget
from airbundle.deploy.wanted import Wanted
from airbundle.errors import AirbundleError, Finding, HostError, SiteError, Unreachable, UsageError
from airbundle.installer.install import Checked, look
from airbundle.installer.journal import Journal
from airbundle.installer.options import Options
from airbundle.installer.render import Rendered, try_releases
from airbundle.installer.site.assembly import early_steps
from airbundle.installer.site.errands import sweep_errands
from airbundle.installer.site.facts import is_forbidden
from airbundle.installer.site.order import Order
from airbundle.installer.site.preflight import look_at_nodes, site_preflight
from airbundle.installer.site.reach import identify, reach_cluster
from airbundle.installer.site.secrets_step import SecretsStep
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.site.step import SiteRun, Step
from airbundle.installer.site.wanted import wanted_of
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Gate, open_trusted
from airbundle.progress import Reporter

_RENDERED = frozenset({"trust", "secrets", "releases"})
"""Phases that have to know what is deployed: releases, and the namespaces that they come into."""
_ONCE = frozenset({"cluster-uid"})
"""What both the look for the cluster's identity and the rules tell."""


@dataclass(frozen=True)
class Asked:
    """What an install is asked for.

    Attributes:
        paths: the bundle, or its volumes, or directories with them.
        options: which registry, and where airbundle's server listens.
        order: the site, and what is asked for there.
        state: the host's state directory.
        gate: keys and allowances.
        bases: bundles that have what a delta leaves out.
    """

    paths: Sequence[Path]
    options: Options
    order: Order
    state: StateDirectory
    gate: Gate
    bases: Sequence[Path] = ()


@dataclass(frozen=True)
class Looked:
    """What was found.

    Attributes:
        checked: the plain install.
        run: what the steps share.
        identity: the cluster that this is; without a uid where it can't be told.
        rendered: what would be deployed.
        wanted: the same, with what it needs.
        early: the steps before the releases; none where the cluster can't be used.
        more: what stands in the way at the cluster, and what a person should know.
    """

    checked: Checked
    run: SiteRun
    identity: SiteCluster
    rendered: Rendered
    wanted: Wanted
    early: Sequence[Step]
    more: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        """All that was found, at this host and then at the cluster."""
        return [*self.checked.findings, *self.more]

    def refuse(self, reporter: Reporter) -> None:
        """Raise when something stands in the way; tell warnings. Raises as `Checked.refuse`."""
        self.checked.refuse(reporter, self.more)


def check_site(asked: Asked, reporter: Reporter) -> tuple[str, list[Finding]]:
    """Do what comes before the first change of `install --site`, and no more (`airbundle preflight --site`).

    Returns:
        Name and version of the bundle, and what stands in the way.

    Raises:
        As `look_around`; findings are returned.
        Busy: an install is under way.
    """
    asked.state.check_free()
    with look_around(asked, reporter) as looked:
        return looked.run.trusted.title, looked.findings


@contextmanager
def look_around(asked: Asked, reporter: Reporter) -> Iterator[Looked]:
    """Look at the bundle, the host, the cluster and what the releases would be there; changes nothing.

    Only errands that killed runs of this host left in the cluster are taken away.

    Args:
        asked: what would be installed.
        reporter: gets progress.

    Raises:
        VerificationError: the bundle is not to be trusted.
        UsageError, HostError, DocumentError: kubeconfig or records can't be used.
    """
    order, state = asked.order, asked.state
    opened = open_trusted(asked.paths, state, asked.gate, asked.bases)
    with opened as trusted, reach_cluster(order, reporter) as cluster:
        checked = look(trusted, asked.options, state, reporter)
        site_state = SiteState(state, order.name)
        run = SiteRun(
            trusted=trusted,
            site=order.site,
            options=asked.options,
            state=state,
            site_state=site_state,
            journal=Journal(site_state.journal),
            cluster=cluster,
            reporter=reporter,
            patience=order.patience,
            ask=order.ask,
            prompt=order.prompt,
        )
        yield _looked(checked, run, order)


def _looked(checked: Checked, run: SiteRun, order: Order) -> Looked:
    met = _meet(run, order)
    rendered, findings = _rendered(run, order, met)
    wanted = wanted_of(run.trusted, run.site, run.site_state, rendered)
    found = []
    if order.at_cluster or not met.usable:  # the registry alone needs nothing of a cluster that answers
        found = site_preflight(
            run,
            wanted,
            phases=order.phases,
            nodes=look_at_nodes(run, order) if met.usable else None,
            unreachable=met.unreachable,
            pods=met.usable,
            loaded=run.state.read().serves(sha256(run.trusted.bundle.statement_raw)),
            reporter=run.reporter,
        )
    known = {finding.code for finding in met.findings}
    findings = [*met.findings, *findings, *(each for each in found if each.code not in known & _ONCE)]
    early, lacking = _early(run, wanted, order) if met.usable else ([], [])
    findings += lacking
    return Looked(checked, run, met.identity, rendered, wanted, early, tuple(findings))


def _early(run: SiteRun, wanted: Wanted, order: Order) -> tuple[list[Step], list[Finding]]:
    """Return the steps before the releases, and why values of Secrets can't be had."""
    try:
        steps = early_steps(run, wanted, order.phases)
        return steps, [each for step in steps if isinstance(step, SecretsStep) for each in step.findings()]
    except AirbundleError as error:
        return [], [Finding(error.problem, where="cluster", code="fact-unread", hint=error.hint)]


@dataclass(frozen=True)
class _Met:
    """A cluster, and whether it may be used.

    Attributes:
        identity: which one it is.
        unreachable: why its API does not answer; empty where it does.
        findings: why it is not to be used.
    """

    identity: SiteCluster
    unreachable: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether more than a look at its objects may be asked of it: pods on its nodes."""
        return not self.unreachable and not self.findings


def _meet(run: SiteRun, order: Order) -> _Met:
    """Ask which cluster this is. A wrong one is looked at, and nothing is made in it."""
    nobody = SiteCluster("")
    try:
        identity = identify(run.cluster, order, run.site_state)
    except Unreachable as error:
        return _Met(nobody, error.problem)  # the rules tell it
    except AirbundleError as error:
        code = "rbac" if is_forbidden(error) else "cluster-uid" if isinstance(error, SiteError) else "fact-unread"
        return _Met(nobody, findings=(Finding(error.problem, where="cluster", code=code, hint=error.hint),))
    if identity.uid:
        sweep_errands(run.cluster, run.site_state)
    return _Met(identity)


def _rendered(run: SiteRun, order: Order, met: _Met) -> tuple[Rendered, list[Finding]]:
    """Render for the cluster as it is; where it does not answer, for the one that the bundle was made for."""
    if not _RENDERED.intersection(order.phases):
        return Rendered((), (), ()), []
    try:
        return try_releases(run.trusted, run.site, kubernetes=_target(run, met), reporter=run.reporter), []
    except (HostError, UsageError) as error:
        # What stands in the way is what is found; the sentence above several would count as one more.
        told = any(finding.severity == "error" for finding in error.findings)
        more = [] if told else [Finding(error.problem, where="render", code="render", hint=error.hint)]
        return Rendered((), (), ()), [*error.findings, *more]


def _target(run: SiteRun, met: _Met) -> KubernetesTarget | None:
    if met.unreachable:
        return None
    try:
        return KubernetesTarget(run.cluster.version(), tuple(sorted(run.cluster.api_versions())))
    except AirbundleError:
        return None  # the rules tell it
