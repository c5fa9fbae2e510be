"""Filling a file as a bundle's table says: frames computed, blobs verified on their way, what is there already kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from airbundle.bundle.content import BlobReader, BlobSource
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.tar import Member
from airbundle.errors import NoSpace, VerificationError
from airbundle.installer.files import FILE, sync_directory
from airbundle.installer.workers import Stop, cpu_jobs, for_each
from airbundle.progress import Phase, Reporter
from airbundle.store.allocate import allocate, check_room
from airbundle.store.host import host_errors
from airbundle.store.volumes import CHUNK

PARTIAL = ".partial"
_TAIL = 4096


def partial_path(target: Path) -> Path:
    """Return where a file lies while it is filled."""
    return target.with_name(target.name + PARTIAL)


def space_to_fill(target: Path, size: int) -> int:
    """Return the bytes that filling a file of `size` bytes still takes: those of a run that was cut off are there."""
    partial = partial_path(target)
    return max(0, size - (partial.stat().st_blocks * 512 if partial.exists() else 0))


@contextmanager
def filling(target: Path) -> Iterator[tuple[Path, int]]:
    """Give a file to fill, and its descriptor; it takes the name of `target` when the block has ended well.

    What an earlier run has filled is in it, and stays there when this one is cut off.

    Raises:
        HostError: the file system refuses.
    """
    partial = partial_path(target)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with host_errors("write", partial):
        descriptor = os.open(partial, flags, FILE)
    try:
        with host_errors("write", partial):
            os.fchmod(descriptor, FILE)
        yield partial, descriptor
        with host_errors("write", partial):
            os.fsync(descriptor)
    except (VerificationError, NoSpace):
        # What is wrong in the source would be wrong in the next attempt, too; a full disk is not to be kept full.
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    with host_errors("write", target):
        partial.replace(target)
        sync_directory(target.parent)


class Source(BlobReader, BlobSource, Protocol):
    """Where blobs come from, such as a bundle."""


class Filler:
    """Fills a file with what lies between blobs, and with blobs, verified on the way."""

    def __init__(self, source: Source, path: Path, descriptor: int, reporter: Reporter) -> None:
        """Name source and target.

        Args:
            source: gives the blobs.
            path, descriptor: of the file, open for reading and writing.
            reporter: gets progress.
        """
        self._source = source
        self._path = path
        self._descriptor = descriptor
        self._reporter = reporter
        self._stop = Stop()

    def run(
        self, size: int, pieces: Iterable[tuple[int, bytes]], members: Collection[Member], *, whole: bool, what: str
    ) -> None:
        """Write all.

        Args:
            size: of the file in the end, in bytes.
            pieces: what is no blob, each with its offset.
            members: the blobs that are wanted.
            whole: whether that is all; else there will be holes.
            what: the thing, for progress and errors.

        Raises:
            VerificationError: a blob of the source is damaged.
            NoSpace: the file does not fit.
        """
        self._make_room(size, what, whole=whole)
        for position, data in pieces:
            self._write(position, memoryview(data))
        with self._reporter.phase(f"copy {what}", total=sum(member.size for member in members)) as phase:
            for_each(members, lambda member: self._blob(member, phase), jobs=cpu_jobs(), stop=self._stop)

    def _make_room(self, size: int, what: str, *, whole: bool) -> None:
        with host_errors("write", self._path):
            present = os.fstat(self._descriptor).st_blocks * 512
            if os.fstat(self._descriptor).st_size > size:
                os.ftruncate(self._descriptor, 0)
        if whole:
            check_room(self._path.parent, max(0, size - present), what=f"the copy of {what}")
            allocate(self._descriptor, size, self._path)
        else:
            with host_errors("write", self._path):
                os.ftruncate(self._descriptor, size)

    def _blob(self, member: Member, phase: Phase) -> None:
        self._stop.check()
        blob = Descriptor("", member.digest, member.size)
        if self._has(member):
            phase.skip(member.digest[7:19], member.size, "copied")
            return
        with phase.item(member.digest[7:19], member.size) as item:

            def write(offset: int, data: memoryview) -> None:
                self._stop.check()
                self._write(member.offset + offset, data)
                item.advance(len(data))

            self._source.copy_blob(blob, write)

    def _has(self, member: Member) -> bool:
        """Tell whether an earlier run copied this blob. Its last bytes are compared first: they are written last."""
        if not member.size:
            return True
        count = min(_TAIL, member.size)
        with host_errors("read", self._path):
            found = os.pread(self._descriptor, count, member.offset + member.size - count)
        return found == self._tail(member, count) and self._digest(member) == member.digest

    def _tail(self, member: Member, count: int) -> bytes:
        with memoryview(bytearray(count)) as buffer:
            return bytes(buffer[: self._source.read_into(member.digest, member.size - count, buffer)])

    def _digest(self, member: Member) -> str:
        hasher = hashlib.sha256()
        position, end = member.offset, member.offset + member.size
        with host_errors("read", self._path):
            while position < end:
                self._stop.check()
                data = os.pread(self._descriptor, min(CHUNK, end - position), position)
                if not data:
                    break
                hasher.update(data)
                position += len(data)
        return "sha256:" + hasher.hexdigest()

    def _write(self, position: int, data: memoryview) -> None:
        with host_errors("write", self._path):
            while data:
                count = os.pwrite(self._descriptor, data, position)
                position += count
                data = data[count:]
