"""What `lock` put into the cache because no registry has it: used from there, and made again where it was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from airbundle.builder.donors import Donors
from airbundle.bundle.content import BlobSource, Hasher, WriteAt
from airbundle.bundle.lock import CACHE, Lock, LockedRoot
from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor
from airbundle.errors import DigestMismatch, MissingContent, NotFound
from airbundle.store.cache import Cache


@dataclass
class MaterialisedContent:
    """The content of all `cache` roots of a lock.

    Attributes:
        cache: drops what turns out not to be what its name says.
        donors: earlier bundles that may have the content, too.
        restore: makes the content of a root again; returns whether it came out as it is locked.
    """

    cache: Cache
    restore: Callable[[LockedRoot], bool]
    donors: Donors
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ensure(self, lock: Lock, left_out: Container[str] = ()) -> None:
        """Bring back what the cache has lost.

        Args:
            lock: whose roots are wanted.
            left_out: digests of blobs that a delta need not have.

        Raises:
            MissingContent: it can't be made again; every root is named.
        """
        lost = [root for root in lock.roots if root.source == CACHE and not self._is_there(root, left_out)]
        lost = [root for root in lost if not self._is_there(root, left_out) and not self.restore(root)]
        if lost:
            raise _lost(lost)

    def _is_there(self, root: LockedRoot, left_out: Container[str]) -> bool:
        parts = (root.descriptor, *root.children, *root.referrers, *root.blobs)
        return all(
            part.digest in left_out or self.cache.has(part.digest, part.size) or self.donors.has(part.digest, part.size)
            for part in parts
        )

    def read_manifest(self, root: LockedRoot, descriptor: Descriptor) -> bytes:
        """Return a manifest's verified bytes. Raises MissingContent."""
        try:
            return self.cache.read(descriptor.digest, MANIFEST_LIMIT)
        except (NotFound, DigestMismatch):
            donated = self.donors.read_small(descriptor.digest, MANIFEST_LIMIT)
        if donated is not None:
            return donated
        self._again(root, descriptor)
        return self.cache.read(descriptor.digest, MANIFEST_LIMIT)

    def source(self, root: LockedRoot) -> BlobSource:
        """Return where the blobs of a root may be had."""
        return _Source(self, root)

    def copy_blob(self, root: LockedRoot, blob: Descriptor, write: WriteAt, start: int, hasher: Hasher | None) -> None:
        """Write the bytes of a root's blob (see `BlobSource`). Raises MissingContent, HostError."""
        try:
            self.cache.copy_blob(blob, write, start=start, hasher=hasher)
        except (NotFound, DigestMismatch):
            self._again(root, blob)
            self.cache.copy_blob(blob, write)

    def _again(self, root: LockedRoot, part: Descriptor) -> None:
        with self._lock:  # what one thread makes again, the others find
            if self.cache.has(part.digest, part.size):
                return
            if not self.restore(root) or not self.cache.has(part.digest, part.size):
                raise _lost([root])


@dataclass(frozen=True)
class _Source:
    content: MaterialisedContent
    root: LockedRoot

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        self.content.copy_blob(self.root, blob, write, start, hasher)


def _lost(roots: Sequence[LockedRoot]) -> MissingContent:
    names = "; ".join(f"{root.kind} {root.ref} ({root.requested})" for root in roots)
    return MissingContent(
        f"pinned content is no longer in the cache and can't be made again: {names}",
        hint="`airbundle lock --update NAME` pins it anew; the cache of the machine that locked still has it",
    )
