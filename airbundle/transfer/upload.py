"""Pushing one blob: POST, PATCH, PUT (distribution spec, "Pushing blobs"), resumed where the registry allows it.

The newest Location always counts, relative or absolute; its query is kept. What is sent is hashed, and a blob whose
source turns out wrong is never finished. One PATCH carries the whole blob, as docker does, because some registries
take no second one; a 413 makes the next try use smaller pieces.

A session that an earlier run left is taken up where the registry still has it: it is asked how far it got, that much
is hashed again from the source, and the rest is sent (docs/decisions/0030). Whatever it answers that is not as it
should be ends that session, and the blob begins anew.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from airbundle.bundle.content import BlobReader, Hasher
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, Refused, RemoteError
from airbundle.transfer.download import thread_buffer
from airbundle.transfer.http import HttpClient
from airbundle.transfer.problems import Response
from airbundle.transfer.retry import Attempts
from airbundle.transfer.upload_session import Session
from airbundle.transfer.wire import Body, Fault, Request, Url, read_all

SMALL = 1024 * 1024
"""Blobs of up to this many bytes are sent in the PUT itself."""
PIECE = 32 * 1024 * 1024
"""Bytes in one PATCH after a 413."""
SEND_SIZE = 256 * 1024
"""Bytes handed to the socket at once: the stall timeout holds for each."""

logger = logging.getLogger(__name__)

_ANSWER_LIMIT = 64 * 1024
_FRUITLESS = 3
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
        session: the one under way, if there is one; its base URL begins another.
        exists: URL of the finished blob.
        advance: gets the number of bytes that have gone out for the first time.
        spared: bytes that the registry had from an earlier run, and that were not sent.
    """

    http: HttpClient
    what: str
    blob: Descriptor
    source: BlobReader
    session: Session
    exists: Url
    scopes: tuple[str, ...]
    advance: Callable[[int], None]
    spared: int = 0
    # Bytes that: the registry has confirmed; are hashed; were told to `advance`; the registry ever confirmed.
    # Then: the size of a piece; how often a session of earlier was taken up and nothing came of it.
    _confirmed: int = 0
    _hashed: int = 0
    _told: int = 0
    _best: int = 0
    _piece: int = 0
    _fruitless: int = 0
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
            self.http.run(self.session.base, self.what, self._attempt)
        except (DigestMismatch, Refused):
            self._cancel()
            raise
        except _SourceFailed as failed:
            self._cancel()
            raise failed.error from None

    def _attempt(self, attempts: Attempts) -> None:
        try:
            if self.session.earlier:
                self._take_up()
            elif self.session.location is not None and self._hashed:
                self._catch_up()
            self._progress(attempts)
            if self.session.location is None:
                if self._finishing and self._is_there():
                    return
                self._begin()
            self._send(attempts)
            self.session.lost()  # it has ended well
        except _Gone as gone:
            self.session.lost()
            raise Fault(f"lost the upload: {gone}") from None
        except Fault as fault:
            if self.session.earlier and fault.error is not None:
                self.session.lost()
            raise

    def _begin(self) -> None:
        self._confirmed, self._resumed, self.spared = 0, False, 0
        response = self._ask("POST", self.session.base)
        if response.status != 202:
            raise self._refused(response, "202")
        self._move(response)
        smallest = response.headers.number("oci-chunk-min-length")
        if self._piece and smallest:
            self._piece = max(self._piece, smallest)

    def _take_up(self) -> None:
        """Go on with what an earlier run sent; where that can't be, begin anew without a word."""
        first = not self._hashed
        self._fruitless += 1
        if self._fruitless > _FRUITLESS:
            self.session.lost()
            return
        try:
            self._catch_up()
        except (_Gone, RemoteError) as gone:
            logger.info("%s: an earlier upload can't go on: %s", self.what, gone)
            self.session.lost()
            return
        except Fault as fault:
            if fault.passing:
                raise
            self.session.lost()
            return
        if first:
            self.spared = self._confirmed
        for _ in self._pieces(self._hashed, self._confirmed - self._hashed):
            pass  # hashed from the source, and not sent

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
        self._confirmed = self._confirmed_by(response, 0, self.blob.size if self.session.earlier else self._hashed)
        self._resumed = True
        self._move(response)

    def _confirmed_by(self, response: Response, default: int, most: int) -> int:
        """Return the number of bytes that a Range header confirms. `0-0` may mean none, and counts so.

        Args:
            default: where the header is missing, or says nothing.
            most: bytes that can have arrived.
        """
        found = _RANGE.fullmatch(response.headers.get("range", "").strip())
        if found is None or found[1] == "0":
            return default
        count = int(found[1]) + 1
        if count > most:
            raise _Gone(f"it claims {count} bytes, of which {most} were sent")
        return count

    def _send(self, attempts: Attempts) -> None:
        if self.blob.size <= SMALL:
            self._finish(self._content())
            return
        while self._confirmed < self.blob.size:
            self._patch()
            self._progress(attempts)
        self._verify()
        self._finish(b"")

    def _progress(self, attempts: Attempts) -> None:
        """Fill the budgets again when the registry has more than ever before.

        Only that is progress: else a session that is always lost in the end would be sent for ever.
        """
        if self._confirmed > self._best:
            self._best = self._confirmed
            self._fruitless = 0
            attempts.succeeded()

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
        self.session.keep()
        response = self._ask("PATCH", self._session(), headers=headers, content=body)
        if response.status == 413 and (not self._piece or self._piece > SMALL):
            self._piece = self._piece // 4 if self._piece else min(PIECE, self.blob.size)
            raise _Gone("answered 413")
        if response.status == 416 and not self.session.earlier:
            raise Fault("answered 416")  # the next attempt asks how far it got
        if response.status == 404:
            raise _Gone("answered 404")
        if response.status not in (201, 202, 204):
            raise self._unexpected(response, "202")
        self._confirmed = self._confirmed_by(response, first + length, self._hashed)
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
                self.session.lost()  # a small blob begins again: that is one request more
            raise
        if response.status in (404, 416) or (response.status == 400 and self._resumed):
            raise _Gone(f"answered {response.status}")
        if response.status not in (201, 202, 204):
            raise self._unexpected(response, "201")

    def _is_there(self) -> bool:
        """Tell whether the blob was finished after all, though the answer that said so was lost."""
        return self._ask("HEAD", self.exists).status == 200

    def _cancel(self) -> None:
        url = self.session.location
        self.session.lost()
        if url is not None:
            try:
                self._ask("DELETE", url)
            except (Fault, RemoteError):
                pass  # the registry clears it away some day

    def _session(self) -> Url:
        if self.session.location is None:
            raise _Gone("there is none")
        return self.session.location

    def _ask(
        self, method: str, url: Url, *, headers: dict[str, str] | None = None, content: bytes | Body | None = None
    ) -> Response:
        request = Request(method, url, headers or {}, content)
        with self.http.attempt(request, what=self.what, scopes=self.scopes, bulk=True) as answer:
            body = b"" if method == "HEAD" else read_all(answer, _ANSWER_LIMIT)
            return Response(answer.status, url, answer.headers, body or b"")

    def _move(self, response: Response) -> None:
        if not self.session.move(response):
            raise self._unexpected(response, "a Location")

    def _unexpected(self, response: Response, expected: str) -> RemoteError | _Gone:
        """Return what an answer that nobody wants means: of a session of earlier, only that it is over."""
        if self.session.earlier:
            return _Gone(f"answered {response.status}")
        return self._refused(response, expected)

    def _refused(self, response: Response, expected: str) -> RemoteError:
        return self.http.refusal(response, what=self.what, expected=expected)
