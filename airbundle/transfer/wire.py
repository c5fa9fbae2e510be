"""What both HTTP engines have in common: URLs, headers, an answer whose body is still to be read, and faults.

An engine makes exactly one exchange. It neither retries nor redirects nor knows credentials; whatever a library
raises becomes a `Fault` here, and nothing else leaves it (one boundary for foreign exceptions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Callable, Protocol, Union
from urllib.parse import quote, urljoin, urlsplit

from airbundle.errors import AirbundleError
from airbundle.transfer.tls import TlsSettings

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}\.?|\[[0-9A-Fa-f:.]+\]")
_TARGET = re.compile(r"[\x21-\x7e]*")
_PORTS = {"http": 80, "https": 443}
URL_LIMIT = 16 * 1024


class BadUrl(ValueError):
    """A URL that will not be used; the text says why."""


@dataclass(frozen=True)
class Url:
    """An absolute http or https URL without user information and fragment."""

    scheme: str
    hostname: str
    port: int
    target: str = "/"

    @classmethod
    def parse(cls, text: str) -> Url:
        """Parse a URL from outside.

        Raises:
            BadUrl: no scheme, another scheme, no host, credentials in it, or characters that don't belong there.
        """
        if len(text) > URL_LIMIT or not _TARGET.fullmatch(text):
            raise BadUrl("longer than 16 KiB, or with blanks or control characters")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise BadUrl(str(error)) from None
        if parts.scheme not in _PORTS:
            raise BadUrl("a URL begins with https:// or http://")
        if "@" in parts.netloc:
            raise BadUrl("a URL must not hold a user name or password")
        host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.rstrip(":")
        if not _HOST.fullmatch(host):
            raise BadUrl("the host is missing or not one")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host.lower(), port or _PORTS[parts.scheme], target)

    @property
    def host(self) -> str:
        """Host, with the port unless it is the scheme's own: as in image names and in `configs`."""
        return self.hostname if self.port == _PORTS[self.scheme] else f"{self.hostname}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host name and port: credentials never leave it."""
        return self.scheme, self.hostname, self.port

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    def join(self, location: str) -> Url:
        """Return where `location` (a Location or Link, relative or absolute) leads from here. Raises BadUrl."""
        if not _TARGET.fullmatch(location):
            raise BadUrl("blanks or control characters")
        return Url.parse(urljoin(str(self), location).partition("#")[0])

    def with_query(self, *pairs: tuple[str, str]) -> Url:
        """Return this URL with `pairs` added to its query, percent-encoded; what is there stays as it is."""
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
        mark = "&" if "?" in self.target else "?"
        return Url(self.scheme, self.hostname, self.port, f"{self.target}{mark}{query}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    @property
    def shown(self) -> str:
        """The URL for people: without its query, which may be a signature that opens blob storage."""
        return f"{self.scheme}://{self.host}{self.path}"


class Headers(Mapping[str, str]):
    """Response headers; names in any case. Of a header that stands several times the values are joined by commas."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len(set(self))

    def all(self, name: str) -> list[str]:
        """Return each value of `name`."""
        return [value for key, value in self._pairs if key == name.lower()]

    def number(self, name: str) -> int | None:
        """Return a header that is a plain decimal number, else None."""
        text = self.get(name, "").strip()
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


@dataclass(frozen=True)
class Body:
    """A request's large body: `length` bytes, given piece by piece; asked for anew for each attempt."""

    length: int
    pieces: Callable[[], Iterator[memoryview]]


Content = Union[bytes, Body, None]


@dataclass(frozen=True)
class Request:
    """One request, as an engine sends it.

    Attributes:
        trust: how to trust the server; None for what is configured for its host.
    """

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: Content = field(default=None, repr=False)
    trust: TlsSettings | None = None


class Answer(Protocol):
    """An answer whose body is still on the line. Leaving the context gives the connection back, or closes it."""

    status: int
    headers: Headers

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes of the body as they came (never decoded); 0 at the end. Raises Fault."""

    def __enter__(self) -> Answer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Engine(Protocol):
    """Makes one exchange."""

    def exchange(self, request: Request) -> Answer:
        """Send the request and read the answer's head. Raises Fault."""

    def close(self) -> None:
        """Close all connections; those in use fail."""


class Fault(Exception):
    """One attempt failed.

    Attributes:
        reason: what happened, for people; bounded, without credentials.
        passing: whether another attempt may go better.
        contact: whether the host was reached at all.
        wait: seconds that the host asked to wait (Retry-After).
        error: the error to raise in place of a general one when no attempt is left.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = True,
        contact: bool = True,
        wait: float | None = None,
        hint: str = "",
        error: AirbundleError | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.contact = contact
        self.wait = wait
        self.hint = hint
        self.error = error


def read_all(answer: Answer, limit: int) -> bytes | None:
    """Read a body of at most `limit` bytes; None when it is longer. Raises Fault."""
    announced = answer.headers.number("content-length")
    if announced is not None and announced > limit:
        return None
    buffer = bytearray(min(limit + 1, 64 * 1024 if announced is None else announced + 1))
    body = bytearray()
    with memoryview(buffer) as view:
        while True:
            count = answer.readinto(view)
            if not count:
                return bytes(body)
            body += view[:count]
            if len(body) > limit:
                return None
