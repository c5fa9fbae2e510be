"""Writing a bundle: each blob goes straight to its final place, from many threads, and a run that was cut off goes on.

`OUT.partial` (or the volumes' partial files) gets its full size first. Beside it lies the journal. Nothing appears
under the final name before every byte is there (design §3, "Written once", "Resumes").
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import encode_signatures
from airbundle.bundle.tar import ALIGNMENT
from airbundle.errors import AirbundleError, HostError, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.allocate import allocate, allocate_around, check_room
from airbundle.store.checksum import Follower, remove_checksums, write_checksums
from airbundle.store.host import host_errors
from airbundle.store.journal import Journal
from airbundle.store.output import PARTIAL, check_output, remove_partials, remove_surplus_volumes
from airbundle.store.plan import BundlePlan
from airbundle.store.proven import record, statuses
from airbundle.store.verified import VerifiedRecords
from airbundle.store.volumes import ByteFile, cut, volume_name

_log = logging.getLogger(__name__)
_NOTED = 1024 * 1024
"""How many bytes of a blob may be written before the journal hears of it: what each connection may lose to a SIGKILL.
A line for each costs microseconds, and 100 KB for a gigabyte."""
_LARGE = 1024 * 1024
"""Bytes from which on it is worth a system call to leave a shared blob's room out."""


@dataclass(frozen=True)
class BuiltBundle:
    """A finished bundle.

    Attributes:
        path: the file; for volumes, their name without the number.
        files: the file, or the volumes in order.
        size: bytes, of all files.
        sums: hex SHA-256 of each file by name; empty when none was asked for.
    """

    path: Path
    files: tuple[Path, ...]
    size: int
    sums: Mapping[str, str]

    @property
    def sha256(self) -> str | None:
        """The hex digest of a bundle in one file; None for volumes, or when it was not asked for."""
        return self.sums.get(self.path.name)


