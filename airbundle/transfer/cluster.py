"""The Kubernetes API of a running cluster, to read from: lists of objects, page by page, and nothing else.

Requests go through our own HTTP client, so that patience, proxies, bounds and trust are the same as everywhere
(docs/decisions/0031).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from airbundle.bundle.oci import parse_json
from airbundle.errors import NotFound, Refused, RemoteError, Unauthorized, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.http import HttpClient
from airbundle.transfer.kube_plugin import with_credentials
from airbundle.transfer.kubeconfig import ClusterAccess, load_kubeconfig
from airbundle.transfer.problems import Response, clean
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Url

_log = logging.getLogger(__name__)

_PAGE = 100
_SMALL_PAGE = 5
_PAGE_LIMIT = 32 << 20
"""Most bytes of a page; an object may have some 1.5 MiB, and is mostly of some 10 KiB."""
OBJECT_LIMIT = 100_000
"""Most objects of a kind that are read."""
_RESTARTS = 3
_GONE = 410
_ANSWERS = frozenset(range(200, 500)) - {408, 425, 429}
"""Statuses that another attempt would not change."""


@dataclass(frozen=True)
class Resource:
    """A kind of objects: `apps/v1`, `deployments`, `Deployment`."""

    api_version: str
    plural: str
    kind: str

    def path(self, namespace: str = "") -> str:
        """Return the path of its list, in all namespaces or one."""
        top = "api" if "/" not in self.api_version else "apis"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"/{top}/{self.api_version}{within}/{self.plural}"


class Cluster:
    """A cluster's API. A context manager: the files of inline certificates go with it.

    Args:
        access: where it is and how to get in; a plugin is asked now.
        settings: times and limits; by default those of the environment.
        reporter: gets warnings and long waits.

    Raises:
        UsageError: the plugin gives no credentials.
    """

    def __init__(
        self, access: ClusterAccess, *, settings: HttpSettings | None = None, reporter: Reporter = SILENT
    ) -> None:
        self.access = access = with_credentials(access)
        self._http = HttpClient(settings, side="site", reporter=reporter)
        self._files = tempfile.TemporaryDirectory(prefix="airbundle-")
        self._trust = self._settings(access)

    @property
    def name(self) -> str:
        """The context's name."""
        return self.access.context

    def objects(self, resource: Resource, namespace: str = "") -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a kind as the API has them; at most `OBJECT_LIMIT`.

        Args:
            resource: the kind.
            namespace: the one to look in; by default all.

        Raises:
            Unauthorized: 401, or 403 when this user may not list the kind (`status` tells which).
            NotFound: the cluster has no such kind.
            Unreachable, RemoteError: no good answer.
        """
        what = f"cluster {self.name}: list {resource.plural}" + (f" in {namespace}" if namespace else "")
        size, token, count, restarts = _PAGE, "", 0, 0
        tokens: set[str] = set()
        while count < OBJECT_LIMIT:
            response = self._page(resource, namespace, size, token, what)
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

    def _page(self, resource: Resource, namespace: str, size: int, token: str, what: str) -> Response | None:
        """Return the answer to a request for a page; None when it is too long, and a smaller one may be asked for."""
        server = self.access.server
        url = Url(server.scheme, server.hostname, server.port, server.target.rstrip("/") + resource.path(namespace))
        url = url.with_query(("limit", str(size)), *([("continue", token)] if token else []))
        headers = {"Accept": "application/json"}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        try:
            return self._http.request(
                "GET",
                url,
                what=what,
                expect=_ANSWERS,
                headers=headers,
                limit=_PAGE_LIMIT,
                bare=True,
                trust=self._trust,
            )
        except RemoteError as error:
            if error.status != 200 or size == _SMALL_PAGE:
                raise
            return None

    def _items(self, response: Response, what: str) -> tuple[list[Mapping[str, Any]], str]:
        """Return the objects of a page, and what asks for the next one."""
        if response.status != 200:
            self._refuse(response, what)
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

    def _refuse(self, response: Response, what: str) -> NoReturn:
        status = response.status
        words = _message(response)
        problem = f"{what}: {response.url.host} answered {status}" + (f": {words}" if words else "")
        kind, hint = {
            401: (Unauthorized, f"check the user of context {self.name!r}; its credentials may have ended"),
            403: (Unauthorized, "ask for a role that may list it, or name namespaces with -n"),
            404: (NotFound, "the cluster does not know the kind"),
        }.get(status, (Refused if 400 <= status < 500 else RemoteError, "check the server of the context"))
        raise kind(problem, side="site", status=status, hint=hint)

    def _settings(self, access: ClusterAccess) -> TlsSettings:
        """Write certificates into files, because OpenSSL takes nothing else; they lie in a directory of our own."""
        ca, certificate, key = (
            self._write(name, data)
            for name, data in (("ca.crt", access.ca), ("client.crt", access.certificate), ("client.key", access.key))
        )
        return TlsSettings(ca, certificate, key, access.insecure, only_ca=bool(ca))

    def _write(self, name: str, data: bytes) -> str:
        if not data:
            return ""
        path = Path(self._files.name, name)
        path.touch(mode=0o600)
        path.write_bytes(data)
        return str(path)

    def close(self) -> None:
        """Close all connections and drop the files."""
        self._http.close()
        self._files.cleanup()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _message(response: Response) -> str:
    try:
        body = parse_json(response.body, what="status")
    except VerificationError:
        return ""
    message = body.get("message") if isinstance(body, dict) else None
    return clean(message) if isinstance(message, str) else ""
