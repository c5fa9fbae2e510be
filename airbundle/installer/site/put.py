"""Objects of airbundle's own in a site's cluster: put there so that undoing is journalled before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airbundle.deploy.objects import NAMESPACE, ObjectKey, key_of
from airbundle.deploy.trust import holds, namespace_body
from airbundle.errors import Conflict, NotFound, Refused
from airbundle.installer.site.step import Change, SiteRun


def change_of(run: SiteRun, body: Mapping[str, Any]) -> list[Change]:
    """Return what `put` would change; nothing when the object is as desired. Reads only."""
    key = key_of(body)
    live = run.cluster.get(key)
    if live is None:
        return [Change(key.title, "create")]
    if holds(live, body):
        return []
    theirs = _set_by_others(run, body)
    return [Change(key.title, "change", set_by=theirs, then="ends" if theirs else "")]


def put(run: SiteRun, step: str, body: Mapping[str, Any]) -> bool:
    """Make an object, or have it be as desired; return whether anything changed.

    Args:
        run: what the steps share.
        step: journalled as the one who did it.
        body: the object, with its namespace.

    Raises:
        Conflict: somebody else sets one of its fields; says who.
        RemoteError: as `ClusterWriter.apply`.
    """
    key = key_of(body)
    live = run.cluster.get(key)
    if live is not None and holds(live, body):
        return False
    if live is None:
        run.journal.note(step, undo=[{"object": str(key)}])
    run.cluster.apply(body)
    return True


def missing_namespaces(run: SiteRun, names: Sequence[str]) -> list[str]:
    """Return those of the namespaces that the cluster lacks."""
    return [name for name in names if run.cluster.get(ObjectKey("v1", NAMESPACE, "", name)) is None]


def ensure_namespaces(run: SiteRun, step: str, wanted: Mapping[str, Mapping[str, Any]]) -> bool:
    """Make the namespaces that aren't there, with the metadata they must have; return whether any was made.

    One that is there is left as it is.
    """
    lacking = missing_namespaces(run, list(wanted))
    for name in lacking:
        put(run, step, namespace_body(name, wanted[name]))
    return bool(lacking)


def _set_by_others(run: SiteRun, body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return who has set which fields that `put` would change; nothing where the cluster does not tell."""
    try:
        run.cluster.apply(body, dry_run=True)
    except Conflict as error:
        return error.fields
    except (Refused, NotFound):
        pass  # `put` is told
    return ()
