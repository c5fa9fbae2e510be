"""Why an upgrade failed, as it is told when it has gone back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airbundle.errors import AirbundleError, Finding
from airbundle.installer.embedded import ask_health, local_client
from airbundle.installer.options import EMBEDDED
from airbundle.installer.site.step import SiteRun
from airbundle.store.host import host_errors

_CODE = "service"


def failure_findings(failed: Mapping[str, AirbundleError]) -> list[Finding]:
    """Return what failed, step by step, and what each found."""
    return [finding for name, error in failed.items() for finding in _of(name, error)]


def _of(name: str, error: AirbundleError) -> list[Finding]:
    return [Finding(error.problem, where=name, hint=error.hint), *error.findings]


def registry_findings(run: SiteRun) -> list[Finding]:
    """Tell when this host's registry is gone, which nodes alone would tell, each of its own pulls.

    Where it can't be asked, that is told: it keeps nothing from going back.
    """
    try:
        with host_errors("ask the registry of this host", run.state.root):
            return list(_unanswered(run))
    except AirbundleError as error:
        problem = f"whether the registry of this host answers can't be told: {error.problem}"
        return [Finding(problem, where="registry", code=_CODE, hint=error.hint)]


def _unanswered(run: SiteRun) -> Iterator[Finding]:
    installed = run.state.read()
    if installed.mode != EMBEDDED:
        return
    with local_client(run.state, installed.server_here) as client:
        health = ask_health(client, installed.server_here)
    if not health.answers:
        yield Finding(
            "the registry of this host does not answer, and nodes can't pull from it",
            where=installed.registry,
            code=_CODE,
            found=health.problem,
            hint=f"run the same command again, which starts it; what it said last is in {run.state.path('log')}",
        )
