"""The bytes of a blob on their way out: by sendfile over plain HTTP, in pieces over TLS."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.errors import HostError
from airbundle.store.table_file import TableFile

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger(__name__)

PIECE = 256 * 1024
"""Bytes read and sent at once over TLS. Measured: smaller pieces cost calls, larger ones win nothing."""


@dataclass(frozen=True)
class Body:
    """`length` bytes of a blob of `bundle`, from `start` on."""

    bundle: TableFile
    digest: str
    start: int
    length: int

    def stream(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Return what WSGI takes as a body."""
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and environ["wsgi.url_scheme"] == "http":
            segments = self.bundle.segments(self.digest, self.start, self.length)
            # Volumes may cut a blob in two.
            opened = _reopen(*segments[0]) if len(segments) == 1 else None
            if opened is not None:
                wrapped: Iterable[bytes] = wrapper(opened, PIECE)
                return wrapped
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        position, end = self.start, self.start + self.length
        with memoryview(bytearray(min(PIECE, self.length) or 1)) as buffer:
            while position < end:
                try:
                    count = self.bundle.read_into(self.digest, position, buffer[: end - position])
                except HostError as error:
                    logger.error("%s", error.problem)  # noqa: TRY400 - the problem is told in full
                    raise _cut_off() from None
                if not count:
                    raise _cut_off()
                # WSGI wants bytes, so one copy is made here.
                yield bytes(buffer[:count])
                position += count


def _cut_off() -> OSError:
    # As if the client had gone: the connection is closed, because the announced length can't be kept.
    return OSError(errno.ECONNRESET, "a file of the bundle can't be read to the length that was announced")


class _Part:
    """A range of a file with a position of its own, as sendfile wants it: requests share descriptors, not positions."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._position = offset
        self._end = offset + length
        os.lseek(descriptor, offset, os.SEEK_SET)

    def fileno(self) -> int:
        """Return the descriptor; its position is where the range begins."""
        return self._descriptor

    def read(self, size: int) -> bytes:
        """Return the next bytes, where the server does not use sendfile."""
        data = os.pread(self._descriptor, min(size, self._end - self._position), self._position)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: it has become too short for what was announced.
        """
        if self._descriptor < 0:
            return
        size = os.fstat(self._descriptor).st_size
        os.close(self._descriptor)
        self._descriptor = -1
        if size < self._end:
            raise _cut_off()


def _reopen(descriptor: int, offset: int, length: int) -> _Part | None:
    """Open the file behind `descriptor` once more, also when its name is gone; None where /proc isn't mounted."""
    try:
        return _Part(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC), offset, length)
    except OSError:
        return None
