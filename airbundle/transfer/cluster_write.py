"""The Kubernetes API of a running cluster, to change: objects applied, replaced, created and deleted one by one.

Objects are applied by the server (server-side apply, fields owned by the manager `airbundle`): what other managers set
stays theirs, and where both want a field, that is told instead of being fought over. Retries, within the patience of
the settings, are safe: applying and deleting twice is applying and deleting once, and replacing names the state that
it replaces. Source: Kubernetes API Concepts; "Server-Side Apply".
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import Conflict, NotFound, SiteError
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.cluster_discovery import Discovery
from airbundle.transfer.cluster_pods import PodCalls
from airbundle.transfer.kubeconfig import ClusterAccess, load_kubeconfig
from airbundle.transfer.problems import clean
from airbundle.transfer.settings import HttpSettings

MANAGER = "airbundle"
_APPLY = "application/apply-patch+yaml"
_RACES = 5
"""How often an apply may lose against another writer; the server itself has tried several times by then."""
_POLL = 0.5


class ClusterWriter(PodCalls):
    """A cluster's API, to read from and to change; for many threads at once."""

    def __init__(
        self, access: ClusterAccess, *, settings: HttpSettings | None = None, reporter: Reporter = SILENT
    ) -> None:
        super().__init__(access, settings=settings, reporter=reporter)
        self._discovery = Discovery(self)

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return how objects of a kind are asked for; None where the cluster does not serve it. See `Discovery`."""
        return self._discovery.resource_of(api_version, kind)

    def forget(self) -> None:
        """Ask anew which kinds there are: some were changed or deleted."""
        self._discovery.forget()

    def version(self) -> str:
        """Return the API server's version, such as `1.33`. Raises as `Discovery.version`."""
        return self._discovery.version()

    def api_versions(self) -> frozenset[str]:
        """Return all API versions that are served, such as `v1` and `apps/v1`. Raises as `Discovery.api_versions`."""
        return self._discovery.api_versions()

    def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """Return an object; None where there is none, or no such kind.

        Raises:
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        resource = self.resource_of(key.api_version, key.kind)
        if resource is None:
            return None
        what = self._what("get", key)
        response = self.call("GET", self._path(resource, key), what=what)
        return None if response.status == 404 else self.body(response, what)

    def apply(self, body: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> Mapping[str, Any]:
        """Apply an object and return it as the cluster has it then.

        Args:
            body: the object; without a namespace it goes into the context's, or `default`.
            force: take over fields that other managers set.
            dry_run: change nothing; the answer is what would be.

        Raises:
            Conflict: another manager sets a field, and `force` is not given; says which.
            NotFound: the cluster has no such kind, or namespace.
            DocumentError: `body` is no object.
            Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        resource, key, body = self._placed(body, "apply")
        what = self._what("apply", key)
        query = [("fieldManager", MANAGER), ("force", "true" if force else "false"), ("fieldValidation", "Strict")]
        query += [("dryRun", "All")] if dry_run else []
        content, path, tries = json.dumps(body).encode(), self._path(resource, key), 0
        while True:
            response = self.call("PATCH", path, what=what, query=query, content=content, content_type=_APPLY)
            try:
                return self.body(response, what)
            except Conflict as error:
                tries += 1
                if error.fields or tries == _RACES:
                    raise
                time.sleep(_POLL)

    def replace(self, body: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """Replace an object by `body` and return it.

        With the resourceVersion in `body` only that state is replaced; without one, whatever there is.

        Raises:
            Conflict: it was changed since it was read.
            NotFound: there is none, or no such kind.
            DocumentError: `body` is no object.
            Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        resource, key, body = self._placed(body, "replace")
        what = self._what("replace", key)
        query = [("fieldManager", MANAGER), *([("dryRun", "All")] if dry_run else [])]
        path, content = self._path(resource, key), json.dumps(body).encode()
        return self.body(self.call("PUT", path, what=what, query=query, content=content), what)

    def create(self, body: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """Create an object and return it: reviews, which are answered and not kept, and what gets its name there.

        An answer that is lost is asked for again: an object with a name may then be there already.

        Raises:
            Conflict: there is one of this name.
            NotFound: the cluster has no such kind, or namespace.
            Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        metadata = body.get("metadata") or {}
        api_version, kind = str(body.get("apiVersion")), str(body.get("kind"))
        namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
        key = ObjectKey(api_version, kind, namespace, name)
        what = self._what("create", key)
        resource = self._known(key, what)
        query = [("fieldManager", MANAGER), *([("dryRun", "All")] if dry_run else [])]
        path = self._list_path(resource, namespace)
        return self.body(self.call("POST", path, what=what, query=query, content=json.dumps(body).encode()), what)

    def delete(self, key: ObjectKey, *, wait: float = 0.0) -> bool:
        """Delete an object, and what it owns before itself; return whether there was one.

        Args:
            key: names it.
            wait: seconds to wait until it is gone; 0 to ask for it alone.

        Raises:
            SiteError: it is still there after `wait` seconds; says what holds it.
            Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        live = self.get(key)
        if live is None:
            return False
        resource, what = self._known(key, key.title), self._what("delete", key)
        uid = _metadata(live).get("uid")
        # Of this very object: one that somebody made anew meanwhile is another one.
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        content = json.dumps({**options, "preconditions": {"uid": uid}}).encode()
        response = self.call("DELETE", self._path(resource, key), what=what, content=content)
        if response.status not in (200, 202, 404, 409):
            self.refuse(response, what)
        end = time.monotonic() + wait
        while wait:
            left = self.get(key)
            if left is None or _metadata(left).get("uid") != uid:
                break
            if time.monotonic() > end:
                raise SiteError(f"{what}: it is still there after {wait:.0f} s; found {_held(left)}")
            time.sleep(_POLL)
        return True

    def _placed(self, body: Mapping[str, Any], verb: str) -> tuple[Resource, ObjectKey, Mapping[str, Any]]:
        """Return the resource and key of an object, and the object with the namespace that it goes into."""
        key = key_of(body)
        resource = self._known(key, self._what(verb, key))
        namespace = (key.namespace or self.access.namespace or "default") if resource.namespaced else ""
        metadata = {name: value for name, value in body["metadata"].items() if name != "namespace"}
        if namespace:
            metadata["namespace"] = namespace
        return resource, replace(key, namespace=namespace), {**body, "metadata": metadata}

    def _known(self, key: ObjectKey, what: str) -> Resource:
        resource = self.resource_of(key.api_version, key.kind)
        if resource is None:
            problem = f"{what}: the cluster has no kind {key.kind} in {key.api_version}"
            hint = "its CustomResourceDefinition must be there first, or its API was removed from this version"
            raise NotFound(problem, side="site", hint=hint)
        return resource

    def _list_path(self, resource: Resource, namespace: str) -> str:
        namespace = namespace or self.access.namespace or "default"
        return resource.path(quote(namespace, safe="") if resource.namespaced else "")

    def _path(self, resource: Resource, key: ObjectKey) -> str:
        return f"{self._list_path(resource, key.namespace)}/{quote(key.name, safe=':')}"

    def _what(self, verb: str, key: ObjectKey) -> str:
        return f"cluster {self.name}: {verb} {key.title}".rstrip()


def _metadata(body: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _held(body: Mapping[str, Any]) -> str:
    """Return what keeps an object that is to be deleted: finalizers; of a namespace, what is left in it."""
    status = body.get("status")
    listed = status.get("conditions") if isinstance(status, dict) else None
    conditions = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    told = [str(each.get("message")) for each in conditions if each.get("status") == "True" and each.get("message")]
    finalizers = _metadata(body).get("finalizers")
    names = ", ".join(map(str, finalizers)) if isinstance(finalizers, list) else ""
    return clean("; ".join([f"finalizers: {names or 'none'}", *(told if body.get("kind") == "Namespace" else [])]))


def open_cluster_writer(
    kubeconfig: Path | None = None,
    context: str = "",
    *,
    patience: float | None = None,
    reporter: Reporter = SILENT,
) -> ClusterWriter:
    """Return the cluster that a kubeconfig means, to change it; nothing is sent yet.

    Args:
        kubeconfig: by default as kubectl finds it, then k3s's own.
        context: by default the current one.
        patience: seconds that the API may keep failing; by default those of the environment.
        reporter: gets warnings and long waits.

    Raises:
        UsageError, HostError: see `load_kubeconfig` and `with_credentials`.
    """
    settings = HttpSettings.from_environment()
    if patience is not None:
        first = min(patience, settings.first_contact_time)
        settings = replace(settings, retry_time=patience, first_contact_time=first)
    return ClusterWriter(load_kubeconfig(kubeconfig, context), settings=settings, reporter=reporter)
