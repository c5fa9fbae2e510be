"""Reading a bundle: a random-access store over one file, or volumes read in place. Nothing is ever unpacked.

Order of belief: the statement is bounded by constants and its signature is the caller's to check first
(`bundle.trust.check_trust`). Its digests and sizes bind index, lock and toc; the toc binds every blob. Each is read
when it is first asked for, and never beyond its bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from airbundle.bundle.digest import check
from airbundle.bundle.index import INDEX_LIMIT, kind_of, parse_index
from airbundle.bundle.layout import (
    DOCKER_NAME,
    HEAD,
    INDEX_NAME,
    LOCK_MEMBER,
    OCI_LAYOUT,
    OCI_LAYOUT_NAME,
    SIGNATURES_NAME,
    STATEMENT_NAME,
    TOC_NAME,
)
from airbundle.bundle.lock import LOCK_LIMIT, Lock, parse_lock
from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor
from airbundle.bundle.statement import (
    INSTALLER,
    SIGNATURES_SIZE,
    STATEMENT_LIMIT,
    Contents,
    Statement,
    decode_signatures,
    parse_statement,
)
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import BLOCK, END, Member, parse_header
from airbundle.bundle.toc import TOC_LIMIT, Toc, parse_toc
from airbundle.errors import DocumentError, NotFound, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.table_file import TableFile
from airbundle.store.volumes import ByteFile, check_sizes, find_parts

INSTALLER_LIMIT = 256 * 1024 * 1024
"""Largest zip application in bytes that is read into memory."""
_LIMITS = {
    OCI_LAYOUT_NAME: len(OCI_LAYOUT),
    INDEX_NAME: INDEX_LIMIT,
    DOCKER_NAME: INDEX_LIMIT,
    STATEMENT_NAME: STATEMENT_LIMIT,
    SIGNATURES_NAME: SIGNATURES_SIZE,
    LOCK_MEMBER: LOCK_LIMIT,
    TOC_NAME: TOC_LIMIT,
}


def open_bundle(paths: Sequence[Path], *, writable: bool = False) -> BundleFile:
    """Open a bundle and read its statement; no signature is checked.

    Args:
        paths: one file; or any of its volumes, or directories with volumes.
        writable: for `sign`.

    Raises:
        UsageError: there is no such bundle.
        VerificationError: it is none, or its head is damaged, or a volume is missing.
    """
    file = ByteFile.open(find_parts(paths), writable=writable)
    try:
        check_sizes(file)
        return BundleFile(file)
    except BaseException:
        file.close()
        raise


class BundleFile(TableFile):
    """An open bundle; a `BlobSource` and a `BlobReader`. Safe for many threads.

    Attributes:
        file: its bytes.
        head: where the members of the head lie, by name.
        statement: what it claims to be; `statement_raw` are the exact bytes that are signed.
        signatures: (key id, signature) as found; claims until they are checked.
    """

    def __init__(self, file: ByteFile) -> None:
        """Read the head's frame and the statement of an open file, which belongs to the bundle from then on."""
        super().__init__(file)
        self.head = self._read_head()
        self.statement_raw = self.member_bytes(STATEMENT_NAME)
        self.statement: Statement = parse_statement(self.statement_raw)
        self.signatures = decode_signatures(self.member_bytes(SIGNATURES_NAME))
        for name in (INDEX_NAME, LOCK_MEMBER, TOC_NAME):
            signed = self.statement.subjects[name][1]
            if self.head[name].size != signed:
                raise VerificationError(f"header of {name}: found size {self.head[name].size}, signed is {signed}")

    @property
    def size(self) -> int:
        """All its bytes."""
        return self.file.size

    @property
    def has_installer(self) -> bool:
        """Whether a zip application follows the archive."""
        return INSTALLER in self.statement.subjects

    @property
    def installer_range(self) -> tuple[int, int]:
        """Where the zip begins and how many bytes it has; zero bytes where there is none."""
        return self.table.end + len(END), self._installer_size

    def installer_bytes(self) -> bytes:
        """Return the zip application, which has the size and digest that the statement says.

        Raises:
            NotFound: there is none.
            VerificationError: it is damaged.
        """
        if not self.has_installer:
            raise NotFound(f"{self.path.name} has no installer")
        digest, size = self.statement.subjects[INSTALLER]
        if size > INSTALLER_LIMIT:
            raise VerificationError(f"{self.path.name}: installer: {size} bytes, allowed are {INSTALLER_LIMIT}")
        position, _ = self.installer_range
        raw = self.file.read(position, size)
        check(raw, digest, what=f"{self.place(position)}: installer", size=size)
        return raw

    @cached_property
    def index(self) -> tuple[Descriptor, ...]:
        """The roots. Raises VerificationError, as all that follow."""
        return parse_index(self.bound_bytes(INDEX_NAME))

    @cached_property
    def lock(self) -> Lock:
        """What the bundle was made from."""
        raw = self.bound_bytes(LOCK_MEMBER)
        try:
            return parse_lock(raw, where=f"{self.path.name}: {LOCK_MEMBER}")
        except DocumentError as error:
            raise VerificationError(error.problem, findings=error.findings) from None

    @cached_property
    def toc(self) -> Toc:
        """Digest and size of every blob."""
        toc, said = parse_toc(self.bound_bytes(TOC_NAME)), self.statement.contents
        if Contents.of(toc, said.size) != said:
            raise VerificationError(f"{self.path.name}: {TOC_NAME} has other blobs than the statement says")
        return toc

    @cached_property
    def table(self) -> BlobTable:
        """Where every blob lies; the file has the size that follows from it."""
        table = BlobTable(self.toc.blobs, self.head[TOC_NAME].end)
        self.check_size()
        if table.end + len(END) + self._installer_size != self.statement.contents.size:
            raise VerificationError(f"{self.path.name}: the statement says another size than follows from {TOC_NAME}")
        return table

    def check_size(self) -> None:
        """Check that the file, or its volumes, have the size that the statement says.

        Raises:
            VerificationError: names what is cut, too long or missing.
        """
        expected = self.statement.contents.size
        check_sizes(self.file, expected, self._installer_size)
        if self.size < expected:
            raise self._truncated(f"expected {expected} bytes")
        if self.size > expected:
            raise VerificationError(
                f"{self.file.parts[-1].path.name}: {self.size - expected} bytes follow the end of the bundle",
                hint="something was appended; carry the file again",
            )

    @property
    def _installer_size(self) -> int:
        return self.statement.subjects[INSTALLER][1] if self.has_installer else 0

    def roots(self, kind: str) -> tuple[Descriptor, ...]:
        """Return the roots of one kind, such as `image`."""
        return tuple(root for root in self.index if kind_of(root) == kind)

    def missing(self) -> tuple[Descriptor, ...]:
        """Return the blobs that a delta leaves out; its base has them."""
        return tuple(Descriptor("", digest, size) for digest, size in self.toc.external)

    def manifest(self, descriptor: Descriptor) -> bytes | None:
        """Return the verified bytes of a manifest; None for one that is not carried, as in a sparse index.

        Raises:
            VerificationError: it is damaged, or larger than any manifest.
        """
        return self.read_small(descriptor.digest, MANIFEST_LIMIT) if self.has_blob(descriptor.digest) else None

    def bound_bytes(self, name: str) -> bytes:
        """Return a member's bytes, which have the size and digest that the statement says."""
        digest, size = self.statement.subjects[name]
        raw = self.member_bytes(name)
        check(raw, digest, what=f"{self.place(self.head[name].offset)}: {name}", size=size)
        return raw

    def member_bytes(self, name: str) -> bytes:
        """Return the bytes of a member of the head, as they are."""
        member = self.head[name]
        raw = self.file.read(member.offset, member.size)
        if len(raw) != member.size:
            raise self._truncated(f"{name} ends at {member.offset + member.size}")
        return raw

    def verify_head(self) -> None:
        """Recompute every byte that is no blob and compare it with the file (see `store.verify`)."""
        from airbundle.store.verify import verify_head

        verify_head(self)

    def verify_blobs(self, reporter: Reporter = SILENT, threads: int | None = None) -> None:
        """Hash every blob (see `store.verify`)."""
        from airbundle.store.verify import verify_blobs

        verify_blobs(self, reporter, threads)

    def __enter__(self) -> BundleFile:
        return self

    def _read_head(self) -> dict[str, Member]:
        found = {}
        position = 0
        for name in HEAD:
            block = self.file.read(position, BLOCK)
            if len(block) != BLOCK:
                raise self._truncated(f"the header of {name} ends at {position + BLOCK}")
            try:
                size = parse_header(block, name)
            except VerificationError as error:
                raise VerificationError(f"{self.place(position)}: {error.problem}", hint=error.hint) from None
            if size > _LIMITS[name]:
                raise VerificationError(f"{self.place(position)}: {name}: {size} bytes, allowed are {_LIMITS[name]}")
            found[name] = member = Member(name, size, position, position + BLOCK)
            position = member.end
        if found[SIGNATURES_NAME].size != SIGNATURES_SIZE:
            raise VerificationError(f"{self.path}: {SIGNATURES_NAME}: expected {SIGNATURES_SIZE} bytes")
        return found

    def _absent(self, digest: str) -> NotFound:
        if any(external == digest for external, _ in self.toc.external):
            base = self.statement.base
            return NotFound(
                f"{self.path.name} is a delta and leaves out {digest}",
                hint=f"give its base, {base.name} {base.version}, too" if base else "",
            )
        return super()._absent(digest)

    def _truncated(self, expected: str) -> VerificationError:
        last = self.file.parts[-1].path
        if last.suffix[1:].isdigit():
            following = last.with_suffix(f".{int(last.suffix[1:]) + 1:03}").name
            return VerificationError(
                f"{last.name}: found {self.size} bytes up to here, {expected}; it is cut, or {following} is missing",
                hint="put all volumes in one directory, or name each directory with --volumes",
            )
        return super()._truncated(expected)
