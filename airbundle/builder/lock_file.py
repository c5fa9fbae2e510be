"""The lock on disk, beside its inventory."""

from __future__ import annotations

from pathlib import Path

from airbundle.bundle.lock import LOCK_LIMIT, LOCK_NAME, Lock, parse_lock
from airbundle.errors import DocumentError
from airbundle.store.host import host_errors, write_atomically


def read_lock(directory: Path) -> Lock | None:
    """Return the lock in `directory`, or None when there is none.

    Raises:
        DocumentError: it doesn't parse, or is larger than any lock is.
        HostError: it can't be read.
    """
    path = directory / LOCK_NAME
    with host_errors("read", path):
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return None
        with stream:
            raw = stream.read(LOCK_LIMIT + 1)
    if len(raw) > LOCK_LIMIT:
        raise DocumentError(f"{path}: more than {LOCK_LIMIT} bytes are no lock")
    return parse_lock(raw, where=str(path))


def write_lock(directory: Path, lock: Lock) -> Path:
    """Write the lock into `directory` in one step, and return its path. Equal bytes are not written again.

    Raises:
        HostError: it can't be written.
    """
    path = directory / LOCK_NAME
    raw = lock.to_bytes()
    with host_errors("write", path):
        if not path.exists() or path.read_bytes() != raw:
            write_atomically(path, raw, mode=0o644)
    return path
