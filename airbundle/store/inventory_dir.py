"""An inventory with the files beside it: every path that it names is checked before it is read.

What an inventory names is carried away in a bundle. So a path leads nowhere outside its directory, not by a symbolic
link either; only sources that other programs fill (image archives, databases) may lie elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.inventory import INVENTORY_NAME, Inventory, parse_inventory
from airbundle.bundle.lock import LOCK_NAME
from airbundle.bundle.oci import canonical_json
from airbundle.bundle.yamldoc import SIZE_LIMIT
from airbundle.errors import DocumentError, Finding, UsageError

FILE_LIMIT = 100_000
"""Most files below one path of an inventory."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class InventoryDir:
    """An inventory and its directory (absolute, symbolic links resolved)."""

    root: Path
    inventory: Inventory

    def resolve(self, path: str, *, where: str = "") -> Path:
        """Return where a path of the inventory really is.

        Args:
            path: relative to the inventory; absolute only where another program fills it.
            where: the place that names it, for errors.

        Raises:
            DocumentError: it isn't there, or leads out of the directory.
        """
        try:
            real = Path(os.path.realpath(self.root / path))
        except ValueError:  # characters that no path has
            raise _wrong(where, f"{path!r} is not there", expected="a path") from None
        if not Path(path).is_absolute() and not _is_below(real, self.root):
            raise _wrong(where, f"{path!r} leads out of the inventory by a symbolic link", found=str(real))
        if not os.path.exists(real):  # noqa: PTH110 - Path's raises where a name is too long
            raise _wrong(where, f"{path!r} is not there", found="nothing", expected=f"a file or directory at {real}")
        return real

    def file(self, path: str, *, where: str = "") -> Path:
        """Return where a regular file of the inventory really is: reading a pipe would wait for ever.

        Raises:
            DocumentError: as `resolve`, or it is something else.
        """
        real = self.resolve(path, where=where)
        if not real.is_file():
            raise _wrong(where, f"{path!r} is no file", expected="a regular file")
        return real

    def files(self, path: str, *, where: str = "", odd: list[Finding] | None = None) -> list[tuple[str, Path]]:
        """Return the regular files at or below a path as (name relative to it, real path), sorted by name.

        A file itself has the name "". The inventory and its lock do not belong to the directory that they lie in:
        the lock changes with each lock.

        Args:
            path: relative to the inventory.
            where: the place that names it, for errors.
            odd: takes what is wrong with single entries below it, which are left out then; None to raise the first.

        Raises:
            DocumentError: it isn't there, something in it leads out or is no regular file, or it holds too many.
        """
        top = self.resolve(path, where=where)
        if not top.is_dir():
            _check_regular(top, path, where)
            return [("", top)]
        return sorted(self._walk(path, top, where, odd))

    def digest(self) -> str:
        """Return the digest of the inventory's meaning and its own files. Raises as `local_digests`."""
        return self.inventory.digest(self.local_digests())

    def local_digests(self) -> dict[str, str]:
        """Return path → digest of each of the inventory's own files; of a directory: of all names and bytes below it.

        Raises:
            DocumentError: a file it names is missing or leads out; every finding is listed.
        """
        found: dict[str, str] = {}
        findings: list[Finding] = []
        for path, where in self.inventory.own_paths():
            try:
                found[path] = self._digest_of(path, where)
            except DocumentError as error:
                findings += error.findings
        if findings:
            raise DocumentError(f"{self.inventory.where}: files it names can't be used", findings=findings)
        return found

    def _digest_of(self, path: str, where: str) -> str:
        files = [(name, _file_digest(real)) for name, real in self.files(path, where=where)]
        return files[0][1] if files and files[0][0] == "" else sha256(canonical_json(files))

    def _walk(self, path: str, top: Path, where: str, odd: list[Finding] | None) -> Iterator[tuple[str, Path]]:
        def refuse(error: DocumentError) -> None:
            if odd is None:
                raise error
            odd.extend(error.findings)

        def unreadable(error: OSError) -> None:
            name = f"{path}/{Path(error.filename).relative_to(top).as_posix()}".removesuffix("/.")
            refuse(_wrong(where, f"{name!r} can't be read", found=error.strerror or "", expected="a directory"))

        count = 0
        for directory, names, files in os.walk(top, onerror=unreadable, followlinks=False):
            for name in sorted([*names, *files]):
                here = Path(directory, name)
                relative = here.relative_to(top).as_posix()
                try:
                    real = self._entry(here, f"{path}/{relative}", where)
                except DocumentError as error:
                    refuse(error)
                    continue
                if real is None or (here.parent == self.root and here.name in {self.inventory.where, LOCK_NAME}):
                    continue
                count += 1
                if count > FILE_LIMIT:
                    raise _wrong(where, f"{path!r} holds too many files", expected=f"at most {FILE_LIMIT}")
                yield relative, real

    def _entry(self, here: Path, path: str, where: str) -> Path | None:
        """Return where a file really is; None for a directory."""
        real = self.resolve(path, where=where)
        if not real.is_dir():
            _check_regular(real, path, where)
            return real
        if here.is_symlink():
            raise _wrong(where, f"{path} is a link to a directory", expected="the directory")
        return None


def open_inventory(path: Path) -> InventoryDir:
    """Read the inventory in a directory, or in a file of any name.

    Raises:
        UsageError: there is none.
        DocumentError: it does not parse, or names local files that can't be used; every finding is listed.
    """
    file = path / INVENTORY_NAME if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file}: there is no inventory", hint="`airbundle init DIR` writes one to start from")
    with file.open("rb") as stream:
        raw = stream.read(SIZE_LIMIT + 1)
    opened = InventoryDir(Path(os.path.realpath(file.parent)), parse_inventory(raw, where=file.name))
    _check_own(opened)
    return opened


def _check_own(opened: InventoryDir) -> None:
    # Foreign paths are needed only to lock; a build from the lock does without.
    findings: list[Finding] = []
    for path, where in opened.inventory.own_paths():
        try:
            opened.resolve(path, where=where)
        except DocumentError as error:
            findings += error.findings
    if findings:
        raise DocumentError(f"{opened.inventory.where}: files it names can't be used", findings=findings)


def _is_below(path: Path, root: Path) -> bool:
    return path == root or root in path.parents


def _check_regular(real: Path, path: str, where: str) -> None:
    if not stat.S_ISREG(real.stat().st_mode):
        raise _wrong(where, f"{path!r} is neither a file nor a directory", expected="a regular file")


def _file_digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _wrong(where: str, message: str, *, found: str = "", expected: str = "") -> DocumentError:
    finding = Finding(message, where, "local-path", found, expected)
    return DocumentError(str(finding), findings=[finding])
