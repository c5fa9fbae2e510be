"""`airbundle install` in its plain form (design §7): verify, load, serve, check, report.

Every step looks first whether it is done. So a run that was cut off anywhere goes on where it was, and a run with
nothing to do ends with the same report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import airbundle
from airbundle.bundle.digest import sha256
from airbundle.bundle.index import CHART, IMAGE
from airbundle.bundle.sizes import counted, human
from airbundle.errors import Finding, SiteError
from airbundle.installer.ca_servers import ServerCertificate
from airbundle.installer.copies import Copies
from airbundle.installer.copy import Copy
from airbundle.installer.embedded import check_tags, make_config
from airbundle.installer.journal import Journal, timestamp
from airbundle.installer.load import LoadResult
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.missing import Missing
from airbundle.installer.options import CONTAINER, URL, Options
from airbundle.installer.places import keep_registry_ca, notes, registry_name, registry_place, server_place, target_here
from airbundle.installer.preflight import Preflight, raise_findings
from airbundle.installer.program import check_not_older, files_outside, install_program
from airbundle.installer.report import Report
from airbundle.installer.server_up import bring_up
from airbundle.installer.service import Service
from airbundle.installer.site_ca import ensure_ca, ensure_certificate
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.steps import accept, load_into, outcome, plan_of
from airbundle.installer.target import Target
from airbundle.installer.verify import Gate, Trusted, open_trusted
from airbundle.progress import SILENT, Reporter
from airbundle.store.delta import base_hint, lacking_body


def install(
    paths: Sequence[Path],
    options: Options,
    state: StateDirectory,
    gate: Gate,
    reporter: Reporter,
    *,
    bases: Sequence[Path] = (),
) -> Report:
    """Install a bundle.

    Args:
        paths: the bundle, or its volumes, or directories with them.
        options: which registry, and where airbundle's server listens.
        state: the site's state directory.
        gate: keys and allowances.
        reporter: gets progress.
        bases: bundles that have what a delta leaves out.

    Raises:
        VerificationError, CheckFailed, NoSpace, NoPermission: before anything changed (`unchanged`).
        Busy: another run is under way.
        AirbundleError: a step failed; its `outcome` is `partial`, and the same command goes on from there.
    """
    with outcome("unchanged"):
        state.check_free()
        with open_trusted(paths, state, gate, bases) as trusted:
            checked = look(trusted, options, state, reporter)
            checked.refuse(reporter)
            with state.locked(f"airbundle install {trusted.bundle.path.name}"), outcome("partial"):
                return install_checked(checked, reporter)


def check_install(
    paths: Sequence[Path],
    options: Options,
    state: StateDirectory,
    gate: Gate,
    *,
    bases: Sequence[Path] = (),
    reporter: Reporter = SILENT,
) -> tuple[str, list[Finding]]:
    """Do what comes before the first change, and no more (`airbundle preflight`).

    Returns:
        Name and version of the bundle, and what stands in the way.

    Raises:
        As `install` before anything changed; findings are returned.
    """
    state.check_free()
    with open_trusted(paths, state, gate, bases) as trusted:
        return trusted.title, list(look(trusted, options, state, reporter).findings)


@dataclass(frozen=True)
class Checked:
    """An install before its first change.

    Attributes:
        plan: what goes into the registry.
        missing: where is what a delta leaves out.
        findings: what stands in the way, and what a person should know.
    """

    trusted: Trusted
    options: Options
    state: StateDirectory
    plan: LoadPlan
    missing: Missing
    findings: tuple[Finding, ...]

    def refuse(self, reporter: Reporter, more: Sequence[Finding] = ()) -> None:
        """Raise when something stands in the way; tell warnings.

        Args:
            reporter: gets them.
            more: further findings, to be told at once with these.

        Raises:
            CheckFailed, NoSpace, NoPermission, SiteError: as `raise_findings`.
        """
        bundle = self.trusted.bundle
        body = lacking_body(bundle, self.missing.lacking) if self.missing.lacking else None
        findings = [*self.findings, *more]
        raise_findings(findings, self.trusted.title, body, base_hint(self.trusted.statement))
        for finding in findings:
            reporter.warn(str(finding))


def look(trusted: Trusted, options: Options, state: StateDirectory, reporter: Reporter) -> Checked:
    """Check what can be checked before the first change; changes nothing."""
    installed = state.read()
    check_not_older(installed.program)
    plan = plan_of(trusted.bundle, options.target.prefix if options.target else options.prefix)
    preflight = Preflight(trusted, plan, options, state, installed, reporter=reporter)
    findings = tuple(preflight.run())
    return Checked(trusted, options, state, plan, preflight.missing, findings)


def install_checked(checked: Checked, reporter: Reporter) -> Report:
    """Install a bundle that nothing stands in the way of; the lock of the state directory is held."""
    return _Install(
        checked.trusted, checked.plan, checked.options, checked.state, reporter, missing=checked.missing
    ).run()


class _Install:
    """One run over the steps. The lock is held."""

    def __init__(
        self,
        trusted: Trusted,
        plan: LoadPlan,
        options: Options,
        state: StateDirectory,
        reporter: Reporter,
        *,
        missing: Missing,
    ) -> None:
        self._trusted = trusted
        self._plan = plan
        self._missing = missing
        self._options = options
        self._state = state
        self._reporter = reporter
        self._journal = Journal(state.journal)
        self._before = state.read()
        self._changed = False

    def run(self) -> Report:
        """Go through the steps."""
        accept(self._trusted, self._state, self._journal, "install")
        result = LoadResult()
        if self._options.target is not None:
            result = self._load(self._options.target)
            self._changed |= keep_registry_ca(self._state, self._options.target)
        certificate = self._certificate()
        registry = target_here(self._state, self._options)
        if self._options.mode == CONTAINER:
            self._container(certificate)
            result = self._load(registry)
        copies = Copies(self._trusted, self._state, self._journal, self._reporter, whole=self._options.whole)
        supplement = copies.supplement(self._missing, registry)
        copy = copies.copy()
        self._changed |= copy.made or (supplement is not None and supplement.made)
        installed = self._installed(copy, supplement, registry, result)
        service = self._serve(installed, certificate)
        self._check(registry)
        self._state.write(installed)
        copies.forget_supplement(installed)
        self._journal.note("install", "done", info={"changed": self._changed})
        return self._report(installed, certificate, service)

    def _certificate(self) -> ServerCertificate:
        """Return the server's certificate, of the site's own CA."""
        ca = ensure_ca(self._state, self._options, self._trusted.bundle, self._options.ca_passphrase)
        certificate = ensure_certificate(ca, self._options, self._reporter)
        self._changed |= certificate.renewed
        return certificate

    def _load(self, registry: Target) -> LoadResult:
        jobs = self._options.jobs
        result = load_into(
            self._trusted,
            self._plan,
            registry,
            self._journal,
            self._reporter,
            state=self._state,
            jobs=jobs,
            missing=self._missing,
            registry=registry_name(self._state, self._options.mode, registry.url),
        )
        self._changed |= result.changed
        return result

    def _installed(self, copy: Copy, supplement: Copy | None, registry: Target, result: LoadResult) -> Installed:
        """Return what is installed when this run has come to its end."""
        statement = self._trusted.statement
        digest = sha256(self._trusted.bundle.statement_raw)
        same = next((each for each in self._before.bundles if each.statement == digest), None)
        bundle = InstalledBundle(
            name=statement.name,
            version=statement.version,
            serial=statement.serial,
            statement=digest,
            file=copy.path.name,
            verified=copy.verified,
            whole=copy.whole,
            installed=same.installed if same else timestamp(),
            images=self._plan.count(IMAGE),
            charts=self._plan.count(CHART),
            sparse=result.sparse,
            supplement=supplement.path.name if supplement else "",
            supplement_verified=supplement.verified if supplement else (),
        )
        base = replace(
            self._before,
            mode=self._options.mode,
            registry=registry_place(self._state, self._options).url,
            registry_here=registry.url,
            prefix=registry.prefix,
            registries=str(registry.registries.absolute()) if registry.registries else "",
            login=str(registry.login.absolute()) if registry.login else "",
            server=server_place(self._state, self._options).url,
            server_here=self._options.here_url,
            domain=self._options.domain,
            program=airbundle.__version__,
        )
        return base.with_bundle(bundle)

    def _serve(self, installed: Installed, certificate: ServerCertificate) -> Service:
        """Make airbundle's server run with what is installed."""
        files = [{"file": str(path)} for path in files_outside(self._state)]
        with self._journal.step("program", undo=files) as done:
            program = install_program(self._state)
            done.update(changed=program.changed)
        url = server_place(self._state, self._options).url
        config = make_config(self._state, installed, self._options, certificate, url)
        service, started = bring_up(self._state, self._journal, program, config, self._options.here_url)
        self._changed |= started or program.changed
        return service

    def _container(self, certificate: ServerCertificate) -> None:
        """Make registry:2 or 3 run in the Docker engine, from the bundle itself."""
        from airbundle.installer.container import ContainerConfig, container_name, ensure_container

        config = ContainerConfig(
            certificate=certificate.certificate,
            key=certificate.key,
            ca_file=self._state.ca_file,
            host=self._options.host,
            port=self._options.container_port,
            name=container_name(self._state.root),
        )
        with self._journal.step("container", undo=[{"container": config.name}]) as done:
            running = ensure_container(self._trusted.bundle, config, self._reporter, blobs=self._trusted.blobs)
            done.update(image=running.image, changed=running.changed)
        self._changed |= running.changed

    def _check(self, registry: Target) -> None:
        """Ask for every tag, where loading hasn't done so."""
        if self._options.mode == URL:
            return
        wrong = check_tags(self._plan, registry, self._reporter, self._options.jobs)
        if wrong:
            raise SiteError(
                f"the registry does not have all that was installed: {len(wrong)} tags are not right",
                findings=[Finding(line, code="tag") for line in wrong],
                hint="run the same command again",
            )

    def _report(self, installed: Installed, certificate: ServerCertificate, service: Service) -> Report:
        return Report(
            title=self._trusted.title,
            mode=self._options.mode,
            changed=self._changed,
            registry=registry_place(self._state, self._options),
            server=server_place(self._state, self._options),
            plan=self._plan,
            roots=self._trusted.bundle.index,
            sparse=dict(installed.bundles[0].sparse),
            runs_as=service.describe(),
            certificate_days=certificate.info.days_left(),
            notes=(*notes(self._state, self._options), *service.notes(), *self._older(installed)),
        )

    def _older(self, installed: Installed) -> Iterator[str]:
        """Tell of copies of earlier bundles, which go on being served."""
        paths = [self._state.bundles / bundle.file for bundle in installed.bundles[1:] if bundle.file]
        size = sum(path.stat().st_blocks * 512 for path in paths if path.is_file())
        if size:
            yield f"{counted(len(paths), 'earlier bundle')} in {self._state.bundles} still served; {human(size)}"
