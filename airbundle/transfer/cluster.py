"""The Kubernetes API of a running cluster, to read from: lists of objects, page by page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airbundle.bundle.oci import parse_json
from airbundle.errors import RemoteError, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_api import ClusterApi, Resource
from airbundle.transfer.kubeconfig import load_kubeconfig
from airbundle.transfer.problems import Response

__all__ = ["OBJECT_LIMIT", "Cluster", "Resource", "open_cluster"]

_log = logging.getLogger(__name__)

_PAGE = 100
_SMALL_PAGE = 5
_PAGE_LIMIT = 32 << 20
"""Most bytes of a page; an object may have some 1.5 MiB, and is mostly of some 10 KiB."""
OBJECT_LIMIT = 100_000
"""Most objects of a kind that are read."""
_RESTARTS = 3
_GONE = 410


class Cluster(ClusterApi):
    """A cluster's API, to read lists from."""

    def objects(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a kind as the API has them; at most `OBJECT_LIMIT`.

        Args:
            resource: the kind.
            namespace: the one to look in; by default all.
            labels, fields: selectors, such as `app=web` and `involvedObject.uid=…`; by default all.

        Raises:
            Unauthorized: 401, or 403 when this user may not list the kind (`status` tells which).
            NotFound: the cluster has no such kind.
            Unreachable, RemoteError: no good answer.
        """
        what = f"cluster {self.name}: list {resource.plural}" + (f" in {namespace}" if namespace else "")
        size, token, count, restarts = _PAGE, "", 0, 0
        selectors = [each for each in (("labelSelector", labels), ("fieldSelector", fields)) if each[1]]
        tokens: set[str] = set()
        while count < OBJECT_LIMIT:
            query = [*selectors, ("limit", str(size)), *([("continue", token)] if token else [])]
            response = self._page(resource.path(namespace), query, what)
            if response is None:
                size = _SMALL_PAGE
            elif response.status == _GONE and token and restarts < _RESTARTS:
                # The list took longer than the server keeps old states: from the start; who reads takes doubles.
                token, restarts = "", restarts + 1
            else:
                items, token = self._items(response, what)
                yield from ({"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items)
                count += max(len(items), 1)  # empty pages have an end, too
                if not token:
                    return
                if token in tokens:
                    raise RemoteError(f"{what}: the same page comes again and again", side="site")
                tokens.add(token)

    def _page(self, path: str, query: Sequence[tuple[str, str]], what: str) -> Response | None:
        """Return the answer to a request for a page; None when it is too long, and a smaller one may be asked for."""
        try:
            return self.call("GET", path, what=what, query=query, limit=_PAGE_LIMIT)
        except RemoteError as error:
            if error.status != 200 or ("limit", str(_SMALL_PAGE)) in query:
                raise
            return None

    def _items(self, response: Response, what: str) -> tuple[list[Mapping[str, Any]], str]:
        """Return the objects of a page, and what asks for the next one."""
        if response.status != 200:
            listing = "ask for a role that may list it, or name namespaces with -n"
            raise self.refusal(response, what, forbidden=listing, unknown="the cluster does not know the kind")
        try:
            body = parse_json(response.body, what=what, limit=_PAGE_LIMIT)
            if not str(body["kind"]).endswith("List"):
                raise TypeError
            items, token = body.get("items") or [], (body.get("metadata") or {}).get("continue") or ""
            if isinstance(items, list) and all(isinstance(item, dict) for item in items) and isinstance(token, str):
                return items, token
        except (VerificationError, KeyError, TypeError, AttributeError) as error:
            _log.info("%s: %s", what, error)
        raise RemoteError(
            f"{what}: {response.url.host} answered with what is no list of objects",
            side="site",
            status=response.status,
            hint="check the server of the context: it must be the cluster's API",
        )


def open_cluster(kubeconfig: Path | None = None, context: str = "", *, reporter: Reporter = SILENT) -> Cluster:
    """Return the cluster that a kubeconfig means; nothing is sent yet.

    Args:
        kubeconfig: by default as kubectl finds it, then k3s's own.
        context: by default the current one.
        reporter: gets warnings and long waits.

    Raises:
        UsageError, HostError: see `load_kubeconfig` and `with_credentials`.
    """
    return Cluster(load_kubeconfig(kubeconfig, context), reporter=reporter)
