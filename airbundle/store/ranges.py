"""Bytes from one file to another inside the kernel: shared where the file system can (reflink), else copied there.

`copy_file_range` reflinks whole blocks by itself where both offsets are aligned alike, as those of large blobs are
(docs/format.md §1.2). Where it can't work between two files, bytes are read and written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from airbundle.bundle.tar import ALIGNMENT
from airbundle.store.volumes import CHUNK

Segment = tuple[int, int, int]
"""Descriptor, offset in it, bytes."""

_AT_ONCE = 64 * 1024 * 1024
"""Bytes asked of the kernel at once: soon enough to stop, and to tell how far it is."""
_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("=qQQQ")
"""Descriptor, offset and bytes of the source, offset in the target (ioctl_ficlonerange(2))."""
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def can_share(source: int, directory: Path) -> bool:
    """Tell whether files in `directory` can share blocks with an open file; tried with one that has no name.

    A file system may be able to and yet refuse: another mount, a quota, larger blocks than ours.
    """
    try:
        probe = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.ioctl(probe, _FICLONERANGE, _CLONE_RANGE.pack(source, 0, ALIGNMENT, 0))
    except OSError:
        return False
    finally:
        os.close(probe)
    return True


def copy_segments(source: Sequence[Segment], target: Sequence[Segment], advance: Callable[[int], None]) -> bool:
    """Copy `source` to `target`, which have equally many bytes; they are not verified.

    Args:
        source, target: see `ByteFile.segments`.
        advance: gets the number of bytes of each step; may raise to stop.

    Returns:
        Whether all bytes were there; False when a source file has become shorter.

    Raises:
        OSError: reading or writing fails.
    """
    return all(_copy(piece, advance) for piece in _pieces(source, target))


class _Piece(NamedTuple):
    """A range that lies in one file on both sides."""

    source: int
    offset: int
    target: int
    at: int
    length: int


def _pieces(source: Sequence[Segment], target: Sequence[Segment]) -> Iterator[_Piece]:
    left = iter(target)
    to, at, room = 0, 0, 0
    for fd, offset, length in source:
        while length:
            if not room:
                to, at, room = next(left)
            count = min(length, room)
            yield _Piece(fd, offset, to, at, count)
            offset, length = offset + count, length - count
            at, room = at + count, room - count


def _copy(piece: _Piece, advance: Callable[[int], None]) -> bool:
    copy = _in_kernel
    done = 0
    while done < piece.length:
        try:
            count = copy(piece, done)
        except OSError as error:
            if copy is _by_hand or error.errno not in _CANNOT:
                raise
            copy = _by_hand
            continue
        if not count:
            return False
        advance(count)
        done += count
    return True


def _in_kernel(piece: _Piece, done: int) -> int:
    if not hasattr(os, "copy_file_range"):  # a C library from before 2.27
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    count = min(piece.length - done, _AT_ONCE)
    return os.copy_file_range(
        piece.source, piece.target, count, offset_src=piece.offset + done, offset_dst=piece.at + done
    )


def _by_hand(piece: _Piece, done: int) -> int:
    data = os.pread(piece.source, min(piece.length - done, CHUNK), piece.offset + done)
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(piece.target, view[written:], piece.at + done + written)
    return len(data)
