"""Files of the state directory: written whole or not at all, with explicit modes whatever the umask (design §7)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import get_native_id

from airbundle.errors import DocumentError, HostError, UsageError
from airbundle.store.host import host_errors

PUBLIC_DIRECTORY = 0o755
DIRECTORY = 0o750
PRIVATE_DIRECTORY = 0o700
PUBLIC_FILE = 0o644
FILE = 0o640
PRIVATE_FILE = 0o600
PROGRAM = 0o755


def make_directory(path: Path, mode: int = DIRECTORY) -> None:
    """Make `path` (its parents must be there) with exactly `mode`; one that is there keeps its own.

    Raises:
        HostError: it can't be made, or is no directory.
    """
    with host_errors("make the directory", path):
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise
            return
        path.chmod(mode)
        sync_directory(path.parent)


def write_file(path: Path, data: bytes, mode: int = FILE) -> bool:
    """Write `data` to `path`, whole and durable or not at all; the mode is set before the name appears.

    Threads may write one file at the same time: it has what one of them wrote, whole.

    Returns:
        Whether anything changed: False when the file has these bytes already (its mode is set all the same).

    Raises:
        HostError: it can't be written.
    """
    with host_errors("write", path):
        if _has(path, data):
            path.chmod(mode)
            return False
        part = path.with_name(f".{path.name}.{get_native_id()}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    return True


def check_new_file(output: Path) -> None:
    """Refuse a file that a person named to be written, and that is there.

    Raises:
        UsageError: it is there, or there is no directory for it.
    """
    if output.exists() or output.is_symlink():
        raise UsageError(f"{output} is there already", hint="choose another name with -o")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: there is no such directory", hint="choose another name with -o")


def _has(path: Path, data: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(data) + 1) == data
    except FileNotFoundError:
        return False


def read_file(path: Path, *, limit: int) -> bytes | None:
    """Return the bytes of a small file, or None when there is none.

    Raises:
        DocumentError: it has more than `limit` bytes.
        HostError: it can't be read.
    """
    with host_errors("read", path):
        try:
            # Without O_NONBLOCK a pipe in the file's place would hang the run.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise HostError(
                        f"cannot read: {path}: it is no regular file", hint="put the file back, or take this away"
                    )
                data = stream.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(data) > limit:
        raise DocumentError(f"{path}: more than {limit} bytes; this is no file of airbundle's")
    return data


def sync_directory(path: Path) -> None:
    """Make names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def existing_parent(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def free_space(path: Path) -> int:
    """Return the bytes that this user may still write on the file system that `path` is, or would be, on."""
    with host_errors("ask for the free space at", path):
        figures = os.statvfs(existing_parent(path))
    return figures.f_bavail * figures.f_frsize
