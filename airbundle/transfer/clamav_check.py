"""Checks of single ClamAV files. Each reads a file once in full, and returns what it is or raises."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from airbundle.bundle.clamav import (
    CUSTOM_FAMILY,
    HEADER_SIZE,
    DatabaseName,
    check_header,
    check_patch,
    find_info,
    parse_header,
)
from airbundle.bundle.clamav_artifact import ClamavFile
from airbundle.bundle.clamsign import SIGN_LIMIT, parse_sign
from airbundle.errors import HostError, VerificationError

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_SIGTOOL_TIMEOUT = 600
"""Seconds; main.cvd takes a few."""

Advance = Callable[[int], None]


def _unwatched(count: int) -> None:
    """Tell nobody."""


def check_database(path: Path, name: DatabaseName, *, advance: Advance = _unwatched) -> ClamavFile:
    """Check a `.cvd`, `.cld` or `.cud`: its header, its MD5, and the header's copy inside.

    A `.cld` has no MD5 of its own: freshclam makes it from patches, and libclamav doesn't check it either.

    Raises:
        VerificationError: it is damaged, or is no database.
        HostError: it can't be read.
    """
    with _opened(path) as file:
        header = parse_header(file.read(HEADER_SIZE), what=name.name)
        info = find_info(file, name.family, what=name.name)
        check_header(header, info, what=name.name)
        file.seek(0)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        for piece in _pieces(file):
            sha256.update(piece)
            md5.update(piece[max(0, HEADER_SIZE - size) :])
            size += len(piece)
            advance(len(piece))
    if not name.name.endswith(".cld") and md5.hexdigest() != header.md5:
        raise VerificationError(f"{name.name}: damaged: found MD5 {md5.hexdigest()}, expected {header.md5}")
    return ClamavFile(name.name, path, size, f"sha256:{sha256.hexdigest()}", name.family, header)


def check_patch_file(path: Path, name: DatabaseName) -> ClamavFile:
    """Check a `.cdiff`: that it is one, to the version that its name says.

    Raises:
        VerificationError: it isn't.
        HostError: it can't be read.
    """
    with _opened(path) as file:
        check_patch(file.read(64), name)
    return _plain(path, name)


def check_signature_file(path: Path, name: DatabaseName, signed: ClamavFile) -> ClamavFile:
    """Check a `.sign`: its form, and that it vouches for the bytes of `signed`.

    Raises:
        VerificationError: it doesn't.
        HostError: it can't be read.
    """
    with _opened(path) as file:
        vouched = parse_sign(file.read(SIGN_LIMIT + 1), what=name.name)
    for each in vouched:
        found = _digest(signed.path, each.algorithm)
        if found != each.digest:
            raise VerificationError(
                f"{name.name}: it is the signature of other bytes than {signed.name}: "
                f"found {each.algorithm} {found}, expected {each.digest}"
            )
    return _plain(path, name)


def check_custom_file(path: Path, name: DatabaseName) -> ClamavFile:
    """Check signatures of one's own: they are not empty.

    Raises:
        VerificationError: they are.
        HostError: the file can't be read.
    """
    file = _plain(path, name)
    if not file.size:
        raise VerificationError(f"{name.name}: the file is empty")
    return file


def check_with_sigtool(file: ClamavFile) -> bool:
    """Let ClamAV's own sigtool verify a signed database, where it is installed; it knows ClamAV's public key.

    Returns:
        Whether sigtool was there and could tell.

    Raises:
        VerificationError: the signature is wrong.
    """
    sigtool = shutil.which("sigtool")
    if sigtool is None or not file.name.endswith(".cvd"):
        return False
    try:
        done = subprocess.run(
            [sigtool, "--info", str(file.path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SIGTOOL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("sigtool could not check %s: %s", file.name, error)
        return False
    said = done.stdout + done.stderr
    if done.returncode and "erif" in said:
        reason = next((line for line in reversed(said.splitlines()) if "erif" in line), "").strip()
        raise VerificationError(f"{file.name}: sigtool says: {reason[:200]}")
    return done.returncode == 0


def _plain(path: Path, name: DatabaseName) -> ClamavFile:
    with _opened(path) as file:
        hasher = hashlib.sha256()
        size = 0
        for piece in _pieces(file):
            hasher.update(piece)
            size += len(piece)
    family = CUSTOM_FAMILY if name.kind == "custom" else name.family
    return ClamavFile(name.name, path, size, f"sha256:{hasher.hexdigest()}", family)


def _digest(path: Path, algorithm: str) -> str:
    hasher = hashlib.new(algorithm)
    with _opened(path) as file:
        for piece in _pieces(file):
            hasher.update(piece)
    return hasher.hexdigest()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise HostError(f"{path} can't be read: {error.strerror}") from None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_CHUNK)
        except OSError as error:
            raise HostError(f"{file.name} can't be read: {error.strerror}") from None
        if not piece:
            return
        yield piece
