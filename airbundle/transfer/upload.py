"""Pushing one blob: POST, PATCH, PUT (distribution spec, "Pushing blobs"), resumed where the registry allows it.

The newest Location always counts, relative or absolute; its query is kept. What is sent is hashed, and a blob whose
source turns out wrong is never finished. One PATCH carries the whole blob, as docker does, because some registries
take no second one; a 413 makes the next try use smaller pieces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from airbundle.bundle.content import BlobReader, Hasher
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, RemoteError
from airbundle.transfer.download import thread_buffer
from airbundle.transfer.http import HttpClient
from airbundle.transfer.problems import Response, refusal
from airbundle.transfer.retry import Attempts
from airbundle.transfer.wire import BadUrl, Body, Fault, Request, Url, read_all

SMALL = 1024 * 1024
"""Blobs of up to this many bytes are sent in the PUT itself."""
PIECE = 32 * 1024 * 1024
"""Bytes in one PATCH after a 413."""
SEND_SIZE = 256 * 1024
"""Bytes handed to the socket at once: the stall timeout holds for each."""

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class Gone(Exception):
    """The upload session is lost; the next attempt begins a new one."""


@dataclass
class Upload:
    """One blob's way to a registry, over as many attempts as it takes.

    Attributes:
        what: thing and operation, for errors.
        start: URL that begins an upload.
        location: of the session under way; None when there is none.
        advance: gets the number of bytes that have gone out for the first time.
    """

    http: HttpClient
    what: str
    blob: Descriptor
    source: BlobReader
    start: Url
    scopes: tuple[str, ...]
    advance: Callable[[int], None]
    location: Url | None = None
    _acknowledged: int = 0
    _hashed: int = 0
    _piece: int = 0
    _told: int = 0
    _hasher: Hasher = field(default_factory=hashlib.sha256)

    def run(self) -> None:
        """Send the blob.

        Raises:
            DigestMismatch: the source does not give the blob's bytes; nothing was finished.
            Refused, Unauthorized, Unreachable, RemoteError: the registry.
        """
        self.http.run(self.start, self.what, self._attempt)

    def _attempt(self, attempts: Attempts) -> None:
        try:
            if self.location is None:
                self._begin()
            elif self._acknowledged or self._hashed:
                self._catch_up()
            self._send(attempts)
        except Gone:
            self.location = None
            raise Fault("lost the upload, which begins again") from None
        except Fault:
            if self.blob.size <= SMALL:
                self.location = None
            raise

    def _begin(self) -> None:
        self._acknowledged = 0
        response = self._ask("POST", self.start)
        if response.status != 202:
            raise self._refused(response, "202")
        self._moved(response)
        smallest = response.headers.number("oci-chunk-min-length")
        if self._piece and smallest:
            self._piece = max(self._piece, smallest)

    def _catch_up(self) -> None:
        """Ask how far the session got (spec, "Pushing a blob in chunks": GET the location: 204 and Range)."""
        assert self.location is not None  # noqa: S101 - for the type checker
        response = self._ask("GET", self.location)
        found = _RANGE.fullmatch(response.headers.get("range", "").strip())
        if response.status != 204 or (found is None and self._acknowledged):
            raise Gone
        size = 0 if found is None or found[1] == "0" else int(found[1]) + 1
        if size > self._hashed:
            raise Gone
        self._acknowledged = size
        self._moved(response)

    def _send(self, attempts: Attempts) -> None:
        if self.blob.size <= SMALL:
            self._finish(self._content())
            return
        while self._acknowledged < self.blob.size:
            self._patch()
            attempts.succeeded()
        self._verify()
        self._finish(b"")

    def _content(self) -> bytes:
        data = bytearray(self.blob.size)
        with memoryview(data) as view:
            filled = self._fill(view, 0)
        self._hasher = hashlib.sha256(data[:filled])
        self._verify()
        self._account(filled)
        return bytes(data)

    def _patch(self) -> None:
        assert self.location is not None  # noqa: S101 - for the type checker
        first = self._acknowledged
        length = min(self._piece or self.blob.size, self.blob.size - first)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{first}-{first + length - 1}",
        }
        body = Body(length, lambda: self._pieces(first, length))
        response = self._ask("PATCH", self.location, headers=headers, content=body)
        if response.status == 413 and (not self._piece or self._piece > SMALL):
            self._piece = min(PIECE, self.blob.size) if not self._piece else self._piece // 4
            raise Gone
        if response.status in (404, 416):
            raise Gone
        if response.status not in (201, 202, 204):
            raise self._refused(response, "202")
        self._moved(response)
        self._acknowledged = first + length

    def _pieces(self, first: int, length: int) -> Iterator[memoryview]:
        buffer = thread_buffer()
        offset, end = first, first + length
        while offset < end:
            view = buffer[: min(SEND_SIZE, end - offset)]
            count = self._fill(view, offset)
            if count < len(view):
                raise self._wrong(f"ends at byte {offset + count} of {self.blob.size}")
            self._hash(view, offset)
            yield view
            offset += count
            self._account(offset)

    def _fill(self, view: memoryview, offset: int) -> int:
        filled = 0
        while filled < len(view):
            count = self.source.read_into(self.blob.digest, offset + filled, view[filled:])
            if not count:
                break
            filled += count
        return filled

    def _hash(self, view: memoryview, offset: int) -> None:
        """Hash what was not hashed before: after a resume the same bytes go out again."""
        fresh = offset + len(view) - self._hashed
        if fresh > 0:
            self._hasher.update(view[len(view) - fresh :])
            self._hashed += fresh

    def _account(self, position: int) -> None:
        if position > self._told:
            told, self._told = self._told, position
            self.advance(position - told)

    def _verify(self) -> None:
        found = f"sha256:{self._hasher.hexdigest()}"
        if found != self.blob.digest:
            raise self._wrong(f"found digest {found}, expected {self.blob.digest}")

    def _wrong(self, text: str) -> DigestMismatch:
        self._cancel()
        return DigestMismatch(f"{self.what}: the source {text}")

    def _finish(self, content: bytes) -> None:
        assert self.location is not None  # noqa: S101 - for the type checker
        url = self.location.with_query(("digest", self.blob.digest))
        response = self._ask("PUT", url, headers={"Content-Type": "application/octet-stream"}, content=content)
        if response.status in (404, 416):
            raise Gone
        if response.status not in (201, 202, 204):
            raise self._refused(response, "201")

    def _cancel(self) -> None:
        if self.location is not None:
            url, self.location = self.location, None
            try:
                self._ask("DELETE", url)
            except (Fault, RemoteError):
                pass

    def _ask(
        self, method: str, url: Url, *, headers: dict[str, str] | None = None, content: bytes | Body | None = None
    ) -> Response:
        request = Request(method, url, headers or {}, content)
        with self.http.attempt(request, what=self.what, scopes=self.scopes, bulk=True) as answer:
            body = read_all(answer, 64 * 1024) or b""
            return Response(answer.status, url, answer.headers, body)

    def _moved(self, response: Response) -> None:
        self.location = location_of(response, what=self.what, side_error=self._refused(response, "a Location"))

    def _refused(self, response: Response, expected: str) -> RemoteError:
        return refusal(response, what=self.what, side=self.http.side, expected=expected)


def location_of(response: Response, *, what: str, side_error: RemoteError) -> Url:
    """Return the newest upload location: on the same host, and over TLS where we came over TLS.

    Registries behind proxies often answer with `http://` and their own host; another host is refused, because the
    bytes would go to someone whom nobody named.
    """
    text = response.headers.get("location", "")
    if not text:
        raise side_error
    try:
        url = response.url.join(text)
    except BadUrl as error:
        raise Fault(f"{what}: the upload location is no URL: {error}", passing=False) from None
    if url.hostname != response.url.hostname:
        raise Fault(
            f"sends the upload to another host, {url.host}",
            passing=False,
            hint="set the registry's own address (registry:2: http.host), or push to it by that name",
        )
    return replace(response.url, target=url.target)
