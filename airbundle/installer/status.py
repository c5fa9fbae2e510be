"""`airbundle status`: what is installed, and whether it is well. Looks only; a finding gives exit 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import CONFIG_LIMIT, fingerprint
from airbundle.errors import AirbundleError, Busy, Finding, Unauthorized
from airbundle.installer.ca import SiteCa
from airbundle.installer.embedded import CONFIG, ask_health, check_tags, local_client
from airbundle.installer.files import free_space, read_file
from airbundle.installer.journal import Entry, Journal
from airbundle.installer.kept import installed_target
from airbundle.installer.options import CONTAINER, EMBEDDED
from airbundle.installer.published import published_findings
from airbundle.installer.service import Service
from airbundle.installer.site.reach_kept import Reach
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.site_status import SiteStatus, read_site_status
from airbundle.installer.site_blobs import site_blobs
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.status_clamav import DatabaseAge, clamav_ages, clamav_findings, deciding
from airbundle.installer.steps import plan_of
from airbundle.progress import SILENT, Reporter
from airbundle.store.reader import open_bundle

_FEW_DAYS = 14
_JOBS = 4
_SHOWN = 20


@dataclass(frozen=True)
class Status:
    """What was found.

    Attributes:
        runs_as: what keeps the server running, for people; empty when nothing does.
        findings: what is not well.
        certificate_days: until the server's certificate ends; None without one.
        ca_days: the same of the CA.
        free: bytes on the state directory's file system.
        clamav: ClamAV databases and their ages, by name.
        sites: what was found at each site that was looked at.
        blobs: digest and size in bytes of each blob that this site has for what is installed, sorted.
    """

    installed: Installed
    runs_as: str
    findings: tuple[Finding, ...]
    certificate_days: int | None
    ca_days: int | None
    free: int
    blobs: tuple[tuple[str, int], ...] = ()
    clamav: tuple[DatabaseAge, ...] = ()
    sites: tuple[SiteStatus, ...] = ()

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """What is not well, here and at sites."""
        return (*self.findings, *(finding for site in self.sites for finding in site.findings))

    @property
    def healthy(self) -> bool:
        """Whether all is well, as far as this user may know."""
        return not any(finding.severity == "error" for finding in self.all_findings)

    def to_json(self) -> dict[str, Any]:
        """Return the status for `--json`."""
        installed, database = self.installed, deciding(self.clamav)
        return {
            "installed": bool(installed.mode),
            "healthy": self.healthy,
            "mode": installed.mode,
            "registry": installed.registry,
            "prefix": installed.prefix,
            "server": installed.server,
            "runsAs": self.runs_as,
            "certificateDays": self.certificate_days,
            "caDays": self.ca_days,
            "clamavDays": database.days if database else None,
            "clamav": [asdict(each) for each in self.clamav],
            "freeBytes": self.free,
            "program": installed.program,
            "bundles": [
                {
                    "name": bundle.name,
                    "version": bundle.version,
                    "serial": bundle.serial,
                    "statement": bundle.statement,
                    "installed": bundle.installed,
                    "images": bundle.images,
                    "charts": bundle.charts,
                    "sparse": dict(bundle.sparse),
                }
                for bundle in installed.bundles
            ],
            "blobs": [list(blob) for blob in self.blobs],
            "sites": [site.to_json() for site in self.sites],
            "findings": [finding.to_json() for finding in self.all_findings],
        }


def read_status(
    state: StateDirectory, sites: Sequence[SiteState] = (), reach: Reach | None = None, reporter: Reporter = SILENT
) -> Status:
    """Look at everything that was installed.

    Args:
        state: of this host.
        sites: those that are looked at, too.
        reach: how their clusters are reached.
        reporter: gets warnings and long waits.

    Raises:
        DocumentError: the state does not parse.
    """
    installed = state.read()
    checker = _Checker(state, installed)
    findings = checker.run()
    ca = SiteCa.of(state)
    info = ca.info() if ca.exists else None
    return Status(
        installed=installed,
        runs_as=checker.runs_as,
        findings=tuple(findings),
        certificate_days=min((each.info.days_left() for each in ca.servers()), default=None) if ca.exists else None,
        ca_days=info.days_left() if info else None,
        free=free_space(state.root),
        blobs=tuple(sorted(site_blobs(state, installed).items())),
        clamav=tuple(checker.clamav),
        sites=tuple(read_site_status(state, site, reach or Reach(), reporter) for site in sites),
    )


class _Checker:
    def __init__(self, state: StateDirectory, installed: Installed) -> None:
        self._state = state
        self._installed = installed
        self._answers = False
        self.runs_as = ""
        self.clamav: list[DatabaseAge] = []

    def run(self) -> list[Finding]:
        checks: Sequence[Callable[[], Iterator[Finding]]] = [self._cut_off]
        if self._installed.mode:
            checks = [
                *checks,
                self._copies,
                self._service,
                self._server,
                self._certificates,
                self._container,
                self._registry,
                self._clamav,
            ]
        found = []
        for check in checks:
            try:
                found += list(check())
            except AirbundleError as error:
                found += error.findings or [Finding(error.problem, code=check.__name__.strip("_"), hint=error.hint)]
        return found

    def _cut_off(self) -> Iterator[Finding]:
        """Tell of an install that never came to its end, or has not yet."""
        try:
            self._state.check_free()
        except Busy as error:
            yield Finding(error.problem, code="busy", severity="warning")
            return
        last = _last_run(Journal(self._state.journal).read())
        if last is not None:
            yield Finding(
                "the last install did not come to its end",
                where=f"step {last.step}",
                code="cut-off",
                found=last.event,
                hint="run the same install again: it goes on from there",
            )

    def _copies(self) -> Iterator[Finding]:
        for bundle in self._installed.bundles:
            path = self._state.bundles / bundle.file
            if not bundle.file:
                continue
            if not path.is_file():
                gone = f"the copy of {bundle.name} {bundle.version} is gone"
                yield Finding(gone, where=str(path), code="copy", hint="install the bundle again")
            elif fingerprint(path.stat()) != bundle.fingerprint:
                yield Finding(
                    "the copy was touched since it was verified",
                    where=str(path),
                    code="copy",
                    hint="install the bundle again: it verifies the copy, and makes it anew where it is damaged",
                )
            yield from self._supplement(bundle)

    def _supplement(self, bundle: InstalledBundle) -> Iterator[Finding]:
        path = self._state.bundles / bundle.supplement
        if not bundle.supplement:
            return
        hint = "install the bundle again, with --base and the bundle that it builds on"
        if not path.is_file():
            yield Finding("what the delta leaves out is gone", where=str(path), code="copy", hint=hint)
        elif fingerprint(path.stat()) != bundle.supplement_fingerprint:
            yield Finding(
                "what the delta leaves out was touched since it was verified", where=str(path), code="copy", hint=hint
            )

    def _service(self) -> Iterator[Finding]:
        service = Service.of(self._state)
        self.runs_as = service.describe()
        if not service.running():
            yield Finding(
                "the server does not run",
                where=self._installed.server,
                code="service",
                hint="install the bundle again, which starts it",
            )

    def _server(self) -> Iterator[Finding]:
        url = self._installed.server_here
        with local_client(self._state, url) as client:
            health = ask_health(client, url)
        self._answers = health.answers
        if health.problem:
            yield Finding(health.problem, where=url, code="server", hint="install the bundle again")
            return
        config = read_file(self._state.path("server", CONFIG), limit=CONFIG_LIMIT)
        if config is None or health.instance != sha256(config):
            yield Finding(
                "the server runs with another configuration than the installed one",
                where=url,
                code="server",
                hint="install the bundle again, which restarts it",
            )
        yield from published_findings(self._state, self._installed, health.instance)

    def _certificates(self) -> Iterator[Finding]:
        ca = SiteCa.of(self._state)
        every = [("server's certificate", each.info.days_left()) for each in ca.servers()]
        info = ca.info()
        if info is not None:
            every.append(("CA", info.days_left()))
        for what, days in every:
            if days < _FEW_DAYS:
                yield Finding(
                    f"the {what} ends in {days} days" if days >= 0 else f"the {what} has ended",
                    where=str(self._state.path("ca")),
                    code="certificate",
                    hint="airbundle ca renew",
                )

    def _container(self) -> Iterator[Finding]:
        if self._installed.mode != CONTAINER:
            return
        from airbundle.installer.container import container_name, container_status

        name = container_name(self._state.root)
        status = container_status(name)
        if status is None or status.problem:
            yield Finding(
                status.problem if status else "the registry's container is gone",
                where=name,
                code="container",
                hint="install the bundle again, which starts it",
            )

    def _clamav(self) -> Iterator[Finding]:
        self.clamav = clamav_ages(self._state, self._installed)
        yield from clamav_findings(self.clamav)

    def _registry(self) -> Iterator[Finding]:
        """Ask the registry for every tag of the newest bundle of each name."""
        if self._installed.mode == EMBEDDED and not self._answers:
            return
        for bundle in _newest(self._installed.bundles):
            with open_bundle([self._state.bundles / bundle.file]) as copy:
                plan = plan_of(copy, self._installed.prefix)
            try:
                wrong = check_tags(plan, installed_target(self._state, self._installed), SILENT, _JOBS)
            except Unauthorized as error:
                # Who asks for the status need not be who may log in: that is no illness of the site.
                yield Finding(
                    error.problem,
                    where=self._installed.registry,
                    code="credentials",
                    hint=error.hint,
                    severity="warning",
                )
                return
            yield from tag_findings(wrong, self._installed.registry)


def tag_findings(wrong: Sequence[str], registry: str) -> Iterator[Finding]:
    """Yield a finding for each tag that is wrong; of very many the first ones, and how many more there are.

    Args:
        wrong: one line each, as `check_tags` gives them.
        registry: URL.
    """
    more = [f"{len(wrong) - _SHOWN} more tags are wrong"] if len(wrong) > _SHOWN else []
    for line in (*wrong[:_SHOWN], *more):
        yield Finding(line, where=registry, code="tag", hint="install the bundle again")


def _newest(bundles: Sequence[InstalledBundle]) -> list[InstalledBundle]:
    found: dict[str, InstalledBundle] = {}
    for bundle in bundles:
        if bundle.file:
            found.setdefault(bundle.name, bundle)
    return list(found.values())


def _last_run(entries: Sequence[Entry]) -> Entry | None:
    """Return the last entry of an install that began last and has no end; None when all is well."""
    begun = [entry for entry in entries if entry.event == "note" and entry.step in ("install", "uninstall")]
    if not begun or begun[-1].step == "uninstall":
        return None
    own = [entry for entry in entries if entry.run == begun[-1].run]
    return None if any((entry.step, entry.event) == ("install", "done") for entry in own) else own[-1]
