"""Where what the operating system says becomes our own errors, and the one way small files are replaced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airbundle.errors import HostError, NoPermission, NoSpace, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def host_errors(operation: str, path: object) -> Iterator[None]:
    """Translate an OSError inside the block.

    Args:
        operation: what was tried, as in "cannot <operation>".
        path: the file or directory it was tried on; the error's own file name is preferred.

    Raises:
        NoSpace: the file system or the quota is full.
        NoPermission: this user may not, or the file system is read-only.
        HostError: anything else that the system refuses.
    """
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        text = f"cannot {operation}: {where}: {error.strerror or error}"
        if error.errno in _FULL:
            raise NoSpace(text, hint=f"free space on the file system of {path}, then run the command again") from error
        if error.errno == errno.EROFS:
            raise NoPermission(text, hint="choose a directory on a file system that can be written") from error
        if error.errno in _FORBIDDEN:
            raise NoPermission(text, hint="run as a user who may, or choose another directory") from error
        raise HostError(text) from error


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file that a person named, of which there may be `limit`.

    A link to one is as good. A pipe would make us wait, perhaps for ever, and give its bytes only once.

    Raises:
        UsageError: there are more.
        HostError: it can't be read, or is no regular file.
    """
    with host_errors("read", path), open(path, "rb", opener=_at_once) as file:
        _check_regular(file.fileno(), path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"{path}: more than the {limit} bytes allowed")
    return data


def read_kept(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a file that airbundle keeps for itself; a pipe in its place makes nobody wait.

    Raises:
        OSError: as the system says; callers do without.
    """
    with open(path, "rb", opener=_at_once) as file:
        return file.read(limit)


def _check_regular(descriptor: int, path: Path) -> None:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        found = "a pipe" if stat.S_ISFIFO(mode) else "a device"
        raise HostError(
            f"cannot read: {path}: found {found}, expected a regular file", hint="put what it gives into a file"
        )


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def write_atomically(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Put `data` at `path` in one step: readers see the old bytes or the new ones. The mode is set despite the umask.

    Args:
        path: what is replaced.
        data: the new bytes.
        mode: permission bits.
        owner: user and group; by default those of this process.

    Raises:
        OSError: as the system says; callers translate with `host_errors`.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            status = os.fstat(descriptor)
            if owner is not None and owner != (status.st_uid, status.st_gid):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def private_directory(path: Path) -> None:
    """Make sure that `path` is a directory; one that is made now is for this user alone, whatever the umask.

    Raises:
        OSError: as the system says; callers translate with `host_errors`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(0o700)
