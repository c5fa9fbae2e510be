"""The tiny protocols through which bytes move, and the graph of what belongs to what.

A registry, the cache, an OCI layout and a bundle all meet `BlobSource`; whoever pushes takes a `BlobReader`.
Writers take `(offset, data)`, so that a transfer may start over without anyone seeking.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from airbundle.bundle.oci import Descriptor, Manifest, parse_manifest
from airbundle.errors import VerificationError

_WORTH_A_MAPPING = 64 * 1024


def piece_buffer(size: int) -> memoryview:
    """Return a buffer of `size` bytes for the pieces of a blob; a large one begins with a page.

    A large bytearray begins 16 bytes after one. Some processors copy to there from the start of another page, where the
    blobs of a bundle begin, at a quarter of their speed: what they store looks like what they are about to read.
    """
    if size < _WORTH_A_MAPPING:
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class WriteAt(Protocol):
    """Where a blob's bytes go: `data` belongs at `offset` bytes from the blob's start. Written bytes may come again."""

    def __call__(self, offset: int, data: memoryview) -> None:
        """Put `data` at `offset` bytes."""


class Hasher(Protocol):
    """What `hashlib.sha256()` returns, as far as we use it."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Hash more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""
        ...


class BlobSource(Protocol):
    """Something that can give a blob by its descriptor."""

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of `blob` from `start` on, and verify its digest before returning.

        Args:
            blob: digest and size are binding.
            write: gets each piece, in order; the transfer may begin again at a lower offset after a fault.
            start: bytes that the caller has already; then `hasher` has hashed exactly those.
            hasher: a SHA-256 that has seen the first `start` bytes.

        Raises:
            NotFound: this source does not have it.
            DigestMismatch: the bytes are not those of `blob`, also after trying once more from the start.
            RemoteError, HostError: the source failed for good.
        """


class BlobReader(Protocol):
    """Something blobs can be read from at random, such as a bundle file."""

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` of the blob; return how many bytes, 0 at its end."""


class BlobAdder(Protocol):
    """One blob on its way into a `BlobSink`: its digest is known when all bytes are there."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append `data`."""

    def commit(self, media_type: str) -> Descriptor:
        """Keep the blob and return what it is; without this call leaving the context drops it.

        Raises:
            DigestMismatch: the adder was told the digest beforehand and the bytes have another.
        """
        ...


class BlobSink(Protocol):
    """Something that takes blobs of any origin and keeps them by digest; the cache is one."""

    def has(self, digest: str) -> bool:
        """Tell whether it has the blob."""
        ...

    def size(self, digest: str) -> int | None:
        """Return how many bytes the blob has; None when it is not there."""
        ...

    def read(self, digest: str, limit: int) -> bytes:
        """Return a blob's verified bytes, of which there may be at most `limit`. Raises NotFound, VerificationError."""
        ...

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep `data` and return its descriptor."""
        ...

    def adder(self, expected: str = "") -> AbstractContextManager[BlobAdder]:
        """Begin a blob that comes in pieces; `expected` is its digest where it is known beforehand."""
        ...


@dataclass(frozen=True)
class Materialised:
    """A root whose bytes are all in a `BlobSink`: what `lock` writes down for sources other than registries.

    Attributes:
        descriptor: of the root manifest or index.
        manifests: children of an index, in its order; empty for a plain manifest.
        blobs: configs and layers, each digest once.
        info: facts for people and for the site, such as a chart's name and version.
    """

    descriptor: Descriptor
    manifests: tuple[Descriptor, ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A manifest or index with the descriptor that pointed to it."""

    descriptor: Descriptor
    manifest: Manifest


def walk(root: Descriptor, load: Callable[[Descriptor], bytes | None], *, what: str) -> Iterator[Node]:
    """Yield the manifests reachable from `root`, children before parents, each digest once.

    Args:
        root: an index or a manifest.
        load: gives a manifest's verified bytes, or None for a child that is not carried (sparse index).
        what: the thing, for errors.

    Raises:
        VerificationError: a manifest does not parse, or indexes nest deeper than four.
    """
    yield from _walk(root, load, what, set(), 0)


_DEEPEST = 4


def _walk(
    descriptor: Descriptor, load: Callable[[Descriptor], bytes | None], what: str, seen: set[str], depth: int
) -> Iterator[Node]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if depth > _DEEPEST:
        raise VerificationError(f"{what}: indexes are nested deeper than {_DEEPEST}")
    raw = load(descriptor)
    if raw is None:
        return
    manifest = parse_manifest(raw, descriptor.media_type, what=f"{what} ({descriptor.digest})")
    for child in manifest.manifests:
        if child.is_index or child.is_manifest:
            yield from _walk(child, load, what, seen, depth + 1)
    yield Node(descriptor, manifest)


def blobs_of(nodes: Iterable[Node]) -> dict[str, Descriptor]:
    """Return config and layer descriptors of `nodes` by digest, in the order met."""
    found: dict[str, Descriptor] = {}
    for node in nodes:
        for blob in node.manifest.blobs:
            found.setdefault(blob.digest, blob)
    return found
