"""What deploying a release would change in the cluster, object by object; reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airbundle.deploy.desired import Desired, Scope, chart_applied, helm_writes, objects_of_manifest
from airbundle.deploy.diff import unified
from airbundle.deploy.objects import ObjectKey, holds_data, parse_key
from airbundle.errors import Conflict, NotFound, Refused
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import Change
from airbundle.transfer.cluster_write import ClusterWriter


def planned_changes(
    cluster: ClusterWriter, material: Material, before: Mapping[ObjectKey, Mapping[str, Any]]
) -> Iterator[Change]:
    """Yield what would change.

    Args:
        cluster: its API; asked what applying would give, which changes nothing.
        material: the release as it is to be.
        before: the release's objects as they were applied last.

    Raises:
        Unauthorized, Unreachable, RemoteError: no good answer.
    """
    for each in material.running:
        change = _change(cluster, material, each, before.get(each.key))
        if change is not None:
            yield change
    for key in gone(before, material.running):
        if not holds_data(key) and cluster.get(key) is not None:
            yield Change(key.title, "delete")


def _change(
    cluster: ClusterWriter, material: Material, desired: Desired, before: Mapping[str, Any] | None
) -> Change | None:
    live = cluster.get(desired.key)
    if live is None:
        return Change(desired.key.title, "create")
    name, namespace = material.release.name, material.namespace
    body = chart_applied(desired, name, namespace) if material.chart else desired.body
    asks = not (material.chart and helm_writes(desired, live, name, namespace))
    try:
        after, theirs = _applied(cluster, body, asks)
    except (Refused, NotFound) as error:
        return Change(desired.key.title, "change", f"the cluster says to that: {error.problem}")
    diff = unified(live, after)
    if not diff and before is not None:
        # What was taken out of the manifest since: applying by another manager does not show it.
        diff = unified(before, {**body, "metadata": {**body["metadata"], "uid": ""}})
    if not diff and not theirs:
        return None
    return Change(desired.key.title, "change", diff, set_by=theirs, then="asks" if theirs else "")


def _applied(
    cluster: ClusterWriter, body: Mapping[str, Any], asks: bool
) -> tuple[Mapping[str, Any], tuple[tuple[str, str], ...]]:
    """Return an object as it would be, and who has set which fields that would be taken over."""
    try:
        return cluster.apply(body, force=not asks, dry_run=True), ()
    except Conflict as error:
        return cluster.apply(body, force=True, dry_run=True), error.fields


def gone(before: Iterable[ObjectKey], running: Sequence[Desired]) -> list[ObjectKey]:
    """Return keys of what was applied last and is no part of the release any more."""
    now = {each.key for each in running}
    return [key for key in before if key not in now]


def applied_before(state: SiteState, record: DeployedRelease | None) -> dict[ObjectKey, Mapping[str, Any]]:
    """Return the objects of a release as they were applied last; nothing where it was not deployed.

    Raises:
        DocumentError: what was kept of it is gone, or was changed.
    """
    if record is None or not record.manifest:
        return {}
    return {each.key: each.body for each in applied(state, record)}


def applied(state: SiteState, record: DeployedRelease) -> list[Desired]:
    """Return the objects of a release as they were applied, in that order.

    Raises:
        DocumentError: what was applied was not kept, is gone, or was changed.
    """
    return objects_of_manifest(state.read_manifest(record.manifest), record.namespace, scope_of(record))


def scope_of(record: DeployedRelease) -> Scope:
    """Return which kinds had namespaces when a release was recorded."""
    scopes = {(key.api_version, key.kind): bool(key.namespace) for key in map(parse_key, record.objects)}
    return lambda api_version, kind: scopes.get((api_version, kind))
