"""`airbundle uninstall`: take away what install made, and nothing else. What fails is listed, the rest goes on.

What lies outside the state directory is in the journal (`undo`); inside it, only the names that airbundle gives are
taken away. The program that runs goes last: what is imported later would no longer be found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from airbundle.bundle.sizes import counted
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.options import URL
from airbundle.installer.os_trust import OsTrust
from airbundle.installer.program import running_archive
from airbundle.installer.removed import Removed
from airbundle.installer.service import Service
from airbundle.installer.site.leave import Leaving, leave_sites, others_left, what_sites_lose
from airbundle.installer.site.site_state import sites_of
from airbundle.installer.state import LAYOUT, Installed, StateDirectory
from airbundle.progress import SILENT, Reporter

KEPT = frozenset({"bundles", "ca", "certs"})
"""Directories that `--keep-data` leaves."""

_FILES = ("state.json", "trust.json", "uploads.json", "journal.jsonl", "lock")
_KEPT_FILES = frozenset({"trust.json", "journal.jsonl", "lock"})


def what_goes(state: StateDirectory, *, keep_data: bool, leaving: Leaving | None = None) -> list[str]:
    """Return what an uninstall takes away, for the question before it.

    Args:
        state: of this host.
        keep_data: see `uninstall`.
        leaving: the sites that are left; None: all, without their clusters.

    Raises:
        SiteError, RemoteError: a site's cluster can't be reached (`unchanged`).
    """
    leaving = leaving or Leaving(sites_of(state), keep_cluster=True)
    lost = list(what_sites_lose(leaving))
    return lost if others_left(state, leaving) else lost + _host_goes(state, keep_data=keep_data)


def _host_goes(state: StateDirectory, *, keep_data: bool) -> list[str]:
    found = [name if kind == "file" else f"{kind} {name}" for kind, name in _undo(state)]
    names = [*LAYOUT, *_FILES]
    stays = KEPT | _KEPT_FILES if keep_data else frozenset()
    return found + [str(state.path(name)) for name in names if name not in stays and state.path(name).exists()]


def uninstall(
    state: StateDirectory,
    *,
    keep_data: bool = False,
    leaving: Leaving | None = None,
    reporter: Reporter = SILENT,
) -> Removed:
    """Take back what was made at sites, and then, unless others are left, what was made on this host.

    What a site's cluster still has of ours needs the registry, and this host to take it back: as long as something
    there could not be taken back, the host's part stays.

    Args:
        state: of this host.
        keep_data: leave copies of bundles, the CA, trust, journal, and the volume of a registry's container.
        leaving: the sites that are left; None: all, without their clusters.
        reporter: gets warnings and long waits.

    Raises:
        Busy: another run is under way.
        SiteError: something could not be taken away; lists it.
    """
    if not state.root.exists():
        return Removed()
    with state.locked("airbundle uninstall"):
        leaving = leaving or Leaving(sites_of(state), keep_cluster=True)
        done = leave_sites(state, leaving, reporter)
        stays = others_left(state, leaving)
        if stays:
            done.kept.append(f"registry and server, which other sites need: {', '.join(stays)}")
        elif done.failed:
            done.kept.append("registry, server and program, until all is taken back at the site")
        else:
            done.add(_Uninstall(state, _read(state), keep_data=keep_data).run())
    whole = not stays and not any(site.root.exists() for site in leaving.sites)
    if whole and not keep_data:
        _end(state, done)
    if done.failed:
        raise SiteError(
            f"{counted(len(done.failed), 'thing')} could not be taken away; {len(done.removed)} were",
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
        self._done.attempt(what, action)


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
