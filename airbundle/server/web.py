"""Requests and replies: a thin, typed view on WSGI (PEP 3333)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from airbundle.server.body import Body

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
OCTETS = "application/octet-stream"
_FIELDS = 20
_QUERY_LIMIT = 4096


class BadRequest(Exception):
    """The request can't be understood: 400."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: GET, HEAD, …
        path: decoded; begins with a slash.
        query: decoded; the first of equal names counts.
        environ: of WSGI.
    """

    method: str
    path: str
    query: Mapping[str, str]
    environ: WSGIEnvironment = field(repr=False)

    @classmethod
    def of(cls, environ: WSGIEnvironment) -> Request:
        """Read a WSGI environment.

        Raises:
            BadRequest: path or query are no UTF-8, or hold control characters.
        """
        try:
            # PEP 3333: the bytes of the path, one character each.
            path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8")
            raw = environ.get("QUERY_STRING", "")
            if len(raw) > _QUERY_LIMIT:
                raise BadRequest("the query is too long")
            query = parse_qs(raw, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
        except (UnicodeError, ValueError):
            raise BadRequest("the path or query is not UTF-8, or has too many fields") from None
        if not path.startswith("/") or not path.isprintable():
            raise BadRequest("the path holds control characters")
        return cls(environ["REQUEST_METHOD"], path, {name: values[0] for name, values in query.items()}, environ)

    def header(self, name: str) -> str:
        """Return a header's value, empty when it is absent."""
        return str(self.environ.get("HTTP_" + name.upper().replace("-", "_"), ""))


@dataclass(frozen=True)
class Reply:
    """One answer. `length` is Content-Length where it isn't that of `body`, as for HEAD."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Body = b""
    length: int | None = None

    @classmethod
    def text(cls, status: HTTPStatus, text: str) -> Reply:
        """Return a line of plain text."""
        return cls(status, (("Content-Type", TEXT),), (text + "\n").encode())

    @classmethod
    def json(cls, body: Any, status: HTTPStatus = HTTPStatus.OK, *headers: tuple[str, str]) -> Reply:
        """Return a JSON document."""
        return cls(status, (("Content-Type", JSON), *headers), json.dumps(body).encode())


_SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    # What a bundle holds never runs scripts in a browser, whatever type it claims to have.
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


def send(reply: Reply, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Hand a reply to the WSGI server. HEAD gets headers only; its Content-Length is that of GET."""
    body = reply.body
    length = reply.length if reply.length is not None else (len(body) if isinstance(body, bytes) else body.length)
    headers = [*reply.headers, *_SAFE]
    if reply.status != HTTPStatus.NOT_MODIFIED:
        headers.append(("Content-Length", str(length)))
    start(f"{reply.status.value} {reply.status.phrase}", headers)
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    if isinstance(body, bytes):
        return [body] if body else []
    return body.stream(environ)
