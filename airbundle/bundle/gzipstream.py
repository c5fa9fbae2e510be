"""Gzip from outside, unpacked as a stream with a bound on what comes out (RFC 1952)."""

from __future__ import annotations

import zlib
from typing import Protocol

from airbundle.errors import VerificationError

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 64 * 1024
_GZIP_WINDOW = 31  # zlib's way to say: a gzip header, and nothing else


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, at least one; none at the end."""
        ...


class GunzipStream:
    """Unpacks gzip, also of several members; a `Readable`.

    Args:
        source: the packed bytes.
        limit: the most bytes that may come out.
        what: the thing, for errors.
    """

    def __init__(self, source: Readable, *, limit: int, what: str) -> None:
        self._source = source
        self._left = limit
        self._limit = limit
        self._what = what
        self._packed = b""
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            VerificationError: not gzip, cut off, more than the limit, or followed by something else.
        """
        while size > 0:
            if self._member.eof and not self._next_member():
                return b""
            # A member may be flushed out of the decompressor without any more input.
            if not self._packed:
                self._packed = self._source.read(_CHUNK)
            data = self._unpack(size)
            if data:
                return data
        return b""

    def _unpack(self, size: int) -> bytes:
        at_end = not self._packed
        try:
            data = self._member.decompress(self._packed, min(size, self._left + 1))
        except zlib.error as error:
            raise VerificationError(f"{self._what}: broken gzip data: {error}") from None
        self._packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        if at_end and not data and not self._member.eof:
            raise VerificationError(f"{self._what}: the gzip data is cut off")
        self._left -= len(data)
        if self._left < 0:
            raise VerificationError(f"{self._what}: unpacks to more than the {self._limit} bytes allowed")
        return data

    def _next_member(self) -> bool:
        if not self._packed:
            self._packed = self._source.read(_CHUNK)
        if not self._packed:
            return False
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        return True


class BytesStream:
    """Bytes in memory as a `Readable`."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data
