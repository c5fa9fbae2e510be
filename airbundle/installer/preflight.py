"""What stands in the way of an install: all findings at once, before anything changes (design §1, §7).

A preflight only looks. What it can't know without changing something (may we push?) is found by the first change,
and told with the outcome `unchanged`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.sizes import human
from airbundle.bundle.statement import parse_time
from airbundle.errors import AirbundleError, CheckFailed, Finding, NoPermission, NoSpace, SiteError
from airbundle.installer.copy import space_needed
from airbundle.installer.files import existing_parent, free_space
from airbundle.installer.host_checks import host_findings
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.missing import Missing, Wanted, find_missing
from airbundle.installer.options import CONTAINER, EMBEDDED, URL, Options
from airbundle.installer.places import target_here
from airbundle.installer.ports import port_findings
from airbundle.installer.site_ca import ca_problem
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.steps import check_registry, earlier_plans
from airbundle.installer.supplement import supplement_name, supplement_space
from airbundle.installer.target import Target
from airbundle.installer.verify import Trusted
from airbundle.progress import SILENT, Reporter
from airbundle.store.delta import BASE

SPACE, PERMISSION, REGISTRY = "space", "permission", "registry"
_SLACK = timedelta(minutes=5)
_OWN_FILES = 128 * 1024 * 1024
"""Bytes that program, certificates and journal take, generously."""


class Preflight:
    """The checks of one install.

    Attributes:
        missing: where is what a delta leaves out; known once the checks have run.
    """

    def __init__(
        self,
        trusted: Trusted,
        plan: LoadPlan,
        options: Options,
        state: StateDirectory,
        installed: Installed,
        *,
        reporter: Reporter = SILENT,
    ) -> None:
        self._trusted = trusted
        self._plan = plan
        self._options = options
        self._state = state
        self._installed = installed
        self._reporter = reporter
        self._problem = ""
        self.missing = Missing()

    def run(self) -> list[Finding]:
        """Return all findings; those of severity `error` forbid the install."""
        checks: Sequence[Callable[[], Iterator[Finding]]] = (
            self._mode,
            self._permission,
            self._registry,
            self._lacking,
            self._space,
            self._clock,
            self._ports,
            self._ca,
            self._engine,
            self._sparse,
            self._host,
        )
        return [finding for check in checks for finding in check()]

    def _mode(self) -> Iterator[Finding]:
        before, now = self._installed.mode, self._options.mode
        if before and before != now:
            yield Finding(
                f"this site was installed with the registry {before}",
                where="--registry",
                code="mode",
                found=now,
                expected=before,
                hint="first `airbundle uninstall --keep-data`; trust, CA and copies stay",
            )

    def _permission(self) -> Iterator[Finding]:
        place = existing_parent(self._state.root)
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            yield Finding(
                "the file system can only be read",
                where=str(place),
                code=PERMISSION,
                hint="mount it for writing, or name another directory with --state-dir",
            )
        elif not os.access(place, os.W_OK | os.X_OK):
            yield Finding(
                "this user may not write there",
                where=str(place),
                code=PERMISSION,
                hint="run as root, or name another directory with --state-dir",
            )

    def _space(self) -> Iterator[Finding]:
        place = existing_parent(self._state.bundles)
        bundle, whole = self._trusted.bundle, self._options.whole
        needed = space_needed(bundle, self._state.bundles, whole=whole)
        needed += supplement_space(self.missing.supplement, self._state.bundles / supplement_name(bundle, whole=whole))
        needed += 0 if self._installed.mode else _OWN_FILES
        free = free_space(place)
        if needed > free:
            yield Finding(
                "there is not enough space for the site's copy of the bundle",
                where=str(place),
                code=SPACE,
                found=f"{human(free)} free",
                expected=human(needed),
                hint=f"free {human(needed - free)}, or name another place with --state-dir",
            )

    def _host(self) -> Iterator[Finding]:
        yield from host_findings(self._state.root)

    def _clock(self) -> Iterator[Finding]:
        created, now = parse_time(self._trusted.statement.created), datetime.now(timezone.utc)
        if now < created - _SLACK:
            yield Finding(
                "this host's clock says a time before the bundle was made",
                where="clock",
                code="clock",
                found=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                expected=f"after {self._trusted.statement.created}",
                hint="set the clock: certificates made now would count from a wrong time",
                severity="warning",
            )

    def _ports(self) -> Iterator[Finding]:
        yield from port_findings(self._state, self._installed, self._options)

    def _ca(self) -> Iterator[Finding]:
        problem, hint = ca_problem(self._state, self._options, self._trusted.bundle)
        if problem:
            yield Finding(problem, where=str(self._state.path("ca")), code="ca", hint=hint)

    def _registry(self) -> Iterator[Finding]:
        if self._options.mode != URL or self._options.target is None:
            return
        try:
            check_registry(self._plan, self._options.target, SILENT)
        except AirbundleError as error:
            self._problem = error.problem
            yield Finding(error.problem, where="--registry", code=REGISTRY, hint=error.hint)

    def _lacking(self) -> Iterator[Finding]:
        """Look for what a delta leaves out."""
        if not self._trusted.bundle.missing():
            return
        options, blobs = self._options, self._trusted.blobs
        target = options.target
        assumed, files = False, frozenset[str]()
        if options.mode == CONTAINER:
            from airbundle.installer.container_image import registry_blobs

            # The engine is given the registry's own image from files.
            files = registry_blobs(self._trusted.bundle)
            target = self._container()
            # A registry that an install of this bundle left here, and that only has to be started again.
            digest = sha256(self._trusted.bundle.statement_raw)
            assumed = bool(self._problem) and any(each.statement == digest for each in self._installed.bundles)
        wanted = Wanted(options.whole, True, not options.whole, target, self._problem, assumed, files)
        prefix = options.target.prefix if options.target else options.prefix
        earlier = partial(earlier_plans, blobs, prefix)
        self.missing = find_missing(
            blobs, self._plan, wanted, earlier=earlier, reporter=self._reporter, jobs=options.jobs
        )
        if options.target is None or not self._problem:  # else that is what stands in the way
            yield from self.missing.findings(blobs)

    def _container(self) -> Target | None:
        """Return the registry in its container, where it is there and runs."""
        from airbundle.installer.container import container_name, container_status

        try:
            status = container_status(container_name(self._state.root))
        except AirbundleError as error:
            self._problem = error.problem
            return None
        if status is None:
            return None
        self._problem = status.problem
        return target_here(self._state, self._options)

    def _engine(self) -> Iterator[Finding]:
        if self._options.mode != CONTAINER:
            return
        from airbundle.installer.container import container_name, find_problems

        name = container_name(self._state.root)
        yield from find_problems(self._trusted.bundle, name=name, blobs=self._trusted.blobs)

    def _sparse(self) -> Iterator[Finding]:
        if self._options.mode == EMBEDDED:
            return
        for tag in self._plan.tags:
            if tag.substitute is not None:
                platforms = ", ".join(str(platform) for platform in tag.substitute.platforms)
                yield Finding(
                    f"the bundle carries only {platforms} of this image; most registries refuse such an index",
                    where=tag.ref,
                    code="sparse",
                    hint=f"then its tag gets {tag.substitute.descriptor.digest}; who pins the index needs all "
                    "platforms (`sparse: false` in bundle.yaml), or the embedded registry",
                    severity="warning",
                )


_KINDS: dict[str, type[AirbundleError]] = {
    SPACE: NoSpace,
    PERMISSION: NoPermission,
    REGISTRY: SiteError,
    CONTAINER: SiteError,
}


def in_the_way(title: str, count: int) -> str:
    """Return the sentence that says how many things stand in the way of a bundle's install."""
    return f"{title}: {'one thing stands' if count == 1 else f'{count} things stand'} in the way"


def raise_findings(
    findings: Sequence[Finding], title: str, body: Mapping[str, Any] | None = None, hint: str = ""
) -> None:
    """Raise when there are errors among the findings.

    Args:
        findings: of `Preflight.run`.
        title: name and version of the bundle.
        body: what lacks of a delta, for `--json`.
        hint: the next step where something does.

    Raises:
        NoSpace, NoPermission, SiteError: when only space, permission or the registry is wrong.
        CheckFailed: when several are, or something else.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    codes = {finding.code for finding in errors}
    kind = _KINDS.get(next(iter(codes)), CheckFailed) if len(codes) == 1 else CheckFailed
    raised = kind(f"{in_the_way(title, len(errors))}; nothing was changed", findings=findings)
    raised.outcome = "unchanged"
    if isinstance(raised, CheckFailed) and BASE in codes:
        raised.body = body or {}
        raised.hint = hint
    raise raised
