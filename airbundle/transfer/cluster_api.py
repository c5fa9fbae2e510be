"""Requests to the Kubernetes API of a running cluster: who asks, whom to trust, how patiently; what a refusal means.

Requests go through our own HTTP client, so that patience, proxies, bounds and trust are the same as everywhere
(docs/decisions/0031).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from airbundle.bundle.oci import parse_json
from airbundle.errors import Conflict, NotFound, Refused, RemoteError, Unauthorized, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_refusals import conflict_hint, conflicts, passes, status_of
from airbundle.transfer.http import HttpClient
from airbundle.transfer.kube_plugin import with_credentials
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.problems import Response, clean
from airbundle.transfer.retry import Attempts, parse_retry_after
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Fault, Request, Url, read_all

Self = TypeVar("Self", bound="ClusterApi")

OBJECT_SIZE = 8 << 20
"""Most bytes of one object in an answer; etcd holds some 1.5 MiB of it."""
_ALL = frozenset(range(200, 600))
ANSWERS = frozenset(range(200, 500)) - {408, 425, 429}
"""Statuses that another attempt would not change."""
_WRONG = "the cluster does not take the object as it is: see what it says of it"
_BACKOFF = 5.0
"""Seconds: an API server that is restarted is back soon, and everything waits for it."""


@dataclass(frozen=True)
class Resource:
    """A kind of objects: `apps/v1`, `deployments`, `Deployment`."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool = True

    def path(self, namespace: str = "") -> str:
        """Return the path of its list, in all namespaces or one."""
        top = "api" if "/" not in self.api_version else "apis"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"/{top}/{self.api_version}{within}/{self.plural}"


