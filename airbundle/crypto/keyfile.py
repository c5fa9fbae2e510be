"""Reading key files: bounded, and with a word about files that others can read."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from airbundle.errors import HostError, NoPermission, UsageError

KEY_FILE_LIMIT = 64 * 1024
"""Most bytes of a key or certificate file; a long chain has a tenth of it."""

_log = logging.getLogger(__name__)


def read_private_file(path: Path) -> bytes:
    """Return the bytes of a private key's file; warn when its group or others may read it.

    Raises:
        UsageError: it is missing, no regular file, or too long.
        NoPermission: it may not be read.
    """
    data, mode = _read(path)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning("%s is readable for others than its owner (mode %04o); `chmod 600` it", path, stat.S_IMODE(mode))
    return data


def read_public_file(path: Path) -> bytes:
    """Return the bytes of a public key's or certificate's file.

    Raises:
        UsageError: it is missing, no regular file, or too long.
        NoPermission: it may not be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[bytes, int]:
    try:
        # Without O_NONBLOCK a FIFO in the key's place would hang the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path} is no regular file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(KEY_FILE_LIMIT + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except PermissionError:
        raise NoPermission(f"{path}: this user may not read it") from None
    except OSError as error:
        raise HostError(f"{path}: reading failed: {error.strerror}") from None
    if len(data) > KEY_FILE_LIMIT:
        raise UsageError(f"{path}: found more than {KEY_FILE_LIMIT} bytes, expected a key or certificate")
    return data, mode
