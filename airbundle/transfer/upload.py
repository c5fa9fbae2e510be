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
from airbundle.errors import DigestMismatch, Refused, RemoteError
from airbundle.transfer.download import thread_buffer
from airbundle.transfer.http import HttpClient
from airbundle.transfer.problems import Response
from airbundle.transfer.retry import Attempts
from airbundle.transfer.wire import BadUrl, Body, Fault, Request, Url, read_all

SMALL = 1024 * 1024
"""Blobs of up to this many bytes are sent in the PUT itself."""
PIECE = 32 * 1024 * 1024
"""Bytes in one PATCH after a 413."""
SEND_SIZE = 256 * 1024
"""Bytes handed to the socket at once: the stall timeout holds for each."""

_ANSWER_LIMIT = 64 * 1024
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class _Gone(Exception):
    """The upload session is lost; the next attempt begins a new one."""


class _SourceFailed(Exception):
    """The source raised an OSError, which must not be taken for one of the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


@dataclass
class Upload:
    """One blob's way to a registry, over as many attempts as it takes.

    Attributes:
        what: thing and operation, for errors.
        start: URL that begins an upload.
        exists: URL of the finished blob.
        advance: gets the number of bytes that have gone out for the first time.
        location: of the session under way; None when there is none.
    """

    http: HttpClient
    what: str
    blob: Descriptor
    source: BlobReader
    start: Url
    exists: Url
    scopes: tuple[str, ...]
    advance: Callable[[int], None]
    location: Url | None = None
    # Bytes that: the registry has confirmed; are hashed; were told to `advance`; the registry ever confirmed.
    _confirmed: int = 0
    _hashed: int = 0
    _told: int = 0
    _best: int = 0
    _piece: int = 0
    _resumed: bool = False
    _finishing: bool = False
    _hasher: Hasher = field(default_factory=hashlib.sha256)

    def run(self) -> None:
        """Send the blob.

        Raises:
            DigestMismatch: the source does not give the blob's bytes; nothing was finished.
            Refused, Unauthorized, Unreachable, RemoteError: the registry.
        """
        try:
            self.http.run(self.start, self.what, self._attempt)
        except (DigestMismatch, Refused):
            self._cancel()
            raise
        except _SourceFailed as failed:
            self._cancel()
            raise failed.error from None

    def _attempt(self, attempts: Attempts) -> None:
        try:
            if self.location is None:
                if self._finishing and self._is_there():
                    return
                self._begin()
            elif self._hashed:
                self._catch_up()
            self._send(attempts)
        except _Gone as gone:
            self.location = None
            raise Fault(f"lost the upload: {gone}") from None

    def _begin(self) -> None:
        self._confirmed, self._resumed = 0, False
        response = self._ask("POST", self.start)
        if response.status != 202:
            raise self._refused(response, "202")
        self._move(response)
        smallest = response.headers.number("oci-chunk-min-length")
        if self._piece and smallest:
            self._piece = max(self._piece, smallest)

    def _catch_up(self) -> None:
        """Ask how far the session got ("Pushing a blob in chunks": GET the location, 204 and Range)."""
        try:
            response = self._ask("GET", self._session())
        except Fault as fault:
            if fault.error is not None:
                raise _Gone(fault.reason) from None
            raise
        if response.status != 204:
            raise _Gone(f"answered {response.status}")
        self._confirmed = self._confirmed_by(response, 0)
        self._resumed = True
        self._move(response)

    def _confirmed_by(self, response: Response, default: int) -> int:
        """Return the number of bytes that a Range header confirms. `0-0` may mean none, and counts so."""
        found = _RANGE.fullmatch(response.headers.get("range", "").strip())
        if found is None or found[1] == "0":
            return default
        count = int(found[1]) + 1
        if count > self._hashed:
            raise _Gone(f"it claims {count} bytes, of which {self._hashed} were sent")
        return count

    def _send(self, attempts: Attempts) -> None:
        if self.blob.size <= SMALL:
            self._finish(self._content())
            return
        while self._confirmed < self.blob.size:
            self._patch()
            if self._confirmed > self._best:
                # Only what was never reached before is progress: else a session that is always lost in the end
                # would be sent for ever.
                self._best = self._confirmed
                attempts.succeeded()
        self._verify()
        self._finish(b"")

    def _content(self) -> bytes:
        data = bytearray(self.blob.size)
        with memoryview(data) as view:
            filled = self._fill(view, 0)
        self._hasher = hashlib.sha256(data[:filled])
        self._verify()
        self._tell(filled)
        return bytes(data)

    def _patch(self) -> None:
        first = self._confirmed
        length = min(self._piece or self.blob.size, self.blob.size - first)
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{first}-{first + length - 1}"}
        body = Body(length, lambda: self._pieces(first, length))
        response = self._ask("PATCH", self._session(), headers=headers, content=body)
        if response.status == 413 and (not self._piece or self._piece > SMALL):
            self._piece = self._piece // 4 if self._piece else min(PIECE, self.blob.size)
            raise _Gone("answered 413")
        if response.status == 416:
            raise Fault("answered 416")  # the next attempt asks how far it got
        if response.status == 404:
            raise _Gone("answered 404")
        if response.status not in (201, 202, 204):
            raise self._refused(response, "202")
        self._confirmed = self._confirmed_by(response, first + length)
        self._move(response)

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
            self._tell(offset)

    def _fill(self, view: memoryview, offset: int) -> int:
        filled = 0
        try:
            while filled < len(view):
                count = self.source.read_into(self.blob.digest, offset + filled, view[filled:])
                if not count:
                    break
                filled += count
        except OSError as error:
            raise _SourceFailed(error) from None
        return filled

    def _hash(self, view: memoryview, offset: int) -> None:
        """Hash what was not hashed before: after a resume the same bytes go out again."""
        fresh = offset + len(view) - self._hashed
        if fresh > 0:
            self._hasher.update(view[len(view) - fresh :])
            self._hashed += fresh

    def _tell(self, position: int) -> None:
        if position > self._told:
            told, self._told = self._told, position
            self.advance(position - told)

    def _verify(self) -> None:
        found = f"sha256:{self._hasher.hexdigest()}"
        if found != self.blob.digest:
            raise self._wrong(f"has digest {found}, expected {self.blob.digest}")

    def _wrong(self, text: str) -> DigestMismatch:
        return DigestMismatch(f"{self.what}: the source {text}; nothing was finished")

    def _finish(self, content: bytes) -> None:
        self._finishing = True
        url = self._session().with_query(("digest", self.blob.digest))
        try:
            response = self._ask("PUT", url, headers={"Content-Type": "application/octet-stream"}, content=content)
        except Fault:
            if content or not self._hashed:
                self.location = None  # a small blob begins again: that is one request more
            raise
        if response.status in (404, 416) or (response.status == 400 and self._resumed):
            raise _Gone(f"answered {response.status}")
        if response.status not in (201, 202, 204):
            raise self._refused(response, "201")

    def _is_there(self) -> bool:
        """Tell whether the blob was finished after all, though the answer that said so was lost."""
        return self._ask("HEAD", self.exists).status == 200

    def _cancel(self) -> None:
        if self.location is not None:
            url, self.location = self.location, None
            try:
                self._ask("DELETE", url)
            except (Fault, RemoteError):
                pass  # the registry clears it away some day

    def _session(self) -> Url:
        if self.location is None:
            raise _Gone("there is none")
        return self.location

    def _ask(
        self, method: str, url: Url, *, headers: dict[str, str] | None = None, content: bytes | Body | None = None
    ) -> Response:
        request = Request(method, url, headers or {}, content)
        with self.http.attempt(request, what=self.what, scopes=self.scopes, bulk=True) as answer:
            body = b"" if method == "HEAD" else read_all(answer, _ANSWER_LIMIT)
            return Response(answer.status, url, answer.headers, body or b"")

    def _move(self, response: Response) -> None:
        location = upload_location(response)
        if location is None:
            raise self._refused(response, "a Location")
        self.location = location

    def _refused(self, response: Response, expected: str) -> RemoteError:
        return self.http.refusal(response, what=self.what, expected=expected)


def upload_location(response: Response) -> Url | None:
    """Return the newest upload location; None when the answer has none.

    It must be on the same host, and keeps the scheme and port that we use: registries behind proxies often answer
    with `http://` and their inner port. Another host is refused, because the bytes would go to someone whom nobody
    named.

    Raises:
        Fault: no attempt will end better.
    """
    text = response.headers.get("location", "")
    if not text:
        return None
    try:
        url = response.url.join(text)
    except BadUrl as error:
        raise Fault(f"its upload location is no URL: {error}", passing=False) from None
    if url.hostname != response.url.hostname:
        raise Fault(
            f"sends the upload to another host, {url.host}",
            passing=False,
            hint="set the registry's own address (registry:2: http.host), or push to it by that name",
        )
    return replace(response.url, target=url.target)
