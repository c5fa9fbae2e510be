"""The files that a build writes beside each other: whether they can take their names, and what earlier builds left."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from airbundle.errors import UsageError
from airbundle.store.checksum import checksum_path, signature_path
from airbundle.store.host import host_errors
from airbundle.store.volumes import volume_name

PARTIAL = ".partial"


def check_output(out: Path, names: Sequence[str]) -> None:
    """Check that files can be written under their final names: a build that can't end must not begin.

    Args:
        out: the bundle's path; for volumes, without their number.
        names: of the file, or of the volumes.

    Raises:
        UsageError: there is no such directory, or something there is in the way.
    """
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: there is no such directory", hint=f"mkdir -p {out.parent}")
    if any(ord(char) < 32 or ord(char) == 127 for char in out.name):
        raise UsageError(f"{out.name!r}: the name holds control characters", hint="choose a plain name with -o")
    for path in (*(out.with_name(name) for name in names), checksum_path(out), signature_path(out)):
        with host_errors("look at", path):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
        if stat.S_ISLNK(mode) and not path.exists():
            raise UsageError(
                f"{path} is a symbolic link to {path.readlink()}, which is not there",
                hint="mount or make what it leads to, or choose another name with -o",
            )
        # Another link is replaced, not followed; what is no file would be destroyed, or be in the way at the end.
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
            raise UsageError(f"{path} is {kind}; expected a file to write", hint="choose another name with -o")


def remove_partials(out: Path) -> None:
    """Remove what an earlier, different build to the same output left."""
    pattern = re.compile(re.escape(out.name) + r"(\.[0-9]{3,})?" + re.escape(PARTIAL))
    _remove(out, (name for name in _listing(out) if pattern.fullmatch(name)))


def remove_surplus_volumes(out: Path, count: int) -> None:
    """Remove the volumes that an earlier build under the same name had beyond `count`; they belong to nothing.

    Only those that follow without a gap: what else ends with a number may be somebody's copy, named by a date.
    """
    there = set(_listing(out))
    surplus: list[str] = []
    while (name := volume_name(out.name, count + len(surplus) + 1)) in there:
        surplus.append(name)
    _remove(out, reversed(surplus))  # what a run leaves that is cut off, the next one finds without a gap


def _listing(out: Path) -> list[str]:
    with host_errors("list", out.parent):
        return os.listdir(out.parent)


def _remove(out: Path, names: Iterable[str]) -> None:
    for name in names:
        with host_errors("remove", out.with_name(name)):
            out.with_name(name).unlink(missing_ok=True)
