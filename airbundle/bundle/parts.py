"""A bundle as the layers of an artifact in a registry: cut at its large blobs, so that releases share what is equal.

A large blob is a part of its own, with the digest that it has as a layer of its image: the next release's bundle sends
only what is new, and a registry that has the image already need not be sent it again. All between the large blobs is
gathered. The parts in order, one after the other, are the bundle (docs/publish.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_PARTS = 1000
"""Most parts of an artifact: its manifest stays well below the 4 MiB that registries take."""
GATHERED = 64 * 1024 * 1024
"""Most bytes of a part that is no single blob."""
_LEAST_BLOB = 1024 * 1024


@dataclass(frozen=True)
class Part:
    """A byte range of a bundle; `digest` is empty as long as nobody has hashed it."""

    offset: int
    size: int
    digest: str = ""


def cut(size: int, blobs: Iterable[tuple[str, int, int]], *, most: int = MOST_PARTS) -> list[Part]:
    """Cut a bundle; equal bundles give equal parts.

    Args:
        size: of the bundle, in bytes.
        blobs: digest, offset and size of each of its blobs, in file order.
        most: parts there may be, as far as that is possible: gathered ranges are never larger than GATHERED
            unless there would be more than `most` of those alone.
    """
    known = list(blobs)
    least = _LEAST_BLOB
    gathered = max(GATHERED, -(-size // most))
    while True:
        parts = _cut(size, [blob for blob in known if blob[2] >= least], gathered)
        if len(parts) <= most or least > size:
            return parts
        least *= 2


def _cut(size: int, large: list[tuple[str, int, int]], gathered: int) -> list[Part]:
    parts: list[Part] = []
    position = 0
    for digest, offset, length in [*large, ("", size, 0)]:
        while position < offset:
            count = min(gathered, offset - position)
            parts.append(Part(position, count))
            position += count
        if length:
            parts.append(Part(offset, length, digest))
            position = offset + length
    return parts
