"""The installed program: what serves after the bundle's disk is gone, and what checks the next bundle (design §6).

Out of a zip, `bin/airbundle.pyz` gets the zip's own bytes: of a bundle that runs, the installer at its end. Where
airbundle is installed as a Python package, that package is used.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import airbundle
from airbundle.bundle.digest import sha256
from airbundle.errors import UsageError, VerificationError
from airbundle.installer.files import PROGRAM, PUBLIC_FILE, sync_directory, write_file
from airbundle.installer.state import StateDirectory
from airbundle.store.host import host_errors

LINK = Path("/usr/local/bin/airbundle")
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Program:
    """How the installed airbundle is run.

    Attributes:
        command: the beginning of its command line.
        environment: what must be set for it.
        digest: changes when the program changes: then what runs has to be started again.
        changed: whether this run installed it.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    digest: str
    changed: bool


def running_archive() -> Path | None:
    """Return the zip application, or the bundle, that runs; None when airbundle is installed as a package."""
    archive = getattr(airbundle.__loader__, "archive", None)
    return Path(archive) if isinstance(archive, str) else None


def running_command() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the command line that begins this very program once more, and what must be set for it."""
    archive = running_archive()
    if archive is not None:
        return (sys.executable, str(archive.absolute())), ()
    return (sys.executable, "-m", "airbundle"), (("PYTHONPATH", str(Path(airbundle.__file__).parent.parent)),)


def files_outside(state: StateDirectory) -> list[Path]:
    """Return the files that `install_program` makes outside the state directory."""
    return [LINK] if _wants_link(state) else []


def install_program(state: StateDirectory, archive: Path | None = None) -> Program:
    """Install what runs into the state directory.

    Args:
        state: the directory; its lock is held.
        archive: the zip application or bundle that runs; by default found out.

    Raises:
        VerificationError: what runs has changed since it was started.
        HostError: it can't be written.
    """
    archive = archive or running_archive()
    directory = state.directory("bin")
    if archive is None:
        command, environment = running_command()
        digest, changed = f"{airbundle.__version__} {environment[0][1]}", False
    else:
        target = directory / "airbundle.pyz"
        digest, changed = _install_zip(archive, target)
        command, environment = (sys.executable, str(target)), ()
    _write_wrapper(state, directory / "airbundle", command, environment)
    return Program(command, environment, sha256(f"{command} {digest}".encode()), changed)


def _install_zip(archive: Path, target: Path) -> tuple[str, bool]:
    """Copy the zip at the end of `archive`; return its digest, and whether anything changed."""
    with host_errors("read", archive), archive.open("rb") as source:
        start = _zip_start(source, archive)
        digest = _digest(source, start)
        with host_errors("write", target):
            if target.is_file():
                with target.open("rb") as present:
                    if _digest(present, 0) == digest:
                        target.chmod(PUBLIC_FILE)
                        return digest, False
            _copy(source, start, digest, target)
    return digest, True


def _zip_start(source: IO[bytes], archive: Path) -> int:
    """Return where the zip begins: at the first byte of a zip application, after the tar of a bundle."""
    try:
        with zipfile.ZipFile(source) as container:
            return min(info.header_offset for info in container.infolist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise VerificationError(f"{archive}: holds no zip application any more: {error}") from None


def _copy(source: IO[bytes], start: int, digest: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    hasher = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(partial, flags, 0o600), "wb") as stream:
            for data in _pieces(source, start):
                hasher.update(data)
                stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), PUBLIC_FILE)
            os.fsync(stream.fileno())
        if "sha256:" + hasher.hexdigest() != digest:
            raise VerificationError(f"{source.name}: its installer changed while it was copied")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(target.parent)


def _digest(source: IO[bytes], start: int) -> str:
    hasher = hashlib.sha256()
    for data in _pieces(source, start):
        hasher.update(data)
    return "sha256:" + hasher.hexdigest()


def _pieces(source: IO[bytes], start: int) -> Iterator[bytes]:
    source.seek(start)
    while data := source.read(_CHUNK):
        yield data


def _write_wrapper(
    state: StateDirectory, path: Path, command: tuple[str, ...], environment: tuple[tuple[str, str], ...]
) -> None:
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment)
    text = f'#!/bin/sh\n# Written by `airbundle install`.\n{settings}exec {shlex.join(command)} "$@"\n'
    write_file(path, text.encode(), PROGRAM)
    if _wants_link(state) and not LINK.is_symlink():
        with host_errors("link", LINK):
            LINK.symlink_to(path)


def _wants_link(state: StateDirectory) -> bool:
    """Tell whether `airbundle` goes on the PATH: as root, in the default place, where nothing else has the name."""
    if os.geteuid() != 0 or not state.is_default or not LINK.parent.is_dir():
        return False
    ours = state.path("bin", "airbundle")
    return LINK.readlink() == ours if LINK.is_symlink() else not LINK.exists()


def check_not_older(installed: str) -> None:
    """Refuse to change what a newer airbundle manages.

    Args:
        installed: the version that wrote the state; empty where there is none.

    Raises:
        UsageError: it is newer than this one.
    """
    if _numbers(installed) > _numbers(airbundle.__version__):
        raise UsageError(
            f"airbundle {installed} manages this site, and this one is {airbundle.__version__}",
            hint="run the installed one: `bin/airbundle` in the state directory",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version for comparison: what follows them (`.dev3`, `rc1`) does not count."""
    found = []
    for part in version.split("."):
        if not part.isascii() or not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
