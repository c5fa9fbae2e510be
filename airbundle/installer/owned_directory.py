"""A directory whose files are ours alone: a second writing changes only what differs, and takes away what is gone.

An index in it says what is ours, so that nothing of others is ever touched. Such a directory may lie in a repository,
where what changes is what will be deployed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Pattern

from airbundle.errors import Busy, UsageError
from airbundle.installer.files import DIRECTORY, FILE, make_directory, read_file, write_file
from airbundle.store.host import host_errors

_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Written:
    """What changed in a directory: files written and taken away, by their paths in it, sorted."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class OwnedFile:
    """A file as it is to be."""

    data: bytes
    mode: int = FILE


@dataclass(frozen=True)
class OwnedDirectory:
    """A directory of one kind.

    Attributes:
        path: the directory.
        index: name of the file that says what is ours; its `kind` is `kind`, its `files` are our paths.
        kind: such as `Render`.
        ours: paths that can be ours, besides the index.
        command: who writes it, for people.
    """

    path: Path
    index: str
    kind: str
    ours: Pattern[str]
    command: str

    def check(self) -> None:
        """See that it may be written: it is new, empty, or of an earlier writing.

        Raises:
            UsageError: it is something else.
            HostError: it can't be read.
        """
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise UsageError(f"{self.path}: {self.path.parent} is not there", hint="make it first")
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is no directory", hint="name another one")
        with host_errors("read", self.path):
            others = any(not _is_part(path.name) for path in self.path.iterdir())
            foreign = others and not (self.path / self.index).is_file()
        if foreign:
            raise UsageError(
                f"{self.path} holds files of others: there is no {self.index} of an earlier {self.command}",
                hint="name a new directory, or an empty one",
            )
        self.earlier()

    def write(self, files: Mapping[str, OwnedFile], body: Mapping[str, Any], mode: int = DIRECTORY) -> Written:
        """Write the files; what is ours and not among them is taken away.

        Args:
            files: path → file.
            body: what the index says besides `files`.
            mode: of new directories.

        Raises:
            Busy: somebody else is writing it.
            UsageError: a directory in it is a link.
            HostError: it can't be written; the same command goes on.
        """
        with host_errors("write", self.path):
            make_directory(self.path, mode)
        with self._locked(), host_errors("write", self.path):
            before = self.earlier()
            self._check_links({*files, *before})
            self._remove_parts({*files, *before})
            # Until the new list is there, the old one and this one together say what is ours.
            self._say(body, {*files, *before})
            written = [path for path, file in sorted(files.items()) if self._write(path, file, mode)]
            removed = [path for path in sorted(before - files.keys()) if self._remove(path)]
            self._say(body, set(files))
        return Written(tuple(written), tuple(removed))

    def earlier(self) -> set[str]:
        """Return the files that the index says are ours; nothing where there is none.

        Raises:
            UsageError: it is not as we write it.
        """
        raw = read_file(self.path / self.index, limit=_LIMIT)
        if raw is None:
            return set()
        try:
            body = json.loads(raw)
            files = body["files"] if body["kind"] == self.kind else None
            found = {path for path in files or () if self.ours.fullmatch(path)}
        except (ValueError, KeyError, TypeError, RecursionError):
            files, found = None, set()
        if files is None or len(found) != len(files):
            raise UsageError(
                f"{self.path / self.index} is not as `airbundle {self.command}` writes it",
                hint="name another directory",
            )
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the directory's lock: what two write at once no list would tell. It leaves no file there."""
        with host_errors("lock", self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with host_errors("lock", self.path):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Busy(
                        f"{self.path}: another {self.command} is writing it",
                        hint="wait until it ends, then run this again",
                    ) from None
            yield
        finally:
            os.close(descriptor)

    def _say(self, body: Mapping[str, Any], files: set[str]) -> None:
        whole = {**body, "files": sorted(files)}
        write_file(self.path / self.index, json.dumps(whole, indent=2, ensure_ascii=False).encode() + b"\n", FILE)

    def _parents(self, path: str) -> Iterator[Path]:
        """Yield the directories of a file below ours, the deepest first."""
        parent = (self.path / path).parent
        while parent != self.path:
            yield parent
            parent = parent.parent

    def _check_links(self, paths: set[str]) -> None:
        links = sorted({parent for path in paths for parent in self._parents(path) if parent.is_symlink()})
        if links:
            raise UsageError(f"{links[0]} is a link, which is not followed", hint="take it away")

    def _remove_parts(self, paths: set[str]) -> None:
        """Take away what a run that was killed could not finish."""
        names = {path.rpartition("/")[2] for path in paths} | {self.index}
        for place in {self.path, *((self.path / path).parent for path in paths)}:
            for part in place.iterdir() if place.is_dir() else ():
                if _is_part(part.name) and part.name[1:].rsplit(".", 2)[0] in names:
                    part.unlink()

    def _write(self, path: str, file: OwnedFile, mode: int) -> bool:
        for parent in reversed(list(self._parents(path))):
            make_directory(parent, mode)
        return write_file(self.path / path, file.data, file.mode)

    def _remove(self, path: str) -> bool:
        file = self.path / path
        if not file.is_file():
            return False
        file.unlink()
        for parent in self._parents(path):
            if any(parent.iterdir()):
                break
            parent.rmdir()
        return True


def _is_part(name: str) -> bool:
    """Tell whether a name is one that `write_file` gives to what it has not finished."""
    return re.fullmatch(r"\..+\.[0-9]+\.part", name) is not None
