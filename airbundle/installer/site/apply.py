"""Objects applied and deleted at a site's cluster, each with its way back journalled before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airbundle.deploy.helm_marks import is_marked, keep_mark, owner
from airbundle.deploy.objects import NAMESPACE, ObjectKey, apply_order, holds_data, key_of
from airbundle.errors import Conflict, RemoteError
from airbundle.installer.files import PRIVATE_FILE, write_file
from airbundle.installer.journal import Journal
from airbundle.installer.site.site_state import SiteState
from airbundle.progress import Reporter
from airbundle.transfer.cluster_write import MANAGER, ClusterWriter

_REPLACED = frozenset({"Job", "Pod"})
"""Kinds that mostly can't be changed: made anew instead."""
# What the cluster says is long, and cut before it says why.
_IMMUTABLE = re.compile(r"immutable|may not change fields|is invalid: spec\.template: Invalid value")
_GONE = 120.0


class Applier:
    """Changes objects for one step.

    Args:
        cluster: the API.
        journal: of the site.
        state: of the site; keeps objects as they were.
        step: its name, for the journal.
        reporter: is told what stays.
        ask: asks a person whether fields are taken over that others have set.

    Attributes:
        declined: objects of which fields were not taken over.
    """

    def __init__(
        self,
        cluster: ClusterWriter,
        journal: Journal,
        state: SiteState,
        step: str,
        reporter: Reporter,
        *,
        ask: Callable[[str], bool] = lambda _question: False,
    ) -> None:
        self.cluster = cluster
        self._journal = journal
        self._state = state
        self._step = step
        self._reporter = reporter
        self._ask = ask
        self.declined: set[ObjectKey] = set()

    def namespace(self, name: str) -> bool:
        """Make a namespace where there is none; return whether it was made."""
        key = ObjectKey("v1", NAMESPACE, "", name)
        if self.cluster.get(key) is not None:
            return False
        self.apply({"apiVersion": "v1", "kind": NAMESPACE, "metadata": {"name": name}})
        return True

    def apply(self, body: Mapping[str, Any], *, force: bool = False) -> bool:
        """Apply an object; return whether that changed it.

        Args:
            body: with its namespace, where its kind has them.
            force: take over what other managers set.

        Raises:
            Conflict: another manager sets a field of it; or it is of a release of helm's, and `body` is not.
            NotFound, Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        key = key_of(body)
        live = self.cluster.get(key)
        if live is None:
            self._journal.note(self._step, undo=[{"object": str(key)}])
        else:
            _check_owner(key, live, body)
            if not self._is_ours(key, live):
                self._keep(key, live)
        try:
            after = self._applied(key, body, force)
        except RemoteError as error:
            if live is None or key.kind not in _REPLACED or not _IMMUTABLE.search(str(error)):
                raise
            self.cluster.delete(key, wait=_GONE)
            after = self.cluster.apply(body, force=force)
        return live is None or _version(live) != _version(after)

    def delete(self, keys: Iterable[ObjectKey], *, data: bool = False) -> list[ObjectKey]:
        """Delete objects, last applied first; return those that were there.

        What holds data, or owns volumes, stays unless `data` is given; it is told.
        """
        deleted = []
        for key in sorted(keys, key=lambda each: (-apply_order(each.kind), each)):
            live = self.cluster.get(key)
            if live is None:
                continue
            held = "" if data else self.holds(key, live)
            if held:
                self._reporter.warn(f"{key.title} stays: {held}")
            elif self.cluster.delete(key, wait=_GONE):
                deleted.append(key)
        return deleted

    def protect(self, keys: Iterable[ObjectKey]) -> None:
        """Mark what holds data, or owns volumes, so that helm keeps it when its release has it no more."""
        for key in keys:
            live = self.cluster.get(key)
            held = self.holds(key, live) if live is not None else ""
            if live is not None and held and not is_marked(live):
                self._reporter.warn(f"{key.title} stays: {held}")
                self.cluster.apply(keep_mark(key))

    def holds(self, key: ObjectKey, live: Mapping[str, Any]) -> str:
        """Return why an object is not deleted with what it is part of; empty when nothing would be lost."""
        if holds_data(key):
            return "it holds data"
        uid = live.get("metadata", {}).get("uid")
        resource = self.cluster.resource_of("v1", "PersistentVolumeClaim")
        if not key.namespace or resource is None or not uid:
            return ""
        for claim in self.cluster.objects(resource, key.namespace):
            metadata = claim.get("metadata") or {}
            if any(each.get("uid") == uid for each in metadata.get("ownerReferences") or ()):
                return f"the volume of {metadata.get('name')} would go with it"
        return ""

    def _applied(self, key: ObjectKey, body: Mapping[str, Any], force: bool) -> Mapping[str, Any]:
        try:
            return self.cluster.apply(body, force=force)
        except Conflict as error:
            told = ", ".join(f"{field} by {manager}" for manager, field in error.fields[:5])
            if not told:
                raise
            if not self._ask(f"{key.title}: set by others: {told}. Take it over?"):
                self.declined.add(key)
                error.hint = f"{error.hint}, which --yes does"
                raise
        return self.cluster.apply(body, force=True)

    def _is_ours(self, key: ObjectKey, live: Mapping[str, Any]) -> bool:
        """Tell whether airbundle made an object, or has set a field of it.

        A namespace that is but a name has nobody's fields. Of one that another release has made just now, which may run
        at the same time, the journal knows: it is noted before it is made.
        """
        managed = live.get("metadata", {}).get("managedFields") or ()
        if managed:
            return any(isinstance(each, dict) and each.get("manager") == MANAGER for each in managed)
        return {"object": str(key)} in self._journal.undo()

    def _keep(self, key: ObjectKey, live: Mapping[str, Any]) -> None:
        """Keep an object that others made as it is, once, before it is changed."""
        name = f"{hashlib.sha256(str(key).encode()).hexdigest()[:32]}.json"
        path = self._state.directory("before") / name
        if not path.exists():
            write_file(path, (json.dumps(live, sort_keys=True) + "\n").encode(), PRIVATE_FILE)
        self._journal.note(self._step, undo=[{"restore": str(key), "file": f"before/{name}"}])


def _check_owner(key: ObjectKey, live: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    theirs, ours = owner(live), owner(body)
    if theirs is not None and theirs != ours:
        raise Conflict(
            f"{key.title}: it belongs to helm's release {theirs[1]} in {theirs[0]}",
            hint="have it in one release only, or take that release away first",
        )


def _version(body: Mapping[str, Any]) -> object:
    return body.get("metadata", {}).get("resourceVersion")
