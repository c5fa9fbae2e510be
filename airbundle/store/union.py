"""A delta and the files that have what it leaves out, as one store.

A blob that the delta leaves out is only ever taken from a file in which it has proved its digest, and its size is the
one that the delta's signed toc says. So the other files need no signature; what they say of themselves counts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, HostError, NotFound, VerificationError
from airbundle.store.delta import base_hint
from airbundle.store.reader import BundleFile
from airbundle.store.table_file import TableFile


@dataclass(frozen=True)
class Holder:
    """A file that may have blobs.

    Attributes:
        file: a bundle, or a supplement.
        kept: whether the site keeps it, and goes on serving it.
        proven: whether it is unchanged since all blobs that it has were verified.
        present: digests of the blobs that it has; None for all of its table. Others are holes in the file.
    """

    file: TableFile
    kept: bool = False
    proven: bool = False
    present: frozenset[str] | None = None

    def has(self, digest: str, size: int) -> bool:
        """Tell whether it should have a blob of this size."""
        if self.present is not None and digest not in self.present:
            return False
        return self.file.has_blob(digest) and self.file.blob_size(digest) == size


class BlobUnion:
    """A `BlobSource` and a `BlobReader` over a bundle and holders of what it leaves out. Safe for many threads.

    Attributes:
        bundle: whose toc says which blobs there are.
        holders: the other files, in the order in which they are asked.
        damaged: names of files that have a blob with other bytes, by digest.
    """

    def __init__(self, bundle: BundleFile, holders: Sequence[Holder] = ()) -> None:
        """Make the union; holders come in the order in which they are asked."""
        self.bundle = bundle
        self.damaged: dict[str, list[str]] = {}
        self.holders = tuple(holders)
        self._sizes = dict(bundle.toc.external)
        self._found: dict[str, Holder] = {}
        self._lock = threading.Lock()

    @property
    def found(self) -> Mapping[str, Holder]:
        """The holders of blobs that the bundle leaves out and that have verified."""
        return self._found

    @property
    def known(self) -> list[BundleFile]:
        """The other bundles."""
        return [holder.file for holder in self.holders if isinstance(holder.file, BundleFile)]

    @property
    def verified(self) -> Collection[str]:
        """Digests of blobs that have verified and that the bundle itself does not carry."""
        return self._found.keys()

    def candidates(self, digest: str) -> list[Holder]:
        """Return the files that should have a blob which the bundle leaves out; proven ones first."""
        size = self._sizes.get(digest)
        found = [] if size is None else [holder for holder in self.holders if holder.has(digest, size)]
        return sorted(found, key=lambda holder: not holder.proven)

    def find(self, digest: str, write: WriteAt | None = None) -> bool:
        """Look for a blob that the bundle leaves out; hash it where its file isn't proven.

        Args:
            digest: of the blob.
            write: gets its bytes while they are hashed, for progress or to stop.

        Returns:
            Whether it is there, with the bytes of its digest.
        """
        for holder in self.candidates(digest):
            if digest in self._found:
                break
            if not holder.proven and not self._proves(holder, digest, write or _discard):
                continue
            with self._lock:
                self._found.setdefault(digest, holder)
        return digest in self._found

    def has_blob(self, digest: str) -> bool:
        """Tell whether the bundle carries a blob, or a file was found that has it."""
        return self.bundle.has_blob(digest) or digest in self._found

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Read as `BlobReader`. The bytes are not verified.

        Raises:
            NotFound: nothing here has it.
        """
        return self._holding(digest).read_into(digest, offset, buffer)

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Copy as `BlobSource`, verified.

        Raises:
            NotFound: nothing here has it.
            DigestMismatch: it is damaged.
        """
        self._holding(blob.digest).copy_blob(blob, write, start=start, hasher=hasher)

    def _holding(self, digest: str) -> TableFile:
        if self.bundle.has_blob(digest):
            return self.bundle
        holder = self._found.get(digest)
        if holder is None:
            raise NotFound(
                f"{self.bundle.path.name} leaves out {digest}, and no other bundle here has it",
                side="site",
                hint=base_hint(self.bundle.statement),
            )
        return holder.file

    def _proves(self, holder: Holder, digest: str, write: WriteAt) -> bool:
        try:
            holder.file.copy_blob(Descriptor("", digest, self._sizes[digest]), write)
        except (DigestMismatch, VerificationError, HostError):
            # Another file may have it whole; which one is damaged is told where none has.
            with self._lock:
                self.damaged.setdefault(digest, []).append(holder.file.path.name)
            return False
        return True


def _discard(offset: int, data: memoryview) -> None:
    """Take bytes that are only hashed."""
