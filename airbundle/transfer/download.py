"""One blob from one URL to its place: hashed from the first byte, resumed in the middle, begun again when wrong.

Range requests are only SHOULD in the distribution spec: a 206 is continued, a 200 begins again at 0. Bytes are read
into one buffer for each thread, hashed and written from there; nothing else is done per byte.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field

from airbundle.bundle.content import Hasher, WriteAt, piece_buffer
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch
from airbundle.transfer.http import HttpClient
from airbundle.transfer.problems import Response
from airbundle.transfer.retry import Attempts
from airbundle.transfer.wire import Answer, Fault, Request, Url, read_all

BUFFER_SIZE = 256 * 1024
"""Bytes that are hashed and written at once. From 128 KiB on, more makes nothing faster (docs/decisions/0010)."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_threads = threading.local()


def thread_buffer() -> memoryview:
    """Return this thread's buffer of BUFFER_SIZE bytes."""
    if not hasattr(_threads, "view"):
        _threads.view = piece_buffer(BUFFER_SIZE)
    view: memoryview = _threads.view
    return view


class _Wrong(Exception):
    """The server sent other bytes than the blob's; the text goes on after "sends"."""


@dataclass
class Download:
    """One blob's way from a server, over as many attempts as it takes.

    Attributes:
        what: thing and operation, for errors.
        blob: digest and size are binding.
        write: where the bytes go.
        position: bytes that are written and hashed.
        hasher: has seen exactly those.
    """

    http: HttpClient
    what: str
    blob: Descriptor
    write: WriteAt
    position: int = 0
    hasher: Hasher = field(default_factory=hashlib.sha256)
    _best: int = 0

    def run(self, url: Url, *, scopes: tuple[str, ...] = (), budget: float | None = None) -> None:
        """Fetch the blob from `url`. Raises what `BlobSource.copy_blob` raises."""
        for last in (False, True):
            try:
                self.http.run(url, self.what, lambda attempts: self._attempt(attempts, url, scopes), budget=budget)
                self._verify()
                return
            except _Wrong as wrong:
                self._restart()
                if last:
                    raise DigestMismatch(
                        f"{self.what}: {url.host} sends {wrong}, twice",
                        hint="the server, or a proxy before it, serves wrong bytes",
                    ) from None

    def _verify(self) -> None:
        found = f"sha256:{self.hasher.hexdigest()}"
        if found != self.blob.digest:
            raise _Wrong(f"bytes of digest {found}, expected {self.blob.digest}")

    def _restart(self) -> None:
        self.position, self.hasher = 0, hashlib.sha256()

    def _attempt(self, attempts: Attempts, url: Url, scopes: tuple[str, ...]) -> None:
        if self.position == self.blob.size:
            return
        headers = {"Range": f"bytes={self.position}-"} if self.position else {}
        request = Request("GET", url, headers)
        with self.http.attempt(request, what=self.what, scopes=scopes, bulk=True) as answer:
            self._place(answer, url)
            self._receive(answer, attempts)

    def _place(self, answer: Answer, url: Url) -> None:
        """Make `position` the place where the answer's body begins."""
        if answer.status == 206 and self.position:
            if _starts_at(answer, self.position, self.blob.size):
                return
            self._restart()
            raise Fault("answered with another range than was asked for")
        if answer.status == 416 and self.position:
            self._restart()
            raise Fault("answered 416 to a range inside the blob")
        if answer.status != 200:
            body = read_all(answer, 64 * 1024) or b""
            response = Response(answer.status, url, answer.headers, body)
            raise self.http.refusal(response, what=self.what, expected="the blob")
        if self.position:
            self._restart()
        length = answer.headers.number("content-length")
        if length is not None and length != self.blob.size:
            raise _Wrong(f"{length} bytes, expected {self.blob.size}")

    def _receive(self, answer: Answer, attempts: Attempts) -> None:
        buffer = thread_buffer()
        while self.position < self.blob.size:
            fault: Fault | None = None
            filled, wanted = 0, min(len(buffer), self.blob.size - self.position)
            while filled < wanted:
                try:
                    count = answer.readinto(buffer[filled:wanted])
                except Fault as broken:
                    fault = broken
                    break
                if not count:
                    fault = Fault(f"the body ended at byte {self.position + filled} of {self.blob.size}")
                    break
                filled += count
            self._take(buffer[:filled])
            if self.position > self._best:
                # Only what was never reached before is progress: else a server that knows no ranges and always
                # breaks off at the same place would be asked for ever.
                self._best = self.position
                attempts.succeeded()
            if fault is not None:
                raise fault
        if answer.readinto(buffer[:1]):
            raise _Wrong(f"more than the expected {self.blob.size} bytes")

    def _take(self, data: memoryview) -> None:
        if data:
            self.hasher.update(data)
            self.write(self.position, data)
            self.position += len(data)


def _starts_at(answer: Answer, position: int, size: int) -> bool:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    return found is not None and int(found[1]) == position and found[3] in {"*", str(size)}
