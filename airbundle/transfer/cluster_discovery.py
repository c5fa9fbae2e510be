"""What a cluster's API serves: its version, its API groups, and the resources of each.

Source: Kubernetes API Concepts, "Discovery" (the unaggregated form, which every version serves).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from airbundle.bundle.oci import parse_json
from airbundle.errors import RemoteError, VerificationError
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.problems import Response

_LIMIT = 4 << 20
_PLURAL = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_VERSION = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?v[a-z0-9]{1,61}")
_NUMBER = re.compile(r"[0-9]+")


class Api(Protocol):
    """What is asked: a cluster's API."""

    @property
    def name(self) -> str:
        """The context's name."""

    def call(self, method: str, path: str, *, what: str, limit: int) -> Response:
        """Return the answer to a request."""

    def body(self, response: Response, what: str, limit: int) -> Mapping[str, Any]:
        """Return the object that an answer holds."""


class Discovery:
    """What a cluster serves, as far as it was asked; for many threads at once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, dict[str, Resource]] = {}
        self._lock = threading.Lock()

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return how objects of a kind are asked for; None where the cluster does not serve it.

        Only what is there is kept: a kind that was missing may come with the next CustomResourceDefinition.

        Raises:
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        if not _VERSION.fullmatch(api_version):
            return None
        with self._lock:
            known = self._known.get(api_version, {}).get(kind)
        if known is None:
            served = self._read(api_version)
            known = served.get(kind)
            with self._lock:
                self._known[api_version] = served
        return known

    def forget(self) -> None:
        """Ask anew from now on: kinds were changed or deleted."""
        with self._lock:
            self._known.clear()

    def api_versions(self) -> frozenset[str]:
        """Return all that is served, such as `v1` and `apps/v1`.

        Raises:
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        core = self._body("/api", "read the API's versions").get("versions")
        groups = self._body("/apis", "read the API's groups").get("groups")
        found = set(core) if isinstance(core, list) else set()
        for group in groups if isinstance(groups, list) else ():
            versions = group.get("versions") if isinstance(group, dict) else None
            found |= {each.get("groupVersion") for each in versions or () if isinstance(each, dict)}
        return frozenset(each for each in found if isinstance(each, str) and _VERSION.fullmatch(each))

    def version(self) -> str:
        """Return the API server's version, such as `1.33`.

        Raises:
            Unauthorized, Unreachable, RemoteError: no good answer.
        """
        what = f"cluster {self._api.name}: read its version"
        response = self._api.call("GET", "/version", what=what, limit=_LIMIT)
        if response.status == 200:
            try:
                body = parse_json(response.body, what=what)
                parts = [_NUMBER.match(str(body[name])) for name in ("major", "minor")]  # `33+` at some clouds
                return ".".join(part[0] for part in parts if part is not None)
            except (VerificationError, KeyError, TypeError):
                pass
        raise RemoteError(
            f"{what}: {response.url.host} answered {response.status} with what is no version",
            side="site",
            status=response.status,
            hint="check the server of the context: it must be the cluster's API",
        )

    def _body(self, path: str, what: str) -> Mapping[str, Any]:
        what = f"cluster {self._api.name}: {what}"
        return self._api.body(self._api.call("GET", path, what=what, limit=_LIMIT), what, _LIMIT)

    def _read(self, api_version: str) -> dict[str, Resource]:
        what = f"cluster {self._api.name}: read the kinds of {api_version}"
        path = f"/{'apis' if '/' in api_version else 'api'}/{api_version}"
        response = self._api.call("GET", path, what=what, limit=_LIMIT)
        if response.status == 404:
            return {}
        listed = self._api.body(response, what, _LIMIT).get("resources")
        found: dict[str, Resource] = {}
        for each in listed if isinstance(listed, list) else ():
            plural, kind = (each.get("name"), each.get("kind")) if isinstance(each, dict) else (None, None)
            # `pods/log` and the like are parts of others.
            if isinstance(plural, str) and isinstance(kind, str) and _PLURAL.fullmatch(plural):
                found.setdefault(kind, Resource(api_version, plural, kind, each.get("namespaced") is True))
        return found
