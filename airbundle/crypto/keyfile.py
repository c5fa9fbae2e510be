"""Key files: read with a bound and a word about files that others can read; written only where none is."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from airbundle.errors import HostError, NoPermission, NoSpace, UsageError

KEY_FILE_LIMIT = 64 * 1024
"""Most bytes of a key or certificate file; a long chain has a tenth of it."""

_log = logging.getLogger(__name__)


def read_private_file(path: Path) -> bytes:
    """Return the bytes of a private key's file; warn when its group or others may read it.

    Raises:
        UsageError: it is missing, no regular file, or too long.
        NoPermission: it may not be read.
    """
    data, mode = _read(path, str(path))
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning("%s is readable for others than its owner (mode %04o); `chmod 600` it", path, stat.S_IMODE(mode))
    return data


def read_public_file(path: Path, *, option: str = "") -> bytes:
    """Return the bytes of a public key's or certificate's file.

    Args:
        path: the file.
        option: which named it, for errors.

    Raises:
        UsageError: it is missing, no regular file, or too long.
        NoPermission: it may not be read.
    """
    return _read(path, f"{option} {path}".strip())[0]


def write_new_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, with exactly `mode` whatever the umask.

    Raises:
        UsageError: something is there already; a key is never overwritten.
        NoPermission, HostError: it can't be written; then nothing is left.
    """
    try:
        # 0600 until the bytes are there: a key is at no time readable for others.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="move it away, or choose another name") from None
    except OSError as error:
        raise _failed(path, "write", error) from None
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _failed(path, "write", error) from None


def _failed(what: object, operation: str, error: OSError) -> HostError:
    text = f"cannot {operation} {what}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(text, hint="free space there")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NoPermission(text, hint="run as a user who may, or choose another place")
    return HostError(text)


def _read(path: Path, what: str) -> tuple[bytes, int]:
    try:
        # Without O_NONBLOCK a FIFO in the key's place would hang the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{what} is no regular file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(KEY_FILE_LIMIT + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UsageError(f"{what}: there is no such file") from None
    except OSError as error:
        raise _failed(what, "read", error) from None
    if len(data) > KEY_FILE_LIMIT:
        raise UsageError(f"{what}: found more than {KEY_FILE_LIMIT} bytes, expected a key or certificate")
    return data, mode
