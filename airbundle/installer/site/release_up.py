"""Waiting until a release is up that was recorded."""

from __future__ import annotations

from airbundle.deploy.objects import ObjectKey, parse_key
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_plan import applied
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.wait import wait_ready


def wait_up(run: SiteRun, record: DeployedRelease, timeout: float) -> None:
    """Wait until all objects of a release are up.

    Args:
        run: of its site.
        record: of the release.
        timeout: seconds.

    Raises:
        SiteError: one is not up in time, or can't be any more.
        DocumentError: what was applied is gone, or was changed.
        Unauthorized, Unreachable, RemoteError: the cluster gives no good answer.
    """
    keys = list(map(parse_key, record.objects))
    wait_ready(run.cluster, keys, timeout, what=record.name, leaving=leaving(run.site_state, record))


def leaving(state: SiteState, record: DeployedRelease) -> list[ObjectKey]:
    """Return what of a release takes itself away when it has ended.

    Raises:
        DocumentError: what was applied is gone, or was changed.
    """
    if not record.manifest or not any(parse_key(text).kind == "Job" for text in record.objects):
        return []
    return [each.key for each in applied(state, record) if each.leaves]
