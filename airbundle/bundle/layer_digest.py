"""The diff ID of a layer, told while its bytes pass: the digest of the unpacked tar (image spec, config.md)."""

from __future__ import annotations

import hashlib
import zlib

from airbundle.bundle.gzipstream import GZIP_MAGIC
from airbundle.bundle.oci import OCI_LAYER
from airbundle.errors import VerificationError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1024 * 1024
_HEAD = 4
_GZIP_WINDOW = 31  # zlib's way to say: a gzip header, and nothing else


class LayerDigest:
    """Feed it a layer's bytes as they are stored; packed with gzip, they are unpacked in pieces, and only hashed.

    Attributes:
        media_type: of the layer, as its first bytes say.
    """

    def __init__(self, *, what: str) -> None:
        self.media_type = OCI_LAYER
        self._what = what
        self._head = b""
        self._hasher = hashlib.sha256()
        self._gzip: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        """Take more of the layer.

        Raises:
            VerificationError: broken gzip data.
        """
        if len(self._head) < _HEAD:
            self._head += data
            if len(self._head) < _HEAD:
                return
            data = self._begin()
        if self._gzip is not None:
            self._unpack(data)

    def diff_id(self, stored: str) -> str:
        """Return the diff ID; empty for zstd, which can't be unpacked here.

        Args:
            stored: digest of the layer as it is stored; an unpacked one's diff ID is the same.

        Raises:
            VerificationError: gzip data that is cut off.
        """
        if self.media_type.endswith("+zstd"):
            return ""
        if self._gzip is None:
            return stored
        if not self._gzip.eof:
            raise VerificationError(f"{self._what}: the gzip data is cut off")
        return "sha256:" + self._hasher.hexdigest()

    def _begin(self) -> bytes:
        if self._head.startswith(GZIP_MAGIC):
            self.media_type = f"{OCI_LAYER}+gzip"
            self._gzip = zlib.decompressobj(_GZIP_WINDOW)
        elif self._head.startswith(ZSTD_MAGIC):
            self.media_type = f"{OCI_LAYER}+zstd"
        return self._head

    def _unpack(self, data: bytes) -> None:
        gzip = self._gzip or zlib.decompressobj(_GZIP_WINDOW)
        try:
            while data:
                if gzip.eof:
                    gzip = zlib.decompressobj(_GZIP_WINDOW)
                self._hasher.update(gzip.decompress(data, _CHUNK))
                data = gzip.unused_data if gzip.eof else gzip.unconsumed_tail
            # What is left inside the decompressor comes out without more input.
            while not gzip.eof:
                rest = gzip.decompress(b"", _CHUNK)
                if not rest:
                    break
                self._hasher.update(rest)
        except zlib.error as error:
            raise VerificationError(f"{self._what}: broken gzip data: {error}") from None
        self._gzip = gzip
