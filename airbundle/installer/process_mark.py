"""Marks that name a process of this host for as long as somebody may ask whether it still lives.

A pid alone is given to others again. With the start time, the boot and the PID namespace it means one process.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.store.verified import boot_id

_MARK = re.compile(r"([1-9][0-9]{0,9})\.([0-9]{1,20})\.([0-9a-f]{12})\.([0-9]{1,20})")


def own_mark() -> str:
    """Return the mark of this process; it is a valid value of a Kubernetes label, too."""
    return f"{os.getpid()}.{started(os.getpid()) or 0}.{_boot()}.{_namespace()}"


def lives(mark: str) -> bool | None:
    """Tell whether the process with a mark still lives; None where that can't be told from here.

    A process of an earlier boot has ended; one of another PID namespace can't be seen.

    Args:
        mark: of `own_mark`, made by a process of this host; or anything else, of which nothing is known.
    """
    match = _MARK.fullmatch(mark)
    if match is None:
        return None
    pid, start, boot, namespace = int(match[1]), int(match[2]), match[3], int(match[4])
    if boot != _boot():
        return False
    if namespace != _namespace():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, whose start time may be hidden (proc(5), hidepid)
    except OverflowError:
        return False
    return start == started(pid) or not Path(f"/proc/{pid}/stat").exists()


def started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None for one that has ended (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name is in parentheses and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _boot() -> str:
    return sha256(boot_id().encode())[7:19]


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
