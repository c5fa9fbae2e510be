"""Single blobs as files: written once, read in pieces, and known again by what the file system says of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from airbundle.bundle.content import WriteAt, piece_buffer
from airbundle.bundle.digest import parse_digest
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch
from airbundle.store.host import host_errors
from airbundle.store.volumes import CHUNK


class Adder:
    """One blob on its way into a `Cache`; a `BlobAdder`. Made by `Cache.adder`.

    Args:
        temporary: where the bytes go; a name of its own.
        expected: their digest, where it is known; else empty.
        keep: takes digest, temporary file and its descriptor when the blob is complete.
    """

    def __init__(self, temporary: Path, expected: str, keep: Callable[[str, Path, int], None]) -> None:
        if expected:
            parse_digest(expected, what="cache")
        self.size = 0
        self._temporary = temporary
        self._expected = expected
        self._keep = keep
        self._hasher = hashlib.sha256()
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append `data`.

        Raises:
            HostError: the disk is full, or fails.
        """
        view = memoryview(data).cast("B")
        self._hasher.update(view)
        self.size += len(view)
        with host_errors("write to the cache", self._temporary):
            while view:
                view = view[self._file.write(view) :]

    def commit(self, media_type: str) -> Descriptor:
        """Keep the blob under its digest, and return its descriptor.

        Raises:
            DigestMismatch: its digest is not the one expected.
            HostError: it can't be kept.
        """
        digest = "sha256:" + self._hasher.hexdigest()
        if self._expected and digest != self._expected:
            raise DigestMismatch(f"found digest {digest}, expected {self._expected}")
        self._keep(digest, self._temporary, self._file.fileno())
        return Descriptor(media_type, digest, self.size)

    def __enter__(self) -> Adder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def same_file(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether size, mtime and ctime of an open file are what they were."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def pieces(file: BinaryIO) -> Iterator[memoryview]:
    """Yield the rest of an unbuffered file in pieces, all in one buffer. Raises HostError."""
    buffer = piece_buffer(CHUNK)
    while True:
        with host_errors("read", file.name):
            count = os.readv(file.fileno(), [buffer])
        if not count:
            return
        yield buffer[:count]


def read_all(file: BinaryIO, blob: Descriptor, write: WriteAt, start: int) -> None:
    """Write the bytes of a blob from `start` on. Raises DigestMismatch when there are not as many as it has."""
    offset = file.seek(start)
    for piece in pieces(file):
        if offset + len(piece) > blob.size:
            raise DigestMismatch(f"found more bytes than the {blob.size} expected")
        write(offset, piece)
        offset += len(piece)
    if offset != blob.size:
        raise DigestMismatch(f"found {offset} bytes, expected {blob.size}")
