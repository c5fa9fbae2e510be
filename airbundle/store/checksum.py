"""`X.airbundle.sha256` and `.sig` beside a bundle: for `sha256sum -c` and `openssl dgst` at first contact."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from airbundle.progress import Item
from airbundle.store.host import host_errors, write_atomically
from airbundle.store.volumes import ByteFile, Part

_LIMIT = 1024 * 1024
_STEP = 8 * 1024 * 1024
"""Bytes that are hashed between two looks at whether to stop."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def checksum_path(bundle: Path) -> Path:
    """Return where the checksums of a bundle (or of its volumes) lie."""
    return bundle.with_name(bundle.name + ".sha256")


def signature_path(bundle: Path) -> Path:
    """Return where the signature over the checksums lies."""
    return bundle.with_name(bundle.name + ".sig")


def write_checksums(bundle: Path, sums: Mapping[str, str]) -> Path:
    """Write the `.sha256` file.

    Args:
        bundle: its path; for volumes the path without their number.
        sums: hex digest of each file by its name, in order.
    """
    path = checksum_path(bundle)
    with host_errors("write", path):
        write_atomically(path, _lines(sums), mode=0o644)
    return path


def _lines(sums: Mapping[str, str]) -> bytes:
    return os.fsencode("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def restore_checksums(bundle: Path, sums: Mapping[str, str], sign: Callable[[bytes], bytes] | None) -> None:
    """Write `.sha256` and `.sig` where they are missing or say something else; an unsigned bundle has no `.sig`.

    Args:
        bundle, sums: as `write_checksums`.
        sign: the release key's.
    """
    wanted = _lines(sums)
    if _read(checksum_path(bundle)) != wanted:
        write_checksums(bundle, sums)
    path = signature_path(bundle)
    if sign is None:
        with host_errors("remove", path):
            path.unlink(missing_ok=True)
    elif _read(path) != _signature(sign, wanted):
        sign_checksums(bundle, sign)


def _signature(sign: Callable[[bytes], bytes], lines: bytes) -> bytes:
    return base64.b64encode(sign(lines)) + b"\n"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""


def read_checksums(bundle: Path) -> dict[str, str]:
    """Return the hex digest of each file by name, as the `.sha256` file beside a bundle says; empty without one.

    Nobody has signed it: it helps to say which volume is damaged, and proves nothing.
    """
    try:
        with checksum_path(bundle).open("rb") as file:
            lines = os.fsdecode(file.read(_LIMIT)).split("\n")
    except OSError:
        return {}
    return {match[2]: match[1] for match in map(_LINE.fullmatch, lines) if match}


def range_sum(file: ByteFile, position: int, length: int, item: Item | None = None) -> str:
    """Return the hex SHA-256 of a range of an open file, in bytes.

    Raises:
        VerificationError: the file became shorter.
        HostError: it can't be read.
    """
    hasher = hashlib.sha256()
    for piece in file.pieces(position, length):
        hasher.update(piece)
        if item is not None:
            item.advance(len(piece))
    return hasher.hexdigest()


def file_sum(file: ByteFile, part: Part, item: Item | None = None) -> str:
    """Return the hex SHA-256 of one part of an open file. Raises as `range_sum`."""
    return range_sum(file, part.start, part.size, item)


def sign_checksums(bundle: Path, sign: Callable[[bytes], bytes]) -> Path:
    """Write the `.sig` file: base64 of the DER signature over the bytes of the `.sha256` file.

    Args:
        bundle: as `write_checksums`.
        sign: the release key's.
    """
    with host_errors("read", checksum_path(bundle)):
        lines = checksum_path(bundle).read_bytes()
    path = signature_path(bundle)
    with host_errors("write", path):
        write_atomically(path, _signature(sign, lines), mode=0o644)
    return path


def remove_checksums(bundle: Path) -> None:
    """Remove both files: they would tell of a bundle that is no longer there."""
    for path in (checksum_path(bundle), signature_path(bundle)):
        with host_errors("remove", path):
            path.unlink(missing_ok=True)


class Follower:
    """Hashes a file while it is being written: the part from its start that will not change any more.

    A second pass over a large bundle would take as long as the build; this one finds the pages still in memory.
    """

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._limit = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._sums: list[str] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="checksum", daemon=True)
        self._thread.start()

    def advance(self, limit: int) -> None:
        """Tell that the bytes before `limit` are final."""
        with self._changed:
            self._limit = max(self._limit, limit)
            self._changed.notify()

    def result(self) -> list[str]:
        """Wait for the end and return the hex digest of each part of the file; all its bytes are final.

        Raises:
            VerificationError: the file became shorter.
            HostError: the file can't be read.
        """
        self.advance(self._file.size)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._sums

    def stop(self) -> None:
        """End the thread; there will be no result."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        try:
            for part in self._file.parts:
                self._sums.append(self._hash(part.start, part.start + part.size))
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that asks for the result
            self._error = error

    def _hash(self, position: int, end: int) -> str:
        hasher = hashlib.sha256()
        while position < end:
            with self._changed:
                while self._limit <= position and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return ""
                limit = min(self._limit, end, position + _STEP)
            for piece in self._file.pieces(position, limit - position):
                hasher.update(piece)
            position = limit
        return hasher.hexdigest()
