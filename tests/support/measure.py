"""How much memory a program and how much disk a directory took at their peak."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SAMPLE = 0.01


@dataclass(frozen=True)
class Measured:
    """What a program did: exit code, output, seconds, and the peak resident memory in bytes of it and its children.

    Memory is sampled 100 times a second. (`ru_maxrss` would start with what the starting process had.)
    """

    code: int
    stdout: str
    stderr: str
    peak_memory: int
    seconds: float


def run_measured(
    command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Measured:
    """Run a program to its end and measure it."""
    began = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with watch_memory(process.pid) as seen:
        stdout, stderr = process.communicate()
    return Measured(process.returncode, stdout, stderr, seen.peak, time.monotonic() - began)


@dataclass
class MemoryPeak:
    """The most resident memory seen, in bytes."""

    peak: int = 0


@contextmanager
def watch_memory(pid: int) -> Iterator[MemoryPeak]:
    """Watch the memory of a process and its descendants, 100 times a second."""
    seen = MemoryPeak()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE):
            seen.peak = max(seen.peak, peak_memory(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def peak_memory(pid: int) -> int:
    """Return the most that a process had (VmHWM), and its descendants have had, in bytes."""
    total = 0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        total = int(found[1]) * 1024 if found else 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(peak_memory(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass  # it has just ended
    return total


def disk_use(*directories: Path) -> int:
    """Return the bytes that the file systems give to what lies in `directories` now."""
    total = 0
    for directory in directories:
        for top, _, files in os.walk(directory):
            for name in files:
                try:
                    total += os.lstat(os.path.join(top, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
    return total


@dataclass
class DiskPeak:
    """The largest use seen, in bytes above what was there at the beginning."""

    before: int
    peak: int = 0


@contextmanager
def watch_disk(*directories: Path, interval: float = 0.02) -> Iterator[DiskPeak]:
    """Watch the disk use of `directories` (all that a program may write to) every `interval` seconds."""
    seen = DiskPeak(disk_use(*directories))
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(interval):
            seen.peak = max(seen.peak, disk_use(*directories) - seen.before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        seen.peak = max(seen.peak, disk_use(*directories) - seen.before)
