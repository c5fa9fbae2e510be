"""Which steps bring a site up, and which waits for which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from airbundle.deploy.brings import crd_provider, namespaces_of
from airbundle.deploy.trust import ISSUER, ISSUER_GROUP
from airbundle.deploy.wanted import Wanted
from airbundle.installer.site.check_run import run_checks
from airbundle.installer.site.issuer_step import NAME as ISSUER_STEP
from airbundle.installer.site.issuer_step import issuer_steps
from airbundle.installer.site.order import phase_of
from airbundle.installer.site.releases import release_steps
from airbundle.installer.site.secrets_step import secrets_step
from airbundle.installer.site.settings import settings_steps
from airbundle.installer.site.step import SiteRun, Step
from airbundle.installer.site.trust_step import trust_step


def early_steps(run: SiteRun, wanted: Wanted, phases: Sequence[str]) -> list[Step]:
    """Return the steps before the releases, and that of the issuer; making them changes nothing.

    Args:
        run: what they share.
        wanted: what would be deployed.
        phases: those that are asked for.

    Raises:
        Unauthorized, RemoteError: which kinds the cluster has can't be read.
    """
    spaces = namespaces_of(wanted.releases)
    early: list[Step] = [
        *settings_steps(run),
        trust_step(run, spaces),
        secrets_step(run, run.prompt, spaces),
    ]
    steps = [step for step in early if phase_of(step.name) in phases]
    return [*steps, *(issuer_steps(run, wanted.releases) if "trust" in phases else ())]


@contextmanager
def site_steps(run: SiteRun, wanted: Wanted, phases: Sequence[str], steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Give the steps of a run, in an order in which they can be done.

    Nodes come first: whatever is deployed is pulled from the registry. The issuer of certificates comes as soon as the
    release that brings cert-manager is up, and before whatever needs that release.

    Args:
        run: what they share.
        wanted: what would be deployed.
        phases: those that are asked for.
        steps: of `early_steps`.
    """
    if "releases" not in phases:
        yield [step for step in steps if _can_be(step, {each.name for each in steps})]
        return
    brings = crd_provider(wanted.releases, ISSUER_GROUP, ISSUER[1])
    waits = [each.name for each in wanted.releases if brings and brings in each.needs]
    also = dict.fromkeys(waits, (ISSUER_STEP,)) if "trust" in phases else {}
    with release_steps(run, [step.name for step in steps if step.name != ISSUER_STEP], run_checks, also) as releases:
        yield [*steps, *releases]


def _can_be(step: Step, names: set[str]) -> bool:
    return names.issuperset(step.needs)
