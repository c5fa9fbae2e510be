"""Room for a file of known size, asked for before the first byte: no space is told at once, with the numbers."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from airbundle.errors import NoSpace
from airbundle.store.host import host_errors

_CANNOT = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
LARGE_FILE_HINT = "this file system takes no files of that size; build volumes with --split-size 4G"


def check_room(directory: Path, needed: int, *, what: str) -> None:
    """Check that a file system has room.

    Args:
        directory: on that file system.
        needed: bytes that are still to be written.
        what: the thing, for the error.

    Raises:
        NoSpace: it hasn't; says how much is needed, free, and lacking.
    """
    with host_errors("look at", directory):
        status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    # Some file systems (ramfs, FUSE) don't tell their size: they have no blocks at all.
    if status.f_blocks and needed > free:
        raise NoSpace(
            f"{what} needs {needed} bytes in {directory}, and {free} are free: {needed - free} are lacking",
            hint="free space there, or write to another file system",
        )


def allocate(fd: int, size: int, path: Path) -> bool:
    """Give an open file its size and, where the file system can, its blocks.

    `posix_fallocate` of the C library writes a byte to every block where the file system can't; so the system call
    itself is asked.

    Returns:
        Whether the blocks are there; else the file is sparse, and writing may still find the disk full.

    Raises:
        NoSpace: the file system or the quota has no room, or takes no file that large.
    """
    return allocate_around(fd, size, path, ())


def allocate_around(fd: int, size: int, path: Path, holes: Sequence[tuple[int, int]]) -> bool:
    """Do what `allocate` does, but for the holes: ranges that get blocks of another file instead of their own.

    Blocks of their own would be taken there for nothing, and btrfs does not even give them back when others are shared
    into their place: it keeps what was preallocated in one piece until the last byte of it is gone.

    Args:
        fd, size, path: the open file, its size in bytes, its name for errors.
        holes: offset and bytes of each, in order.

    Returns, Raises: as `allocate`.
    """
    with host_errors("write", path):
        try:
            return _give_size(fd, size, holes)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise NoSpace(f"cannot write {path} of {size} bytes: {error.strerror}", hint=LARGE_FILE_HINT) from None
            raise


def _give_size(fd: int, size: int, holes: Sequence[tuple[int, int]]) -> bool:
    position, there = 0, True
    try:
        for start, length in (*holes, (size, 0)):
            _fallocate(fd, position, start - position)
            position = start + length
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        there = False
    if holes or not there:
        os.ftruncate(fd, size)
    return there


def _fallocate(fd: int, start: int, length: int) -> None:
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate  # off_t has 64 bits wherever airbundle runs
    except (OSError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    while length and call(fd, 0, ctypes.c_int64(start), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
