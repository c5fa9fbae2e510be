"""The journal beside a bundle that is being written: which blobs are done, and how far the others are.

A text file, one record a line, only ever appended to; a torn last line counts for nothing:

    airbundle-journal 1 <what is being written>
    run <pid> <boot id>
    part <hex> <bytes>
    done <hex>

The open file carries the lock that keeps two builds from one output. Within one boot the kernel has every written page,
whatever happened to the process; records of an earlier boot are only hints.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from airbundle.bundle.digest import hex_of
from airbundle.errors import Busy
from airbundle.store.host import host_errors
from airbundle.store.verified import boot_id

_HEADER = "airbundle-journal 1 "
_RECORD = re.compile(r"(done|part|run) ([0-9a-f]{1,64})(?: (\S{1,64}))?")
_LINE_LIMIT = 1024
"""Bytes of the longest line that is read; all that is written here is shorter."""


class Journal:
    """An open, locked journal.

    Attributes:
        fresh: nothing of what is to be written was there before.
        done: digests whose bytes are at their place.
        doubtful: digests that an earlier boot wrote; they must be hashed before they count.
        parts: for other digests, how many bytes from the start were written.
    """

    def __init__(self, path: Path, identity: str) -> None:
        """Open and lock the journal; one of another bundle is begun anew.

        Args:
            path: of the journal.
            identity: what is being written; equal only for equal bytes at equal places.

        Raises:
            Busy: another process writes the same output.
            HostError: the file can't be written.
        """
        self.path = path
        self.done: set[str] = set()
        self.doubtful: set[str] = set()
        self.parts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._fd = _open_locked(path)
        lines = self._lines()
        self.fresh = next(lines, None) != _HEADER + identity
        if self.fresh:
            self.restart(identity)
        else:
            self._replay(lines)
            self._append(f"\nrun {os.getpid()} {boot_id() or '-'}")

    def restart(self, identity: str) -> None:
        """Forget everything."""
        self.fresh = True
        self.done, self.doubtful, self.parts = set(), set(), {}
        with host_errors("write", self.path):
            os.ftruncate(self._fd, 0)
        self._append(f"{_HEADER}{identity}\nrun {os.getpid()} {boot_id() or '-'}")

    def reached(self, digest: str, count: int) -> None:
        """Record that the first `count` bytes of a blob are written."""
        self._append(f"part {hex_of(digest)} {count}")

    def finished(self, digest: str) -> None:
        """Record that a blob is whole and verified."""
        with self._lock:
            self.done.add(digest)
            self.doubtful.discard(digest)
        self._append(f"done {hex_of(digest)}")

    def remove(self) -> None:
        """Delete the journal: the bundle has its name."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock; the journal stays."""
        os.close(self._fd)

    def _append(self, line: str) -> None:
        with host_errors("write", self.path), self._lock:
            os.write(self._fd, (line + "\n").encode())

    def _lines(self) -> Iterator[str]:
        """Yield whole lines, up to one that can be none of ours: a terabyte's journal has a line for each MiB."""
        with host_errors("read", self.path), open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            while (line := file.readline(_LINE_LIMIT)).endswith(b"\n"):
                yield line[:-1].decode("ascii", "replace")

    def _replay(self, lines: Iterable[str]) -> None:
        boot = ""
        for line in lines:
            match = _RECORD.fullmatch(line)
            if match is None:
                continue
            word, first, second = match.groups()
            if word == "run":
                boot = second or ""
            elif word == "part" and second is not None and second.isdecimal():
                self.parts[f"sha256:{first}"] = int(second)
            elif word == "done":
                self.done.add(f"sha256:{first}")
                same = boot == boot_id() != ""
                (self.doubtful.discard if same else self.doubtful.add)(f"sha256:{first}")
        self.done -= self.doubtful


def _open_locked(path: Path) -> int:
    while True:
        with host_errors("write", path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that has just finished may have removed the file that we locked.
            if os.fstat(fd).st_nlink and path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except BlockingIOError:
            holder = _holder(path)
            os.close(fd)
            raise Busy(
                f"{path}: another run{holder} writes this bundle",
                hint="wait for it, or stop it; what it has done is kept",
            ) from None
        os.close(fd)


def _holder(path: Path) -> str:
    try:
        runs = [line for line in path.read_text(errors="replace").split("\n") if line.startswith("run ")]
        return f" (process {int(runs[-1].split()[1])})"
    except (OSError, IndexError, ValueError):
        return ""
