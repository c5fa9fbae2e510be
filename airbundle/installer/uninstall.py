"""`airbundle uninstall`: take away what install made, and nothing else. What fails is listed, the rest goes on.

What lies outside the state directory is in the journal (`undo`); inside it, only the names that airbundle gives are
taken away. The program that runs goes last: what is imported later would no longer be found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.options import URL
from airbundle.installer.os_trust import OsTrust
from airbundle.installer.program import running_archive
from airbundle.installer.service import Service
from airbundle.installer.state import LAYOUT, Installed, StateDirectory

KEPT = frozenset({"bundles", "ca", "certs"})
"""Directories that `--keep-data` leaves."""

_FILES = ("state.json", "trust.json", "uploads.json", "journal.jsonl", "lock")
_KEPT_FILES = frozenset({"trust.json", "journal.jsonl", "lock"})


@dataclass
class Removed:
    """What was taken away, what is left on purpose, and what could not be taken away."""

    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)


def what_goes(state: StateDirectory, *, keep_data: bool) -> list[str]:
    """Return what an uninstall takes away, for the question before it."""
    found = [name if kind == "file" else f"{kind} {name}" for kind, name in _undo(state)]
    names = [*LAYOUT, *_FILES]
    stays = KEPT | _KEPT_FILES if keep_data else frozenset()
    return found + [str(state.path(name)) for name in names if name not in stays and state.path(name).exists()]


def uninstall(state: StateDirectory, *, keep_data: bool = False) -> Removed:
    """Take everything away.

    Args:
        state: of the site.
        keep_data: leave copies of bundles, the CA, trust, journal, and the volume of a registry's container.

    Raises:
        Busy: another run is under way.
        SiteError: something could not be taken away; lists it.
    """
    if not state.root.exists():
        return Removed()
    with state.locked("airbundle uninstall"):
        installed = _read(state)
        done = _Uninstall(state, installed, keep_data=keep_data).run()
    if not keep_data:
        _end(state, done)
    if done.failed:
        raise SiteError(
            f"{len(done.failed)} things could not be taken away; {len(done.removed)} were",
            findings=done.failed,
            hint="mend what is said, then run `airbundle uninstall` again",
        )
    return done


def _read(state: StateDirectory) -> Installed:
    """Return what is installed; a broken state.json is no reason to stay."""
    try:
        return state.read()
    except AirbundleError:
        return Installed()


def _undo(state: StateDirectory) -> Iterator[tuple[str, str]]:
    try:
        actions: list[Mapping[str, str]] = list(Journal(state.journal).undo())
    except AirbundleError:
        actions = []
    for action in actions:
        for kind, name in action.items():
            if kind != "file" or _is_ours(state, Path(name)):
                yield kind, name


def _is_ours(state: StateDirectory, path: Path) -> bool:
    """Tell whether a file outside the state directory is still the link into it that was made: all of ours are."""
    return path.is_symlink() and state.root in path.readlink().parents


class _Uninstall:
    def __init__(self, state: StateDirectory, installed: Installed, *, keep_data: bool) -> None:
        self._state = state
        self._installed = installed
        self._keep_data = keep_data
        self._done = Removed()

    def run(self) -> Removed:
        """Stop what runs, then take away files, the program last."""
        self._try("the server", Service.of(self._state).remove)
        for kind, name in list(_undo(self._state)):
            if kind == "container":
                self._try(f"container {name}", partial(self._container, name))
            elif kind == "file":
                self._try(name, partial(_unlink, Path(name)))
        if not self._keep_data:
            self._try("the CA in the trust store of the OS", self._os_trust)
        for name in LAYOUT:
            if name != "bin":
                self._directory(name)
        for path in native_caches():
            self._try(str(path), partial(_remove_tree, path))
        if not self._done.failed:
            self._directory("bin")  # else the next attempt needs it
        if self._installed.mode == URL:
            self._done.kept.append(f"what was loaded into {self._installed.registry}")
        if self._keep_data:
            self._file("state.json")
            self._file("uploads.json")
            self._try("", self._note)
            self._done.kept += [str(self._state.path(name)) for name in sorted(_KEPT_FILES - {"lock"})]
        return self._done

    def _note(self) -> bool:
        Journal(self._state.journal).note("uninstall")
        return False

    def _container(self, name: str) -> bool:
        from airbundle.installer.container import remove_container

        return remove_container(name, keep_volume=self._keep_data)

    def _os_trust(self) -> bool:
        return bool(OsTrust(self._state.path("ca", "os-trust.json")).undo().files)

    def _directory(self, name: str) -> None:
        path = self._state.path(name)
        if self._keep_data and name in KEPT:
            if path.exists():
                self._done.kept.append(str(path))
            return
        self._try(str(path), partial(_remove_tree, path))

    def _file(self, name: str) -> None:
        path = self._state.path(name)
        self._try(str(path), partial(_unlink, path))

    def _try(self, what: str, action: Callable[[], bool]) -> None:
        try:
            if action():
                self._done.removed.append(what)
        except AirbundleError as error:
            self._done.failed.append(Finding(error.problem, where=what, hint=error.hint))
        except OSError as error:
            self._done.failed.append(Finding(error.strerror or str(error), where=error.filename or what))


def native_caches() -> list[Path]:
    """Return where the zip application unpacked native code for this user; none where airbundle is a package."""
    if running_archive() is None:
        return []
    from airbundle.bootstrap.native import cache_candidates

    return [path for path in (base / "native" for base in cache_candidates()) if path.is_dir()]


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_tree(path: Path) -> bool:
    """Remove a directory of ours with all in it; a link of that name is removed, not followed."""
    if path.is_symlink():
        return _unlink(path)
    if not path.exists():
        return False
    shutil.rmtree(path)
    if path.name == "native":
        with suppress(OSError):
            path.parent.rmdir()  # unless it holds something else
    return True


def _end(state: StateDirectory, done: Removed) -> None:
    """Take away the files of the state directory and itself, where nothing else lies in it."""
    for name in _FILES:
        if done.failed and name in ("journal.jsonl", "lock"):
            continue  # the next uninstall needs to know
        try:
            if _unlink(state.path(name)):
                done.removed.append(str(state.path(name)))
        except OSError as error:
            done.failed.append(Finding(error.strerror or str(error), where=str(state.path(name))))
    if done.failed:
        return
    try:
        state.root.rmdir()
    except OSError as error:
        left = ", ".join(sorted(path.name for path in state.root.iterdir()))
        done.kept.append(f"{state.root} ({left}): {os.strerror(error.errno or 0)}")
