"""A supplement: blobs that a delta leaves out, in one file beside the site's copy of the delta.

It is a tar of `airbundle/toc.json`, in the form that bundles have it, and of the blobs it lists, laid out as in a
bundle (docs/format.md, 1 and 2.7). It has no names and no holes. The site makes it itself, from blobs that verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from airbundle.bundle.layout import TOC_NAME
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import BLOCK, END, header, padded, parse_header
from airbundle.bundle.toc import TOC_LIMIT, Toc, parse_toc
from airbundle.errors import VerificationError
from airbundle.store.table_file import TableFile
from airbundle.store.volumes import ByteFile


def supplement_head(blobs: Sequence[tuple[str, int]]) -> bytes:
    """Return the bytes before the first blob's frame, for (digest, size in bytes) of each."""
    raw = Toc(tuple(blobs), 0).to_bytes()
    return header(TOC_NAME, len(raw)) + raw + bytes(padded(len(raw)) - len(raw))


class Supplement(TableFile):
    """An open supplement."""

    @classmethod
    def open(cls, path: Path) -> Supplement:
        """Open one; its blobs are not read.

        Raises:
            UsageError: there is no such file.
            VerificationError: it is none, or cut.
        """
        found = cls(ByteFile.open([path]))
        try:
            found._check_size()
        except BaseException:
            found.close()
            raise
        return found

    @cached_property
    def toc(self) -> Toc:
        """Digest and size of every blob."""
        size = self._toc_size
        if size > TOC_LIMIT:
            raise VerificationError(f"{self.path}: {TOC_NAME}: {size} bytes, allowed are {TOC_LIMIT}")
        return parse_toc(self.file.read(BLOCK, size))

    @cached_property
    def table(self) -> BlobTable:
        """Where every blob lies."""
        return BlobTable(self.toc.blobs, BLOCK + padded(self._toc_size))

    @cached_property
    def _toc_size(self) -> int:
        block = self.file.read(0, BLOCK)
        if len(block) != BLOCK:
            raise self._truncated(f"expected {BLOCK} at least")
        return parse_header(block, TOC_NAME)

    def _check_size(self) -> None:
        expected = self.table.end + len(END)
        if self.file.size != expected:
            raise VerificationError(
                f"{self.path}: found {self.file.size} bytes, expected {expected}", hint="install the bundle again"
            )

    def __enter__(self) -> Supplement:
        return self
