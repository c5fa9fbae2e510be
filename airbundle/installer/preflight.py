"""What stands in the way of an install: all findings at once, before anything changes (design §1, §7).

A preflight only looks. What it can't know without changing something (may we push?) is found by the first change,
and told with the outcome `unchanged`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone

from airbundle.bundle.sizes import human
from airbundle.bundle.statement import parse_time
from airbundle.errors import AirbundleError, CheckFailed, Finding, NoPermission, NoSpace, SiteError
from airbundle.installer.copy import space_needed
from airbundle.installer.files import existing_parent, free_space
from airbundle.installer.load_plan import LoadPlan
from airbundle.installer.options import CONTAINER, EMBEDDED, URL, Options
from airbundle.installer.site_ca import ca_problem
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.steps import check_registry
from airbundle.installer.verify import Trusted
from airbundle.progress import SILENT
from airbundle.transfer.listeners import who_listens
from airbundle.transfer.local import PORT_TAKEN, host_addresses, is_own_address, port_problem

SPACE, PERMISSION, REGISTRY = "space", "permission", "registry"
_SLACK = timedelta(minutes=5)
_OWN_FILES = 128 * 1024 * 1024
"""Bytes that program, certificates and journal take, generously."""


class Preflight:
    """The checks of one install."""

    def __init__(
        self, trusted: Trusted, plan: LoadPlan, options: Options, state: StateDirectory, installed: Installed
    ) -> None:
        self._trusted = trusted
        self._plan = plan
        self._options = options
        self._state = state
        self._installed = installed

    def run(self) -> list[Finding]:
        """Return all findings; those of severity `error` forbid the install."""
        checks: Sequence[Callable[[], Iterator[Finding]]] = (
            self._mode,
            self._permission,
            self._space,
            self._clock,
            self._port,
            self._ca,
            self._registry,
            self._engine,
            self._sparse,
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
        if not os.access(place, os.W_OK | os.X_OK):
            yield Finding(
                "this user may not write there",
                where=str(place),
                code=PERMISSION,
                hint="run as root, or name another directory with --state-dir",
            )

    def _space(self) -> Iterator[Finding]:
        place = existing_parent(self._state.bundles)
        needed = space_needed(self._trusted.bundle, self._state.bundles, whole=self._options.whole)
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

    def _port(self) -> Iterator[Finding]:
        ports = [(self._options.host, self._options.port, "--listen", self._installed.server)]
        if self._options.mode == CONTAINER:
            ports.append(
                (self._options.host, self._options.container_port, "--container-port", self._installed.registry)
            )
        if not is_own_address(self._options.host):
            yield Finding(
                "this host has no such address",
                where="--listen",
                code="port",
                found=self._options.host,
                expected=", ".join(host_addresses()) or "127.0.0.1",
                hint=f"name one of these, or none: --listen :{self._options.port} listens at all of them",
            )
            return
        for host, port, option, ours in ports:
            if ours.endswith(f":{port}"):
                continue  # what listens there is what an earlier install started
            problem = port_problem(host, port)
            if problem:
                yield Finding(
                    f"port {port} can't be listened at: {problem}",
                    where=option,
                    code="port",
                    found=who_listens(port),
                    hint=f"stop that program, or name another port with {option}"
                    if problem == PORT_TAKEN
                    else f"name a port above 1023 with {option}, or run as root",
                )

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
            yield Finding(error.problem, where="--registry", code=REGISTRY, hint=error.hint)

    def _engine(self) -> Iterator[Finding]:
        if self._options.mode != CONTAINER:
            return
        from airbundle.installer.container import container_name, find_problems

        yield from find_problems(self._trusted.bundle, name=container_name(self._state.root))

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


def raise_findings(findings: Sequence[Finding], title: str) -> None:
    """Raise when there are errors among the findings.

    Args:
        findings: of `Preflight.run`.
        title: name and version of the bundle.

    Raises:
        NoSpace, NoPermission, SiteError: when only space, permission or the registry is wrong.
        CheckFailed: when several are, or something else.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    codes = {finding.code for finding in errors}
    kind = _KINDS.get(next(iter(codes)), CheckFailed) if len(codes) == 1 else CheckFailed
    count = "one thing stands" if len(errors) == 1 else f"{len(errors)} things stand"
    raised = kind(f"{title}: {count} in the way; nothing was changed", findings=findings)
    raised.outcome = "unchanged"
    raise raised
