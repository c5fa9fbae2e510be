"""What a program cost: seconds, processor seconds, peak memory, and the bytes it read and wrote."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.measure import watch_memory


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        seconds: from start to end, by the clock.
        cpu: processor seconds of the program and its children, in user and kernel mode.
        memory: peak resident bytes, children included.
        read, written: bytes by read and write system calls, children included (`rchar`, `wchar` of /proc/PID/io).
            What programs in Go send to sockets is in there; what Python sends and receives is not.
    """

    seconds: float
    cpu: float
    memory: int
    read: int
    written: int

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            self.seconds + other.seconds,
            self.cpu + other.cpu,
            max(self.memory, other.memory),
            self.read + other.read,
            self.written + other.written,
        )


NOTHING = Cost(0.0, 0.0, 0, 0, 0)


class Failed(Exception):
    """A program that is measured ended with an error."""


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run a program to its end; return its cost and what it printed.

    Raises:
        Failed: its exit code is not 0; with the last line of what it said.
    """
    began = time.monotonic()
    words = [str(word) for word in command]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process,
    ):
        assert process.stdout is not None
        with watch_memory(process.pid) as seen:
            said = process.stdout.read()
            # The kernel's account is read before the program is gone for good; its children are in it by then.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            seconds = time.monotonic() - began
        read, written = _io(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            complaints.seek(0)
            last = (complaints.read().decode(errors="replace") or said or "no word").strip().rpartition("\n")[2]
            raise Failed(f"{' '.join(words[:4])}… ended with {process.returncode}: {last}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, seen.peak, read, written), said


def _io(pid: int) -> tuple[int, int]:
    text = Path(f"/proc/{pid}/io").read_text()
    found = dict(re.findall(r"(\w+): (\d+)", text))
    return int(found["rchar"]), int(found["wchar"])


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    values = {field.name: statistics.median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)}
    return Cost(values["seconds"], values["cpu"], int(values["memory"]), int(values["read"]), int(values["written"]))
