"""What of a release is other than it was applied although all was done: a controller sets it, or a person kept it.

Putting that back at each run would make each run a deployment, for nothing: the controller sets it again. So what is
left when a release is up is remembered, exactly as it is. What differs in any other way is put back by the next run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from airbundle.errors import AirbundleError, DocumentError
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.drift import Drift, drifts
from airbundle.installer.site.release_tracks import Track
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.cluster_write import ClusterWriter


def lasting_marks(cluster: ClusterWriter, site: SiteState, record: DeployedRelease) -> list[str]:
    """Return the marks of what is left of a release that is up now; none where it can't be told."""
    try:
        return [each.mark for each in drifts(cluster, site, record) if each.mark]
    except AirbundleError:
        return []  # it is up: the next run puts it back once more, and looks again


def lasting_alone(
    cluster: ClusterWriter, site: SiteState, record: DeployedRelease, known: Collection[str]
) -> list[Drift] | None:
    """Return what is not as it was applied, all of which is known to last.

    Args:
        cluster: its API.
        site: has what was applied.
        record: of the release.
        known: marks of what is known.

    Returns:
        None where anything else is other than it was applied, or what was applied is not known any more.

    Raises:
        Unauthorized, Unreachable, RemoteError: no good answer.
    """
    found = []
    try:
        for each in drifts(cluster, site, record):
            if each.mark not in known:
                return None
            found.append(each)
    except DocumentError:
        return None
    return found


def lasting_of(found: Iterable[Drift], track: Track) -> list[Drift]:
    """Return what of a release is known to last, and is no person's edit that waits for another's word."""
    return [each for each in found if each.mark in track.lasting and str(each.key) not in track.declined]


def tell_lasting(run: SiteRun, name: str, lasting: Iterable[Drift]) -> None:
    """Warn of what is left as it is."""
    for each in lasting:
        found = f"found {each.found}; expected {each.expected}"
        run.reporter.warn(f"{name}: {each.key.title} stays as something in the cluster sets it each time: {found}")
