"""Which program of this host listens on a port, as far as this user may know: from /proc, nothing is sent."""

from __future__ import annotations

import os
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


def listening_commands(port: int) -> list[tuple[str, ...]]:
    """Return the command lines of the programs that listen on a TCP `port`, as far as this user may know."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    processes = (each for each in Path("/proc").iterdir() if each.name.isdigit()) if wanted else ()
    return [_command(process) for process in processes if _holds(process, wanted)]


def own_processes() -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield pid and command line of this user's processes that have this host's files: those in containers have not."""
    here = Path("/").stat()
    for process in Path("/proc").iterdir():
        try:
            own = process.name.isdigit() and process.stat().st_uid == os.geteuid()
            if own and os.path.samestat((process / "root").stat(), here):
                yield int(process.name), _command(process)
        except OSError:  # it just ended
            continue


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


def _command(process: Path) -> tuple[str, ...]:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in words if word)


def _name(process: Path) -> str:
    command = os.fsencode(" ".join(_command(process))).decode("utf-8", "replace")
    shown = "".join(character if character.isprintable() else "?" for character in command)
    return shown if len(shown) <= _NAME_LIMIT else shown[: _NAME_LIMIT - 1] + "…"
