"""The lock on disk, beside its inventory."""

from __future__ import annotations

import os
from pathlib import Path

from airbundle.bundle.lock import LOCK_LIMIT, LOCK_NAME, Lock, parse_lock
from airbundle.errors import DocumentError


def read_lock(directory: Path) -> Lock | None:
    """Return the lock in `directory`, or None when there is none.

    Raises:
        DocumentError: it doesn't parse, or is larger than any lock is.
    """
    try:
        with (directory / LOCK_NAME).open("rb") as stream:
            raw = stream.read(LOCK_LIMIT + 1)
    except FileNotFoundError:
        return None
    if len(raw) > LOCK_LIMIT:
        raise DocumentError(f"{directory / LOCK_NAME}: more than {LOCK_LIMIT} bytes are no lock")
    return parse_lock(raw, where=str(directory / LOCK_NAME))


def write_lock(directory: Path, lock: Lock) -> Path:
    """Write the lock into `directory` in one step, and return its path. Equal bytes are not written again."""
    path = directory / LOCK_NAME
    raw = lock.to_bytes()
    if path.exists() and path.read_bytes() == raw:
        return path
    work = directory / f".{LOCK_NAME}.{os.getpid()}"
    try:
        work.write_bytes(raw)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
    return path