class BundleWriter:
    """A bundle on its way to disk. Leaving the context without `finish` keeps what is done.

    Attributes:
        resumed: bytes of blobs that an earlier run had finished.
    """

    def __init__(self, plan: BundlePlan, out: Path, file: ByteFile, journal: Journal, *, preallocated: bool) -> None:
        """Use `BundleWriter.create`."""
        self.plan = plan
        self.resumed = 0
        self._out = out
        self._file = file
        self._journal = journal
        self._preallocated = preallocated
        self._high: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._lock = threading.Lock()
        self._follower: Follower | None = None
        self._sums: Sequence[str] = ()
        self._records: VerifiedRecords | None = None
        self._unfinished = iter(plan.blobs_to_fetch)
        self._next = next(self._unfinished, None)

    @classmethod
    def create(
        cls,
        plan: BundlePlan,
        out: Path,
        *,
        reporter: Reporter = SILENT,
        signatures: Sequence[tuple[str, bytes]] = (),
        checksum: bool = True,
        sums: Sequence[str] = (),
        volume_size: int | None = None,
        records: VerifiedRecords | None = None,
        shared: Collection[str] = (),
    ) -> BundleWriter:
        """Open the output, or what an earlier run left of the same bundle.

        Args:
            plan: what is written, and where.
            out: the final name, `NAME-VERSION.airbundle`.
            reporter: hears of blobs that have to be hashed again.
            signatures: key id and signature over `plan.statement`.
            checksum: whether to write `.sha256` files.
            sums: hex SHA-256 of each file, where they are known already: of a bundle that is copied as a whole.
            volume_size: write volumes of this many bytes instead of one file.
            records: where the finished bundle is recorded as verified: each blob is, before it is `done`.
            shared: digests of blobs whose blocks will be another file's (see `segments`); no room is made for them.

        Raises:
            Busy: another run writes the same output.
            NoSpace: there is no room; nothing is left behind.
            UsageError: the zip does not fit a volume, or something else is where the bundle is to be.
        """
        files = output_files(plan, out, volume_size)
        sizes = [size for _, size in files]
        names = [path.name for path, _ in files]
        check_output(out, names)
        partial = [out.with_name(name + PARTIAL) for name in names]
        with ExitStack() as undo:
            journal = Journal(out.with_name(out.name + ".partial.journal"), _identity(plan, volume_size))
            undo.callback(journal.close)
            file, preallocated = _open_parts(
                journal, _identity(plan, volume_size), out, partial, sizes, holes=_holes(plan, shared, sizes)
            )
            undo.callback(file.close)
            writer = cls(plan, out, file, journal, preallocated=preallocated)
            writer._begin(reporter, signatures)
            undo.pop_all()
        writer._sums, writer._records = sums if checksum else (), records
        if checksum and not sums:
            writer._follower = Follower(file)
            writer._tell_follower()
        return writer

    def pending(self) -> list[Descriptor]:
        """Return the blobs that are not done: the largest first, or in file order where the file is sparse."""
        blobs = [blob for blob in self.plan.blobs_to_fetch if blob.digest not in self._journal.done]
        if self._preallocated:
            blobs.sort(key=lambda blob: -blob.size)
        return blobs

    def resume_point(self, digest: str) -> tuple[int, Hasher]:
        """Return how many bytes of a blob are there from its start, and a SHA-256 that has seen them."""
        member = self.plan.table[digest]
        count = min(self._journal.parts.get(digest, 0), member.size)
        hasher = hashlib.sha256()
        for piece in self._file.pieces(member.offset, count):
            hasher.update(piece)
        self._high[digest] = self._noted[digest] = count
        return count, hasher

    def write_at(self, digest: str) -> WriteAt:
        """Return where the bytes of a blob go. One thread at a time for each blob."""
        member = self.plan.table[digest]
        self._high.setdefault(digest, 0)

        def write(offset: int, data: memoryview) -> None:
            end = offset + len(data)
            if offset < 0 or end > member.size:
                raise VerificationError(f"{digest}: more than its {member.size} bytes arrived")
            self._file.write(member.offset + offset, data)
            high = self._high[digest]
            if offset <= high < end:
                self._high[digest] = high = end
            if high - self._noted.get(digest, 0) >= _NOTED:
                self._note(digest, high)

        return write

    def segments(self, digest: str) -> list[tuple[int, int, int]]:
        """Return (descriptor, offset, bytes) of a blob's place, for `copy_file_range`; then call `copied`."""
        member = self.plan.table[digest]
        return self._file.segments(member.offset, member.size)

    def copied(self, digest: str) -> None:
        """Tell that a blob was put at its `segments`; it is as good as `done`, and as binding."""
        self._high[digest] = self.plan.table[digest].size
        self.done(digest)

    def done(self, digest: str) -> None:
        """Tell that a blob is whole and that its digest was verified.

        Raises:
            AirbundleError: not all its bytes were written.
        """
        size = self.plan.table[digest].size
        if self._high.get(digest, 0) != size:
            raise AirbundleError(f"{digest}: {self._high.get(digest, 0)} of {size} bytes were written")
        self._journal.finished(digest)
        self._tell_follower()

    def finish(self) -> BuiltBundle:
        """Give the bundle its name: all blobs are done. Its checksums are written beside it.

        Raises:
            AirbundleError: a blob is not done.
            HostError: the disk fails.
        """
        left = self.pending()
        if left:
            raise AirbundleError(f"{self._out}: {len(left)} blobs are not done, such as {left[0].digest}")
        written = [os.fstat(part.fd).st_mtime_ns for part in self._file.parts]
        sums = self._follower.result() if self._follower else self._sums
        self._file.sync()
        size, files = self._file.size, tuple(_final(part.path) for part in self._file.parts)
        self._name(files)
        self._record(written, sums)
        named = dict(zip((path.name for path in files), sums))
        if named:
            write_checksums(self._out, named)
        self._journal.remove()
        return BuiltBundle(self._out, files, size, named)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._follower is not None:
            self._follower.stop()
        for digest, high in self._high.items():
            if digest not in self._journal.done and high > self._noted.get(digest, 0):
                with suppress(HostError):  # a full disk, perhaps; the next run then fetches a little more
                    self._note(digest, high)
        self._file.close()
        self._journal.close()

    def _record(self, written: Sequence[int], sums: Sequence[str]) -> None:
        """Record the named files as verified, unless someone else wrote to them since, or while no run had them open.

        Args:
            written: when this run last wrote to each; giving them their names has changed all but this.
            sums: hex SHA-256 of each, or none.
        """
        if self._records is None or self.resumed:
            return
        now = statuses(self._file)
        if [status.st_mtime_ns for status in now] == list(written):
            record(self._records, self._file, now, self.plan.statement, sums)

    def _note(self, digest: str, high: int) -> None:
        self._journal.reached(digest, high)
        self._noted[digest] = high

    def _begin(self, reporter: Reporter, signatures: Sequence[tuple[str, bytes]]) -> None:
        wanted = {blob.digest: blob.size for blob in self.plan.blobs_to_fetch}
        self._journal.done.intersection_update(wanted)
        doubtful = [digest for digest in sorted(self._journal.doubtful) if digest in wanted]
        if doubtful:
            self._rehash(doubtful, wanted, reporter)
        self.resumed = sum(wanted[digest] for digest in self._journal.done)
        for position, data in self.plan.known_bytes():
            self._file.write(position, data)
        self._file.write(self.plan.signatures_at, encode_signatures(signatures))

    def _rehash(self, digests: Sequence[str], sizes: Mapping[str, int], reporter: Reporter) -> None:
        """Hash what was written before the machine was restarted: its pages may not have reached the disk."""
        with reporter.phase("rehash", total=sum(sizes[digest] for digest in digests)) as phase:
            for digest in digests:
                hasher = hashlib.sha256()
                with phase.item(digest[7:19], sizes[digest]) as item:
                    for piece in self._file.pieces(self.plan.table[digest].offset, sizes[digest]):
                        hasher.update(piece)
                        item.advance(len(piece))
                if "sha256:" + hasher.hexdigest() == digest:
                    self._journal.finished(digest)

    def _tell_follower(self) -> None:
        if self._follower is None:
            return
        with self._lock:
            while self._next is not None and self._next.digest in self._journal.done:
                self._next = next(self._unfinished, None)
            limit = self.plan.total_size if self._next is None else self.plan.table[self._next.digest].offset
        self._follower.advance(limit)

    def _name(self, files: Sequence[Path]) -> None:
        for part in self._file.parts:
            with host_errors("look at", part.path):
                there, status = part.path.lstat(), os.fstat(part.fd)
            if not os.path.samestat(there, status) or status.st_size != part.size:
                raise self._meddled(part.path)
        remove_checksums(self._out)
        for part, final in zip(self._file.parts, files):
            with host_errors("rename", part.path):
                part.path.replace(final)
        if files[0] != self._out:
            remove_surplus_volumes(self._out, len(files))
        with host_errors("write", self._out.parent):
            directory = os.open(self._out.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    @staticmethod
    def _meddled(path: Path) -> HostError:
        return HostError(
            f"{path}: it was cut or exchanged while it was written", hint="run the command again: it begins anew"
        )


def output_files(plan: BundlePlan, out: Path, volume_size: int | None) -> list[tuple[Path, int]]:
    """Return name and size in bytes of each file that a bundle will be: one, or its volumes.

    Raises:
        UsageError: the zip does not fit a volume.
    """
    if volume_size is None:
        return [(out, plan.total_size)]
    sizes = cut(plan.total_size, volume_size, len(plan.installer))
    return [(out.with_name(volume_name(out.name, number)), size) for number, size in enumerate(sizes, 1)]


def _holes(plan: BundlePlan, shared: Collection[str], sizes: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return, for each file, offset and bytes of what will be shared: the whole blocks of large blobs, in order."""
    starts = [0, *accumulate(sizes)]
    found: list[list[tuple[int, int]]] = [[] for _ in sizes]
    for member in sorted((plan.table[digest] for digest in shared), key=lambda member: member.offset):
        position, end = member.offset, member.offset + member.size
        while member.size >= _LARGE and position < end:
            index = bisect_right(starts, position) - 1
            until = min(end, starts[index + 1])
            if (position - starts[index]) % ALIGNMENT == 0:
                found[index].append((position - starts[index], (until - position) // ALIGNMENT * ALIGNMENT))
            position = until
    return found


def _identity(plan: BundlePlan, volume_size: int | None) -> str:
    return f"{sha256(plan.statement)} {plan.total_size} {volume_size or 0}"


def _final(partial: Path) -> Path:
    return partial.with_name(partial.name[: -len(PARTIAL)])


def _open_parts(
    journal: Journal,
    identity: str,
    out: Path,
    partial: Sequence[Path],
    sizes: Sequence[int],
    *,
    holes: Sequence[Sequence[tuple[int, int]]],
) -> tuple[ByteFile, bool]:
    """Open the partial files with their full sizes. Anything that is not whole, or of another bundle, goes first."""
    whole = all(_size(path) == size for path, size in zip(partial, sizes))
    if not journal.fresh and not whole:
        journal.restart(identity)
    with ExitStack() as undo:
        if journal.fresh:
            undo.callback(journal.remove)
            remove_partials(out)
            undo.callback(remove_partials, out)
            spared = sum(length for ranges in holes for _, length in ranges)
            check_room(out.parent, sum(sizes) - spared, what=out.name)
        files = []
        preallocated = True
        for path, size, ranges in zip(partial, sizes, holes):
            with host_errors("write", path):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            undo_close = ExitStack()
            undo_close.callback(os.close, fd)
            undo.push(undo_close)
            there = allocate_around(fd, size, path, ranges) if ranges else allocate(fd, size, path)
            preallocated = there and preallocated
            files.append((path, fd, size))
        undo.pop_all()
    if not preallocated:
        _log.info("%s: the file system does not preallocate; blobs go in file order", out.parent)
    return ByteFile(files), preallocated


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
