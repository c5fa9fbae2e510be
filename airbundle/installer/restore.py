"""`airbundle state restore`: a state directory out of a backup, made beside its place and put there in one step."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from airbundle.crypto.sealed import OVERHEAD, SEALED_LIMIT, check_sealed, unseal
from airbundle.errors import NoPermission, UsageError
from airbundle.installer import lock
from airbundle.installer.backup_format import Backup, file_mode
from airbundle.installer.files import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    PUBLIC_DIRECTORY,
    make_directory,
    sync_directory,
    write_file,
)
from airbundle.installer.journal import Journal
from airbundle.installer.program import check_not_older
from airbundle.installer.state import LAYOUT, StateDirectory, make_parents
from airbundle.installer.verify import read_trust
from airbundle.store.host import host_errors, read_bounded

COMMAND = "airbundle state restore"
_NATIVE = "cache"  # the zip application may have unpacked native code there before anything else is
_SHOWN = 5
_OTHER_MODES = {"ca/servers": PRIVATE_DIRECTORY, "certs/registry": PUBLIC_DIRECTORY}


def open_backup(path: Path, passphrase: Callable[[], bytes]) -> Backup:
    """Read a backup.

    Args:
        path: the file.
        passphrase: asked when the file is whole.

    Raises:
        VerificationError: it is damaged, cut off, or no backup.
        UsageError: there is no such file; the passphrase is wrong; a newer airbundle made it.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file", hint="name what `airbundle state backup` wrote")
    data = read_bounded(path, SEALED_LIMIT + OVERHEAD)
    check_sealed(data, what=str(path))
    return Backup.parse(unseal(data, passphrase(), what=str(path)), what=str(path))


def check_place(state: StateDirectory) -> None:
    """Check that nothing is where the state is to be.

    Raises:
        UsageError: something is; says what.
        Busy: a run is under way there.
    """
    root = state.root
    with host_errors("look into", root):
        if not root.exists():
            return
        names = {path.name for path in root.iterdir()} - {_NATIVE, "lock"}
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
            raise UsageError(
                f"{root}: is not empty, there is {shown}; a backup takes the place of nothing",
                hint="`airbundle uninstall` takes a site away; or name another directory with --state-dir",
            )
        if os.path.ismount(root):
            raise UsageError(
                f"{root}: is a mount point, which can't be put in place in one step",
                hint="restore to a directory on that file system, or mount it one level above",
            )
    state.check_free()


def restore(backup: Backup, state: StateDirectory, *, source: str) -> None:
    """Make the state directory as the backup has it. Killed at any time, it is there as a whole or not at all.

    Args:
        backup: read and checked.
        state: whose place is empty.
        source: where the backup was read from, for the journal.

    Raises:
        UsageError: the place is not empty; a newer airbundle managed the site.
        DocumentError, TrustError: a file of the backup does not parse.
        Busy: another run is under way.
        HostError: it can't be written; then nothing is left.
    """
    check_place(state)
    place = state.root.resolve()  # where a link leads to
    make_parents(place)
    part = place.with_name(f".{place.name}.restore")
    _make_private(part)
    with lock.exclusive(part / "lock", COMMAND), _gone_on_failure(part):
        _clear(part)
        _write(part, backup)
        made = StateDirectory(part)
        check_not_older(made.read().program)
        read_trust(made)
        Journal(made.journal).read()
        info = {"from": source, "created": backup.created, "host": backup.host, "root": backup.root}
        Journal(made.journal).note("restore", info=info)
        _own(part)
        check_place(state)
        _put(part, place)


def _make_private(part: Path) -> None:
    """Make the directory that keys are written to; one of somebody else is refused."""
    make_directory(part, PRIVATE_DIRECTORY)
    with host_errors("look at", part):
        found = part.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise NoPermission(f"{part} belongs to another user", hint="take it away, or restore to another directory")
        part.chmod(PRIVATE_DIRECTORY)


@contextmanager
def _gone_on_failure(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _clear(part: Path) -> None:
    """Take away what a run that was killed has left."""
    with host_errors("take away", part):
        for path in part.iterdir():
            if path.name == "lock":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _write(part: Path, backup: Backup) -> None:
    for name, data in backup.files.items():
        directory = Path(name).parent
        for above in [*reversed(directory.parents), directory]:
            if above.name:
                make_directory(part / above, _directory_mode(above.as_posix()))
        write_file(part / name, data, file_mode(name) or PRIVATE_FILE)


def _directory_mode(name: str) -> int:
    if name in LAYOUT:
        return LAYOUT[name]
    return PRIVATE_DIRECTORY if name.startswith("sites/") else _OTHER_MODES[name]


def _own(part: Path) -> None:
    """Give all of it to this user and group, also where a directory above hands its own group down."""
    owner = (os.geteuid(), os.getegid())
    with host_errors("set the owner of", part):
        for path in [part, *part.rglob("*")]:
            found = path.lstat()
            if (found.st_uid, found.st_gid) != owner:
                os.chown(path, *owner, follow_symlinks=False)


def _put(part: Path, place: Path) -> None:
    """Put `part` in its place."""
    native = place / _NATIVE
    moved = native.is_dir() and not native.is_symlink()
    try:
        with host_errors("put the state in place at", place):
            if place.exists():
                with lock.exclusive(place / "lock", COMMAND):
                    (place / "lock").unlink()
            if moved:
                native.rename(part / _NATIVE)
            part.chmod(PUBLIC_DIRECTORY)
            _rename(part, place)
            sync_directory(place.parent)
    except BaseException:
        with suppress(OSError):
            (part / _NATIVE).rename(native)
        raise


def _rename(part: Path, place: Path) -> None:
    try:
        part.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UsageError(f"{place}: another run has just begun there", hint="look what is there") from None
        raise
