"""airbundle's own record of bundles whose every byte it has hashed (design §3): those are copied without another pass.

A record belongs to one file: the bundle, or a volume. It says which bundle's bytes these are, from which offset on, and
their SHA-256 where that is known. It holds while the file is untouched (`store.verified`). The statement binds all
bytes but the signatures, and these lie in the same file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.bundle.digest import sha256
from airbundle.errors import HostError
from airbundle.store.blob_file import same_file
from airbundle.store.verified import VerifiedRecords
from airbundle.store.volumes import ByteFile

if TYPE_CHECKING:
    from airbundle.store.reader import BundleFile

_log = logging.getLogger(__name__)
_TICK = 0.02
"""Seconds: file systems tell times apart that lie at least this far from each other (a tick of the kernel, 10 ms at
most). A file that changes within one tick of its record would look untouched."""


@dataclass(frozen=True)
class Proof:
    """What a record says of a bundle.

    Attributes:
        sums: hex SHA-256 of each file; empty where it isn't known.
        files: what the system said of each.
    """

    sums: tuple[str, ...]
    files: tuple[os.stat_result, ...]

    def holds(self, file: ByteFile) -> bool:
        """Tell whether the files are still untouched: to be asked after their bytes were used."""
        return untouched(file, self.files)


def untouched(file: ByteFile, before: Sequence[os.stat_result]) -> bool:
    """Tell whether open files are what they were `before`."""
    return all(map(same_file, before, _statuses(file)))


def statuses(file: ByteFile) -> list[os.stat_result]:
    """Return what the system says of each open file: to be taken before its bytes are hashed, and given to `record`.

    Waits until a change would show: less than a tick.
    """
    found = _statuses(file)
    newest = max(max(status.st_mtime, status.st_ctime) for status in found)
    wait = newest + _TICK - time.time()
    if 0 < wait <= _TICK:
        time.sleep(wait)
        found = _statuses(file)
    return found


def _statuses(file: ByteFile) -> list[os.stat_result]:
    return [os.fstat(part.fd) for part in file.parts]


def record(
    records: VerifiedRecords,
    file: ByteFile,
    before: Sequence[os.stat_result],
    statement: bytes,
    sums: Sequence[str] = (),
) -> bool:
    """Record that every byte of the open files was hashed since `before`, and found to be right.

    Args:
        records: where to.
        file: the bundle, or its volumes.
        before: from `statuses`. A file that was touched since then is not recorded.
        statement: the bundle's, whose digest is recorded.
        sums: hex SHA-256 of each file, where they are known.

    Returns:
        Whether all of them were recorded; without a record they are hashed again the next time.
    """
    if not untouched(file, before):
        return False
    digest = sha256(statement)
    try:
        for number, (part, status) in enumerate(zip(file.parts, before)):
            facts = {"statement": digest, "offset": str(part.start), "sum": sums[number] if sums else ""}
            records.remember(_key(status), status, **facts)
    except HostError as error:  # a record only saves time
        _log.info("%s", error.problem)
        return False
    return True


def proof(records: VerifiedRecords, bundle: BundleFile) -> Proof | None:
    """Return what the record says of an open bundle; None when it must be hashed."""
    digest = sha256(bundle.statement_raw)
    sums = []
    found = _statuses(bundle.file)
    for part, status in zip(bundle.file.parts, found):
        facts = records.recall(_key(status), status) if status.st_size == part.size else None
        if facts is None or (facts.get("statement"), facts.get("offset")) != (digest, str(part.start)):
            return None
        sums.append(facts.get("sum", ""))
    return Proof(tuple(sums) if all(sums) else (), tuple(found))


def _key(status: os.stat_result) -> str:
    return f"file-{status.st_dev:x}-{status.st_ino:x}"
