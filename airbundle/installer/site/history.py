"""What was deployed of one bundle at a site that has several: each has a history of its own. Pure.

A site's deployments are numbered in one row, and each carries on what other bundles have up there. What belongs to
which bundle, each release says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from airbundle.errors import UsageError
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.rollback_plan import FROM, ROLLBACK

UNINSTALLED = "uninstalled"
"""Under which name `Deployment.who` says that the bundle was taken away after it; what comes then begins anew."""


def history_of(deployments: Sequence[Deployment], bundle: str) -> list[Deployment]:
    """Return the deployments of one bundle, each with only its releases.

    Args:
        deployments: of the site, oldest first.
        bundle: its name.

    Returns:
        Oldest first. The newest has its releases as they are up now, whatever was deployed since. What was before an
        uninstall of the bundle is none of it.
    """
    own = [_only(each, each, bundle) for each in deployments if each.name == bundle]
    ended = [number for number, each in enumerate(own, 1) if UNINSTALLED in each.who]
    own = own[ended[-1] :] if ended else own
    return [*own[:-1], _only(own[-1], deployments[-1], bundle)] if own else []


def _only(deployment: Deployment, up: Deployment, bundle: str) -> Deployment:
    return replace(deployment, releases=tuple(each for each in up.releases if each.bundle == bundle))


def bundles_at(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Return what is up at a site: the newest deployment of each bundle, with only its releases.

    A bundle whose releases were all taken away again is not at the site any more.

    Args:
        deployments: of the site, oldest first.
    """
    names = list(dict.fromkeys(each.name for each in reversed(deployments)))[::-1]  # the one last changed last
    newest = [own[-1] for own in (history_of(deployments, name) for name in names) if own]
    had = {release.bundle for each in deployments for release in each.releases}
    there = [each for each in newest if each.releases or not each.complete or each.name not in had]
    return there or newest[-1:]


def choose_bundle(deployments: Sequence[Deployment], bundle: str, site: str) -> str:
    """Return the bundle that is meant.

    Args:
        deployments: of the site, oldest first.
        bundle: as it was named; empty where it wasn't.
        site: its name.

    Raises:
        UsageError: nothing was deployed there, not that bundle, or which of several isn't said.
    """
    if not deployments:
        raise UsageError("nothing was deployed at this site yet", hint="`airbundle install --site` does that")
    there = bundles_at(deployments)
    listed = ", ".join(each.title for each in there)
    if bundle and all(each.name != bundle for each in deployments):
        raise UsageError(f"--bundle {bundle}: no such bundle was deployed at {site}", hint=f"bundles there: {listed}")
    if not bundle and len(there) > 1:
        raise UsageError(f"which bundle? {site} has {listed}", hint="name one with --bundle NAME")
    return bundle or there[0].name


def failed_since(deployments: Sequence[Deployment], bundle: str) -> Deployment | None:
    """Return the newest install of a bundle, if it failed and the site went back, by itself or by a person.

    Args:
        deployments: of the site, oldest first.
        bundle: its name.

    Returns:
        None where that install came to its end, or what it left has not been gone back from.
    """
    own = [each for each in deployments if each.name == bundle]
    tried = next((each for each in reversed(own) if ROLLBACK not in each.who), None)
    if tried is None or tried.complete or not own[-1].complete:
        return None
    return tried


def never_up(sites: Iterable[Sequence[Deployment]]) -> frozenset[str]:
    """Return the statements of bundles that were tried at sites, and never came up at one.

    Args:
        sites: deployments of each, oldest first.
    """
    every = [each for deployments in sites for each in deployments]
    return frozenset(each.statement for each in every) - {each.statement for each in every if each.complete}


def needed_at(deployments: Sequence[Deployment], site: str) -> dict[str, str]:
    """Return what a site needs now, by statement, and why: what is up, and where a run was cut off, the way back.

    Args:
        deployments: of the site, oldest first.
        site: its name.
    """
    found: dict[str, str] = {}
    for now in bundles_at(deployments):
        found.setdefault(now.statement, f"up at {site}")
        if now.complete:
            continue
        earlier = [each for each in deployments if each.name == now.name and each.number < now.number]
        back = [each for each in reversed(earlier) if each.complete][:1]
        back += [each for each in earlier if each.number == now.who.get(FROM)]
        for each in back:
            found.setdefault(each.statement, f"was up at {site} before the run that did not come to its end")
    return found
