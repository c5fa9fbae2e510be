"""Plain files over HTTP(S): pinned by digest, so that any mirror will do. They stream into the cache as they come."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from airbundle.bundle.content import BlobAdder, BlobSink
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, RemoteError
from airbundle.transfer.download import Download, thread_buffer
from airbundle.transfer.http import HttpClient
from airbundle.transfer.problems import Response
from airbundle.transfer.retry import Attempts
from airbundle.transfer.wire import Fault, Request, read_all

FILE_LIMIT = 1 << 40
"""Largest file in bytes; a server that claims or sends more is not believed."""

_ERROR_LIMIT = 64 * 1024


def fetch_file(http: HttpClient, url: str, digest: str, sink: BlobSink, media_type: str) -> Descriptor:
    """Fetch `url` into `sink`; nothing is asked when `sink` has it.

    A server that tells the size beforehand is asked to go on in the middle after a fault; others begin again.

    Args:
        http: trust, credentials, proxies and patience.
        url: http(s).
        digest: `sha256:…` that the bytes must have.
        sink: takes the file.
        media_type: for the descriptor.

    Raises:
        NotFound, RemoteError: the server fails, or doesn't have it.
        DigestMismatch: the bytes are others, twice.
        HostError: the sink can't take them.
    """
    known = sink.size(digest)
    if known is not None:
        return Descriptor(media_type, digest, known)
    what = f"file {http.url(url, 'file').shown}"
    size = _size(http, url, what)
    with _Rewindable(sink) as target:
        try:
            if size is None:
                _stream(http, url, digest, target, what)
            else:
                Download(http, what, Descriptor(media_type, digest, size), target.write).run(http.url(url, what))
        except DigestMismatch as error:
            hint = "if the file was changed on purpose, write its new sha256 into the inventory"
            raise DigestMismatch(error.problem, hint=hint) from None
        return target.commit(media_type)


class _Rewindable:
    """A blob on its way into a sink that may begin again at byte 0, as downloads do; a `WriteAt` for bytes in order.

    Attributes:
        furthest: the most bytes that any attempt has written.
    """

    def __init__(self, sink: BlobSink) -> None:
        self._sink = sink
        self._stack = ExitStack()
        self._adder: BlobAdder = self._stack.enter_context(sink.adder())
        self._position = 0
        self.furthest = 0

    def write(self, offset: int, data: memoryview) -> None:
        if offset == 0 and self._position:
            self.rewind()
        self._adder.write(data)
        self._position += len(data)

    def rewind(self) -> None:
        """Drop what was written."""
        self._stack.close()
        self._adder = self._stack.enter_context(self._sink.adder())
        self._position = 0

    def commit(self, media_type: str) -> Descriptor:
        return self._adder.commit(media_type)

    def __enter__(self) -> _Rewindable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _size(http: HttpClient, url: str, what: str) -> int | None:
    """Return what the server says of the file's size in bytes; None when it does not say, or knows no HEAD."""
    answer = http.request("HEAD", url, what=what, expect=(200, 400, 403, 404, 405, 501))
    size = answer.headers.number("content-length") if answer.status == 200 else None
    if size is not None and size > FILE_LIMIT:
        raise RemoteError(f"{what}: the server claims {size} bytes; at most {FILE_LIMIT} are believed")
    return size


def _stream(http: HttpClient, url: str, digest: str, target: _Rewindable, what: str) -> None:
    """Fetch a file whose size is not known; its digest tells whether it came whole."""
    request = Request("GET", http.url(url, what))
    for last in (False, True):
        found = http.run(request.url, what, lambda attempts: _attempt(http, request, target, attempts, what))
        if found == digest:
            return
        if last:
            raise DigestMismatch(f"{what}: found digest {found}, expected {digest}, twice")


def _attempt(http: HttpClient, request: Request, target: _Rewindable, attempts: Attempts, what: str) -> str:
    target.rewind()
    hasher, position, buffer = hashlib.sha256(), 0, thread_buffer()
    with http.attempt(request, what=what, bulk=True) as answer:
        if answer.status != 200:
            response = Response(answer.status, request.url, answer.headers, read_all(answer, _ERROR_LIMIT) or b"")
            raise http.refusal(response, what=what, expected="the file")
        while True:
            count = answer.readinto(buffer)
            if not count:
                return f"sha256:{hasher.hexdigest()}"
            hasher.update(buffer[:count])
            target.write(position, buffer[:count])
            position += count
            if position > target.furthest:
                # As in `Download`: only what was never reached before is progress.
                target.furthest = position
                attempts.succeeded()
            if position > FILE_LIMIT:
                raise Fault(f"sends more than {FILE_LIMIT} bytes", passing=False)
