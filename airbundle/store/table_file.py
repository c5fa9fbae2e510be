"""Blobs that lie in a file where a table says: read by digest, at random, never unpacked. A bundle is one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.digest import check
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.tar import Member
from airbundle.errors import DigestMismatch, NotFound, VerificationError
from airbundle.store.volumes import ByteFile

if TYPE_CHECKING:
    from airbundle.bundle.table import BlobTable
    from airbundle.bundle.toc import Toc


class TableFile(ABC):
    """An open file with blobs; a `BlobSource` and a `BlobReader`. Safe for many threads.

    Attributes:
        file: its bytes, which belong to this object.
    """

    def __init__(self, file: ByteFile) -> None:
        self.file = file

    @property
    @abstractmethod
    def toc(self) -> Toc:
        """Digest and size of every blob."""

    @property
    @abstractmethod
    def table(self) -> BlobTable:
        """Where every blob lies."""

    @property
    def path(self) -> Path:
        """The file, or the first volume."""
        return self.file.path

    def has_blob(self, digest: str) -> bool:
        """Tell whether the file has this blob or manifest."""
        return digest in self.table

    def blob_size(self, digest: str) -> int:
        """Return the size of a blob in bytes.

        Raises:
            NotFound: the file does not have it.
        """
        return self._member(digest).size

    def read_small(self, digest: str, limit: int) -> bytes:
        """Return the verified bytes of a manifest or other small blob.

        Args:
            digest: of the blob.
            limit: the most bytes it may have.

        Raises:
            NotFound: the file does not have it.
            VerificationError: it is larger than `limit`, or damaged.
        """
        member = self._member(digest)
        if member.size > limit:
            raise VerificationError(
                f"{self.path}: blob {digest}: {member.size} bytes are more than the {limit} allowed"
            )
        data = self.file.read(member.offset, member.size)
        check(data, digest, what=f"{self.place(member.offset)}: blob {digest}", size=member.size)
        return data

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` of a blob; return how many bytes, 0 at its end. The bytes are not verified.

        Raises:
            NotFound: the file does not have it.
            HostError: the disk fails.
        """
        member = self._member(digest)
        left = max(member.size - offset, 0)
        return self.file.read_into(member.offset + offset, buffer[:left]) if left else 0

    def segments(self, digest: str, start: int = 0, length: int | None = None) -> list[tuple[int, int, int]]:
        """Return (descriptor, offset, bytes) of a range of a blob, for `sendfile`. The bytes are not verified.

        Args:
            digest: of the blob.
            start, length: the range in bytes; to the end by default.

        Raises:
            NotFound: the file does not have it.
        """
        member = self._member(digest)
        left = max(member.size - start, 0)
        return self.file.segments(member.offset + start, left if length is None else min(length, left))

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of `blob` from `start` on, verified (see `BlobSource`).

        Raises:
            NotFound: the file does not have it.
            DigestMismatch: it is damaged.
        """
        member = self._member(blob.digest)
        if start and hasher is not None and self._copy(member, write, start, hasher):
            return
        if not self._copy(member, write, 0, hashlib.sha256()) or member.size != blob.size:
            raise self._damaged(member)

    def place(self, position: int) -> str:
        """Return the name of the file that holds a byte, for errors."""
        return self.file.part_at(position).path.name

    def close(self) -> None:
        """Close the files."""
        self.file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _member(self, digest: str) -> Member:
        try:
            return self.table[digest]
        except KeyError:
            raise self._absent(digest) from None

    def _absent(self, digest: str) -> NotFound:
        return NotFound(f"{self.path.name} has no blob {digest}")

    def _damaged(self, member: Member) -> DigestMismatch:
        from airbundle.store.damage import carry_again, damaged_files

        touched = [part.path.name for part in self.file.parts_of(member.offset, member.size)]
        names = damaged_files(self.file, [touched])
        return DigestMismatch(
            f"{', '.join(names)}: the bytes of blob {member.digest} are not those of its digest",
            hint=f"`airbundle verify` lists all that is damaged; {carry_again(self.file, names)}",
        )

    def _truncated(self, expected: str) -> VerificationError:
        return VerificationError(
            f"{self.path}: the file is truncated: found {self.file.size} bytes, {expected}", hint="carry the file again"
        )

    def _copy(self, member: Member, write: WriteAt, start: int, hasher: Hasher) -> bool:
        for piece in self.file.pieces(member.offset + start, member.size - start):
            hasher.update(piece)
            write(start, piece)
            start += len(piece)
        return "sha256:" + hasher.hexdigest() == member.digest
