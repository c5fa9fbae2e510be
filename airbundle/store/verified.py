"""airbundle's own record of files it has verified, so that a second use needs no second pass (design §3, "Resumes").

A record holds while inode, size, mtime and ctime are those of the file that was hashed, and the machine has not been
restarted since: pages that were hashed in memory may never have reached the disk. It is a saving, never a proof to
anyone else: it lies in a directory that only this user can write.
"""

from __future__ import annotations

import json
import os
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from airbundle.store.host import host_errors, private_directory, write_atomically

_KEY = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RECORD_LIMIT = 4096


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the id of this boot of the kernel; empty where it can't be told."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class VerifiedRecords:
    """Records by key, one small file each. Safe for many threads and processes; the last one wins.

    `root` is made when the first record is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def remember(self, key: str, status: os.stat_result, **facts: str) -> None:
        """Record that the file with `status` was verified.

        Args:
            key: what was verified, such as `sha256-<hex>`; lower-case letters, digits, `.` and `-`.
            status: `os.fstat` of the descriptor that was read, taken before reading; equal afterwards.
            facts: what else must be equal for the record to hold, such as the digest of a bundle's statement.

        Raises:
            HostError: the record can't be written.
        """
        body = {**_identity(status), "boot": boot_id(), "facts": facts}
        with host_errors("record a verified file", self.root):
            private_directory(self.root)
            write_atomically(self._path(key), json.dumps(body, sort_keys=True).encode(), mode=0o600)

    def holds(self, key: str, status: os.stat_result, **facts: str) -> bool:
        """Tell whether the file with `status` is the very one that was verified; marks the record as used."""
        return self.recall(key, status) == facts

    def recall(self, key: str, status: os.stat_result) -> dict[str, str] | None:
        """Return the facts of a record that holds for the file with `status`, and mark it as used; None without one."""
        path = self._path(key)
        body = self._read(path)
        facts = body.pop("facts", None) if isinstance(body, dict) else None
        if not boot_id() or not isinstance(facts, dict) or body != {**_identity(status), "boot": boot_id()}:
            return None
        try:
            os.utime(path)
        except OSError:  # a record that goes away under us is no harm
            pass
        return facts

    def forget(self, key: str) -> None:
        """Drop a record, if there is one."""
        with host_errors("drop a record", self.root):
            self._path(key).unlink(missing_ok=True)

    def last_used(self, key: str) -> float:
        """Return when the record was last written or used, in seconds since the epoch; 0 without one."""
        try:
            return self._path(key).stat().st_mtime
        except OSError:
            return 0.0

    def prune(self, older_than: float) -> None:
        """Drop the records that were not used for `older_than` seconds."""
        limit = time.time() - older_than
        with host_errors("prune records", self.root):
            for path in self.root.glob("*.json") if self.root.is_dir() else ():
                if self.last_used(path.name[:-5]) < limit:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of a record")
        return self.root / f"{key}.json"

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            with path.open("rb") as file:
                return json.loads(file.read(_RECORD_LIMIT))
        except (OSError, ValueError, RecursionError):
            return None


def _identity(status: os.stat_result) -> dict[str, int]:
    return {
        "ino": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }
