"""Which program of this host listens on a port, as far as this user may know: from /proc, nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"  # include/net/tcp_states.h
_NAME_LIMIT = 80


def who_listens(port: int) -> str:
    """Return `NAME (pid N)` of a program that listens on a TCP `port`, or an empty string when it can't be told."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not wanted:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            return f"{_name(process)} (pid {process.name})"
    return ""


def is_listening(port: int) -> bool:
    """Tell whether any program of this host listens on a TCP `port`."""
    return next(_inodes(port), None) is not None


def _inodes(port: int) -> Iterator[str]:
    """Yield the inodes of listening sockets (proc_pid_net(5))."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in wanted for entry in (process / "fd").iterdir())
    except OSError:  # another user's process, or one that just ended
        return False


def _name(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        command = ""
    shown = "".join(character if character.isprintable() else "?" for character in command)
    return shown if len(shown) <= _NAME_LIMIT else shown[: _NAME_LIMIT - 1] + "…"