class ClusterApi:
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
        self._source = access
        self._renewing = threading.Lock()
        self.access = access = with_credentials(access)
        settings = settings or HttpSettings.from_environment()
        settings = replace(settings, backoff_limit=min(_BACKOFF, settings.backoff_limit))
        self._http = HttpClient(settings, side="site", reporter=reporter)
        self._files = tempfile.TemporaryDirectory(prefix="airbundle-")
        self._trust = self._settings(access)

    @property
    def name(self) -> str:
        """The context's name."""
        return self.access.context

    def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        expect: frozenset[int] = ANSWERS,
        limit: int = OBJECT_SIZE,
    ) -> Response:
        """Return the answer to a request, whatever it says; lost connections, 429 and 5xx are retried.

        Args:
            method: of HTTP.
            path: below the server's own, percent-encoded.
            what: thing and operation, for errors.
            query: added to the path.
            content, content_type: the request's body.
            accept: media type of the answer.
            expect: statuses that are answers, and are not retried.
            limit: most bytes of the answer's body.

        Raises:
            Unreachable, RemoteError: no good answer within the patience of the settings, or one that is too long.
        """
        headers = {"Accept": accept, **({"Content-Type": content_type} if content is not None else {})}
        access = self.access
        response = self._asked(self._request(method, path, query, headers, content), what, expect, limit)
        if response.status == 401 and self._renewed(access):
            response = self._asked(self._request(method, path, query, headers, content), what, expect, limit)
        if response.too_long:
            problem = f"{what}: {response.url.host} sent a body of more than {limit} bytes"
            raise RemoteError(problem, side="site", status=response.status)
        return response

    def _asked(self, request: Request, what: str, expect: frozenset[int], limit: int) -> Response:
        def once(attempts: Attempts) -> Response:  # noqa: ARG001 - the signature of an operation
            with self._http.attempt(request, what=what, bare=True, expect=_ALL) as answer:
                body = read_all(answer, limit)
            response = Response(answer.status, request.url, answer.headers, body or b"", too_long=body is None)
            fault = self.fault_of(response, what) if response.status not in expect else None
            if fault is not None:
                raise fault
            return response

        return self._http.run(request.url, what, once)

    def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Request:
        token = self.access.token
        headers = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return Request(method, self.url(path, query), headers, content, self._trust)

    def _renewed(self, used: ClusterAccess) -> bool:
        """Ask the plugin again, if there is one: its credentials end after minutes. Tell whether there are others."""
        if self._source.plugin is None:
            return False
        with self._renewing:
            if self.access is used:
                self.access = access = with_credentials(self._source)
                self._trust = self._settings(access)
        return self.access != used

    def url(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Url:
        """Return the URL of a path of the API."""
        server = self.access.server
        url = Url(server.scheme, server.hostname, server.port, server.target.rstrip("/") + path)
        return url.with_query(*query) if query else url

    def body(self, response: Response, what: str, limit: int = OBJECT_SIZE) -> Mapping[str, Any]:
        """Return the object that an answer holds.

        Raises:
            NotFound, Unauthorized, Conflict, Refused, RemoteError: the answer is a refusal, or holds no object.
        """
        if response.status not in (200, 201, 202):
            self.refuse(response, what)
        try:
            body = parse_json(response.body, what=what, limit=limit)
        except VerificationError as error:
            raise RemoteError(error.problem, side="site", status=response.status) from None
        if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
            raise RemoteError(
                f"{what}: {response.url.host} answered with what is no object",
                side="site",
                status=response.status,
                hint="check the server of the context: it must be the cluster's API",
            )
        return body

    def fault_of(self, response: Response, what: str) -> Fault | None:
        """Return a Fault where another attempt may end better than with this answer, else None."""
        if response.status in ANSWERS or not passes(response):
            return None
        wait = parse_retry_after(response.headers.get("retry-after", ""))
        return Fault(f"answered {response.status}", wait=wait, error=self.refusal(response, what))

    def refuse(self, response: Response, what: str) -> NoReturn:
        """Raise what an answer that refuses means."""
        raise self.refusal(response, what)

    def refusal(self, response: Response, what: str, *, forbidden: str = "", unknown: str = "") -> RemoteError:
        """Return what an answer that refuses means.

        Args:
            response: the answer.
            what: thing and operation.
            forbidden: the next step after 403.
            unknown: the next step after 404.
        """
        status, said = response.status, status_of(response)
        words = clean(said["message"]) if isinstance(said.get("message"), str) else ""
        problem = f"{what}: {response.url.host} answered {status}" + (f": {words}" if words else "")
        if status == 409:
            return Conflict(problem, fields=conflicts(said), hint=conflict_hint(said))
        kind, hint = {
            401: (Unauthorized, f"check the user of context {self.name!r}; its credentials may have ended"),
            403: (Unauthorized, forbidden or "ask for a role that may do it, or use another context"),
            404: (NotFound, unknown),
            400: (Refused, _WRONG),
            422: (Refused, _WRONG),
        }.get(status, (Refused if 400 <= status < 500 else RemoteError, "check the server of the context"))
        if status == 403 and "being terminated" in words:
            kind, hint = Refused, "wait until the namespace is gone, then run again"
        if status >= 500:
            kind, hint = (RemoteError, "see the API server's own log") if passes(response) else (Refused, _WRONG)
        return kind(problem, side="site", status=status, hint=hint)

    def _settings(self, access: ClusterAccess) -> TlsSettings:
        """Write certificates into files, because OpenSSL takes nothing else; they lie in a directory of our own."""
        directory = Path(tempfile.mkdtemp(dir=self._files.name))
        ca, certificate, key = (
            _write(directory / name, data)
            for name, data in (("ca.crt", access.ca), ("client.crt", access.certificate), ("client.key", access.key))
        )
        return TlsSettings(ca, certificate, key, access.insecure, only_ca=bool(ca))

    def close(self) -> None:
        """Close all connections and drop the files."""
        self._http.close()
        self._files.cleanup()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write(path: Path, data: bytes) -> str:
    if not data:
        return ""
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)
