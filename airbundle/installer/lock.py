"""One run at a time: an exclusive lock on the state directory that tells who holds it (exit 8)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from airbundle.errors import Busy
from airbundle.installer.files import FILE
from airbundle.store.host import host_errors

_LIMIT = 4096


@contextmanager
def exclusive(path: Path, command: str) -> Iterator[None]:
    """Hold the lock at `path` within the block. The kernel lets go of it when the process ends, however it ends.

    Args:
        path: the lock file; its directory must be there. It stays afterwards.
        command: what this run does, for others who find it held.

    Raises:
        Busy: another run holds it; says which.
        HostError: the file can't be made.
    """
    with host_errors("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)
    try:
        if not _take(descriptor, fcntl.LOCK_EX):
            raise _busy(path)
        with host_errors("lock", path):
            os.fchmod(descriptor, FILE)
            since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            holder = {"pid": os.getpid(), "command": command, "since": since}
            os.ftruncate(descriptor, 0)
            _write_holder(descriptor, json.dumps(holder).encode() + b"\n")
        yield
    finally:
        os.close(descriptor)


def _write_holder(descriptor: int, text: bytes) -> None:
    """Say who holds the lock. On a full disk nobody is told, and the lock holds: uninstalling frees space."""
    try:
        os.pwrite(descriptor, text, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def check_free(path: Path) -> None:
    """Raise when another run holds the lock at `path`; makes nothing.

    Raises:
        Busy: as `exclusive`.
    """
    with host_errors("lock", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
    try:
        # Shared: two runs that only look don't take each other for holders.
        if not _take(descriptor, fcntl.LOCK_SH):
            raise _busy(path)
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(path: Path) -> Busy:
    try:
        holder = json.loads(path.read_bytes()[:_LIMIT])
        who = f"`{holder['command']}`, process {holder['pid']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # The holder has the lock and hasn't yet written its name.
        who = "another run of airbundle"
    return Busy(f"{path.parent} is in use by {who}", hint="wait until it ends, then run the same command again")
