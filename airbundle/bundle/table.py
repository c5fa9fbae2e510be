"""Where each blob of a bundle lies: the toc's blobs, placed one after the other. Light at 100,000 blobs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property

from airbundle.bundle.digest import hex_of
from airbundle.bundle.tar import BLOBS, Member, frame_size, padded


class BlobTable:
    """Members by digest, in file order.

    Attributes:
        start: where the first frame begins, in bytes.
        end: where the archive's end marker begins.
    """

    def __init__(self, blobs: Sequence[tuple[str, int]], start: int) -> None:
        self.start = start
        self._blobs = blobs
        self._starts = array("Q")
        self._offsets = array("Q")
        for _, size in blobs:
            offset = start + frame_size(start, size, blob=True)
            self._starts.append(start)
            self._offsets.append(offset)
            start = offset + padded(size)
        self.end = start

    @cached_property
    def _places(self) -> dict[str, int]:
        return {digest: number for number, (digest, _) in enumerate(self._blobs)}

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, digest: object) -> bool:
        return digest in self._places

    def __getitem__(self, digest: str) -> Member:
        """Return the member of a blob. Raises KeyError."""
        return self._member(self._places[digest])

    def __iter__(self) -> Iterator[Member]:
        return map(self._member, range(len(self._blobs)))

    def _member(self, number: int) -> Member:
        digest, size = self._blobs[number]
        return Member(BLOBS + hex_of(digest), size, self._starts[number], self._offsets[number])
