"""Filling a file with a bundle's bytes: frames computed, blobs verified on their way, what is there already kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from airbundle.bundle.oci import Descriptor
from airbundle.bundle.tar import Member, frame
from airbundle.installer.workers import Stop, cpu_jobs, for_each
from airbundle.progress import Phase, Reporter
from airbundle.store.allocate import allocate, check_room
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import CHUNK

_TAIL = 4096


class Filler:
    """Fills a file with a bundle's bytes, blobs verified on the way."""

    def __init__(
        self, bundle: BundleFile, path: Path, descriptor: int, wanted: Collection[str], reporter: Reporter
    ) -> None:
        self._bundle = bundle
        self._path = path
        self._descriptor = descriptor
        self._wanted = wanted
        self._reporter = reporter
        self._stop = Stop()

    def run(self) -> None:
        """Write all that is wanted."""
        members = list(self._bundle.table)
        wanted = [member for member in members if member.digest in self._wanted]
        self._make_room(whole=len(wanted) == len(members))
        self._range(0, self._bundle.table.start)
        for member in members:
            self._write(member.start, memoryview(frame(member)))
        self._range(*self._bundle.installer_range)
        with self._reporter.phase("copy the bundle", total=sum(member.size for member in wanted)) as phase:
            for_each(wanted, lambda member: self._blob(member, phase), jobs=cpu_jobs(), stop=self._stop)

    def _make_room(self, *, whole: bool) -> None:
        size = self._bundle.size
        with host_errors("write", self._path):
            present = os.fstat(self._descriptor).st_blocks * 512
            if os.fstat(self._descriptor).st_size > size:
                os.ftruncate(self._descriptor, 0)
        if whole:
            check_room(self._path.parent, max(0, size - present), what=f"the copy of {self._bundle.path.name}")
            allocate(self._descriptor, size, self._path)
        else:
            with host_errors("write", self._path):
                os.ftruncate(self._descriptor, size)

    def _range(self, start: int, length: int) -> None:
        for position in range(start, start + length, CHUNK):
            data = self._bundle.file.read(position, min(CHUNK, start + length - position))
            self._write(position, memoryview(data))

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

            self._bundle.copy_blob(blob, write)

    def _has(self, member: Member) -> bool:
        """Tell whether an earlier run copied this blob. Its last bytes are compared first: they are written last."""
        if not member.size:
            return True
        count = min(_TAIL, member.size)
        end = member.offset + member.size - count
        with host_errors("read", self._path):
            if os.pread(self._descriptor, count, end) != self._bundle.file.read(end, count):
                return False
        return self._digest(member) == member.digest

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
