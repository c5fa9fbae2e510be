"""Manifests that are run to their end, such as a backup before an upgrade, or a restore after a rollback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.backups import named, new_backup, step_of
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_told import told_as
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.wait import wait_ready

_RUN = frozenset({"Job", "Pod"})
_NAME_LIMIT = 63


def back_up(
    run: SiteRun,
    applier: Applier,
    objects: Sequence[Desired],
    *,
    release: str,
    record: DeployedRelease | None,
    timeout: float,
) -> None:
    """Run what is run before a release changes, such as a backup, and write down of what it was made.

    Args:
        run: its journal gets it.
        applier: applies them.
        objects: in their order.
        release: its name.
        record: the same as it is up.
        timeout: seconds that all may take.

    Raises as `run_manifests`; the release was not changed then.
    """
    mark = run.journal.run[:8]
    backup = new_backup(run.site_state.deployments(), record, mark, objects)
    with told_as(f"{release} was not changed: what runs before it does did not end well"):
        with run.journal.step(step_of(release)) as done:
            run_manifests(applier, objects, mark, timeout, backup=backup.name)
            done.update(backup.info())


def run_manifests(applier: Applier, objects: Sequence[Desired], mark: str, timeout: float, *, backup: str = "") -> None:
    """Apply objects, and wait until their jobs have ended well.

    Jobs and pods get a name of their own in each run, so that each run does them anew, and the earlier logs stay. No
    Job takes itself away, whatever it says: how it ended must be seen.

    Args:
        applier: applies them.
        objects: in their order.
        mark: tells runs apart.
        timeout: seconds that all may take.
        backup: name of the backup that is made or restored; empty where none is known.

    Raises:
        SiteError: one failed, or took too long.
        Conflict, Unauthorized, Refused, Unreachable, RemoteError: one could not be applied.
    """
    keys: list[ObjectKey] = []
    for each in objects:
        body = _staying(_renamed(each.body, mark)) if each.key.kind in _RUN else each.body
        body = named(body, backup) if backup else body
        applier.apply(body)
        keys.append(key_of(body))
    wait_ready(applier.cluster, keys, timeout)


def _renamed(body: Mapping[str, Any], mark: str) -> dict[str, Any]:
    name = str(body["metadata"]["name"])[: _NAME_LIMIT - len(mark) - 1].rstrip("-.")
    return {**body, "metadata": {**body["metadata"], "name": f"{name}-{mark}"}}


def _staying(body: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = body.get("spec")
    if not isinstance(spec, Mapping):
        return body
    return {**body, "spec": {name: value for name, value in spec.items() if name != "ttlSecondsAfterFinished"}}
