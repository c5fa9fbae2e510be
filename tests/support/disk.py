"""File systems of the tests' own: of a few megabytes, to be run full; and such as share blocks between files."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import program

SHARING = {"xfs": ("mkfs.xfs", "xfsprogs"), "btrfs": ("mkfs.btrfs", "btrfs-progs")}
"""File systems that share blocks between files: what makes them, and the Debian package that has it."""
_IMAGE_BYTES = 512 * 1024 * 1024  # less is too small for mkfs.xfs; the image is sparse
_FIEMAP = 0xC020660B
_HEAD, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQ16xI12x")
_AT_ONCE, _LAST, _SHARED, _SYNC = 512, 0x1, 0x2000, 0x1


class NotMounted(RuntimeError):
    """This host mounts no images of this file system; says what mount(8) said."""


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """Mount an empty tmpfs at `directory`, which is made. Needs root, as all mounts; scripts/test runs as root.

    Args:
        directory: where.
        options: tmpfs(5), such as `size=2m`.
    """
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@contextmanager
def sharing(directory: Path, kind: str) -> Iterator[Path]:
    """Make a file system of 512 MiB that shares blocks between files, and mount it at `directory`, which is made.

    Args:
        directory: where; the image lies beside it.
        kind: of `SHARING`.

    Raises:
        NotMounted: the host can't: no root, no loop devices (containers), no such file system in the kernel.
    """
    directory.mkdir()
    image = directory.with_name(f"{directory.name}.{kind}")
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run([program(*SHARING[kind]), "-q", image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-t", kind, "-o", "loop", image, directory], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotMounted(f"this host mounts no {kind}: {done.stderr.strip().splitlines()[0]}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        image.unlink()


def used(directory: Path) -> int:
    """Return the bytes that are taken in a file system."""
    os.sync()
    status = os.statvfs(directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def shared_bytes(path: Path) -> int:
    """Return how many bytes of a file lie in blocks that other files have, too (FIEMAP)."""
    found = position = 0
    with path.open("rb") as file:
        while True:
            buffer = bytearray(_HEAD.pack(position, 2**64 - 1 - position, _SYNC, 0, _AT_ONCE, 0))
            buffer += bytes(_EXTENT.size * _AT_ONCE)
            fcntl.ioctl(file, _FIEMAP, buffer)
            count = _HEAD.unpack_from(buffer)[3]
            flags = _LAST
            for index in range(count):
                start, _, length, flags = _EXTENT.unpack_from(buffer, _HEAD.size + index * _EXTENT.size)
                found += length if flags & _SHARED else 0
                position = start + length
            if flags & _LAST:
                return found
