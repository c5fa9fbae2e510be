"""`airbundle status` at a site: whether what was deployed is what is there. Looks only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airbundle.errors import AirbundleError, Finding
from airbundle.installer.journal import Entry, Journal
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.history import bundles_at, failed_since
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.reach_kept import Reach, reach_kept
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.status_certificates import Expiry, expiries, expiry_findings
from airbundle.installer.site.status_checks import declared_findings
from airbundle.installer.site.status_images import ImagesSeen, look_at_images
from airbundle.installer.site.status_releases import release_findings
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT, Reporter

_SHOWN = 10


@dataclass
class SiteStatus:
    """What was found at a site.

    Attributes:
        site: its name.
        deployment: the newest one; None where nothing was deployed.
        bundles: the newest deployment of each bundle, with its own releases.
        failed: of bundles whose newest install failed and was gone back from, that install, by the bundle's name. What
            serves is what is meant to serve then: it is told, and no finding.
        cluster: context of the cluster; empty when it did not answer.
        releases: name → how it is: `up`, `changed`, `gone` or `unknown`.
        images: containers that were looked at, and how many of them run what is not theirs.
        certificates: what ends when.
        last: the journal's last entry.
        findings: what is not well.
    """

    site: str
    deployment: Deployment | None = None
    bundles: list[Deployment] = field(default_factory=list)
    failed: dict[str, Deployment] = field(default_factory=dict)
    cluster: str = ""
    releases: dict[str, str] = field(default_factory=dict)
    images: ImagesSeen = field(default_factory=ImagesSeen)
    certificates: list[Expiry] = field(default_factory=list)
    last: Entry | None = None
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the status for people."""
        named = "; ".join(f"{each.title}, deployment {each.number}" for each in self.bundles) or "nothing"
        where = f" in cluster {self.cluster}" if self.cluster else "; its cluster was not reached"
        if self.deployment is None and self.findings:
            named = "what was deployed there can't be read"
        yield f"site       {self.site}: {named}" + (where if self.deployment else "")
        for each in self.bundles:
            if each.name in self.failed:
                yield f"failed     {_told(self.failed[each.name])}; the site went back to {each.title}"
        for name, how in self.releases.items():
            yield f"release    {name}: {how}"
        if self.images.containers:
            wrong = f", {self.images.wrong} of them wrong" if self.images.wrong else ", all of them as signed"
            yield f"images     {self.images.containers} containers{wrong}"
        for lasting in self.certificates[:_SHOWN]:
            yield f"lasts      {lasting.what}: {lasting.left()}"
        if len(self.certificates) > _SHOWN:
            yield f"lasts      {len(self.certificates) - _SHOWN} more certificates: longer"
        if self.last is not None:
            yield f"last       {self.last.step} {self.last.event} at {self.last.time}"

    def to_json(self) -> dict[str, Any]:
        """Return the status for `--json`."""
        return {
            "name": self.site,
            "cluster": self.cluster,
            "deployment": self.deployment and _named(self.deployment),
            "bundles": [{**_named(each), "failed": self._failed(each.name)} for each in self.bundles],
            "releases": [{"name": name, "state": how} for name, how in self.releases.items()],
            "images": {"containers": self.images.containers, "wrong": self.images.wrong},
            "certificates": [each.to_json() for each in self.certificates],
            "last": self.last and {"step": self.last.step, "event": self.last.event, "time": self.last.time},
            "findings": [finding.to_json() for finding in self.findings],
        }

    def _failed(self, bundle: str) -> dict[str, Any] | None:
        return _named(self.failed[bundle]) if bundle in self.failed else None


def _told(deployment: Deployment) -> str:
    return f"{deployment.title}, deployment {deployment.number} of {deployment.time}, did not come up"


def _named(deployment: Deployment) -> dict[str, Any]:
    return {
        "number": deployment.number,
        "name": deployment.name,
        "version": deployment.version,
        "statement": deployment.statement,
        "time": deployment.time,
        "complete": deployment.complete,
    }


def read_site_status(state: StateDirectory, site: SiteState, reach: Reach, reporter: Reporter = SILENT) -> SiteStatus:
    """Look at a site. What can't be read of it is a finding: other sites are looked at all the same.

    Args:
        state: of this host.
        site: which one.
        reach: how its cluster is reached.
        reporter: gets warnings and long waits.
    """
    status = SiteStatus(site.name)
    try:
        status.last = _last(site)
    except AirbundleError as error:
        status.findings.append(_unread(site, "journal", error))
    try:
        deployments = site.deployments()
    except AirbundleError as error:
        status.findings.append(_unread(site, "record", error))
        return status
    if not deployments:
        return status
    deployment = status.deployment = deployments[-1]
    status.bundles = bundles_at(deployments)
    status.findings += [_cut_off(site, each) for each in status.bundles if not each.complete]
    tried = ((each.name, failed_since(deployments, each.name)) for each in status.bundles)
    status.failed = {name: each for name, each in tried if each is not None}
    status.releases = dict.fromkeys((each.name for each in deployment.releases), "unknown")
    try:
        with reach_kept(site, reach, reporter) as cluster:
            status.cluster = cluster.name
            runs = [
                (kept_run(state, site, cluster, reporter, deployment=each, patience=reach.patience), each)
                for each in status.bundles
            ]
            _look(runs, deployment, status)
    except AirbundleError as error:
        told = Finding(error.problem, where=f"site {site.name}", code="cluster", hint=error.hint)
        status.findings += [told, *error.findings]
    return status


def _cut_off(site: SiteState, deployment: Deployment) -> Finding:
    return Finding(
        f"the last run, of {deployment.title}, did not come to its end",
        where=f"site {site.name}",
        code="cut-off",
        hint=f"run the same command again: it goes on from there; or airbundle rollback --bundle {deployment.name}",
    )


def _unread(site: SiteState, code: str, error: AirbundleError) -> Finding:
    return Finding(error.problem, where=f"site {site.name}", code=code, hint=error.hint)


def _last(site: SiteState) -> Entry | None:
    entries = Journal(site.journal).read()
    return entries[-1] if entries else None


def _look(runs: Sequence[tuple[SiteRun, Deployment]], deployment: Deployment, status: SiteStatus) -> None:
    """Look at what is up.

    Args:
        runs: one for each bundle, with the site file that it was deployed with.
        deployment: the newest, with the releases of all bundles.
        status: what is found goes there.
    """
    run = runs[-1][0]
    with SiteHelm(run) as helm:
        for release in deployment.releases:
            _part(status, f"release/{release.name}", partial(release_findings, run, helm, release, status.releases))
    statements = [each.statement for _, each in runs]
    _part(status, "images", partial(look_at_images, run, deployment, statements, status.images))

    def certificates() -> Iterator[Finding]:
        unseen: list[Finding] = []
        status.certificates = sorted(expiries(run, deployment, unseen), key=lambda each: each.days())
        yield from expiry_findings(status.certificates)
        yield from unseen

    _part(status, "certificates", certificates)
    for own, each in runs:
        _part(status, "checks", partial(declared_findings, own, each))


def _part(status: SiteStatus, where: str, look: Callable[[], Iterator[Finding]]) -> None:
    """Look at one part; that it can't be looked at is a finding, and the others are looked at all the same."""
    try:
        status.findings += look()
    except AirbundleError as error:
        told = error.findings or [Finding(error.problem, where=where, code="unknown", hint=error.hint)]
        known = {each.message for each in status.findings}  # a broken journal keeps more than one part from looking
        status.findings += [each for each in told if each.message not in known]
