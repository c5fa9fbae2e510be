"""Manifests that are run to their end, such as a backup before an upgrade, or a restore after a rollback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.wait import wait_ready

_RUN = frozenset({"Job", "Pod"})
_NAME_LIMIT = 63


def run_manifests(applier: Applier, objects: Sequence[Desired], mark: str, timeout: float) -> None:
    """Apply objects, and wait until their jobs have ended well.

    Jobs and pods get a name of their own in each run, so that each run does them anew, and the earlier logs stay.

    Args:
        applier: applies them.
        objects: in their order.
        mark: tells runs apart.
        timeout: seconds that all may take.

    Raises:
        SiteError: one failed, or took too long.
        Conflict, Unauthorized, Refused, Unreachable, RemoteError: one could not be applied.
    """
    keys: list[ObjectKey] = []
    for each in objects:
        body = _named(each.body, mark) if each.key.kind in _RUN else each.body
        applier.apply(body)
        keys.append(key_of(body))
    wait_ready(applier.cluster, keys, timeout)


def _named(body: Mapping[str, Any], mark: str) -> dict[str, Any]:
    name = str(body["metadata"]["name"])[: _NAME_LIMIT - len(mark) - 1].rstrip("-.")
    return {**body, "metadata": {**body["metadata"], "name": f"{name}-{mark}"}}
