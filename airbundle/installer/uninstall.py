"""`airbundle uninstall`: take away what install made, and nothing else. What fails is listed, the rest goes on.

What lies outside the state directory is in the journal (`undo`); inside it, only the names that airbundle gives are
taken away. The program that runs goes last: what is imported later would no longer be found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

from airbundle.bundle.sizes import counted
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.options import URL
from airbundle.installer.os_trust import OsTrust
from airbundle.installer.prune import drop_bundle, dropped_lines, plan_drop
from airbundle.installer.removed import Loss, Removed
from airbundle.installer.service import Service
from airbundle.installer.site.leave import LeavingSites
from airbundle.installer.site.leaving import Leaving, check_bundle, drops_content, needed_by
from airbundle.installer.site.site_state import sites_of
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.uninstall_plan import DIRECTORIES, FILES, KEPT, KEPT_FILES, host_losses, native_caches, undo_of
from airbundle.progress import SILENT, Phase, Reporter


def what_goes(
    state: StateDirectory, *, keep_data: bool, leaving: Leaving | None = None, reporter: Reporter = SILENT
) -> list[Loss]:
    """Return what an uninstall takes away and what it leaves, in that order; changes nothing.

    Args:
        state: of this host.
        keep_data: see `uninstall`.
        leaving: the sites that are left; None: all, without their clusters.
        reporter: gets warnings and long waits.

    Raises:
        UsageError: there is no such bundle.
        SiteError, RemoteError: a site's cluster can't be reached (`unchanged`).
    """
    leaving = leaving or Leaving(sites_of(state), keep_cluster=True)
    installed = _read(state)
    check_bundle(leaving, installed)
    lost = list(LeavingSites(state, leaving, reporter).losses())
    stays = needed_by(state, leaving, installed)
    if not stays:
        return [*lost, *host_losses(state, installed, keep_data=keep_data)]
    if not keep_data and drops_content(state, leaving):
        pruning = plan_drop(state, leaving.bundle, reporter)
        lost += [Loss("registry", line) for line in dropped_lines(pruning, done=False)]
    return [*lost, Loss("registry", "registry and server", f"{stays[0]} need them: {stays[1]}")]


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
        reporter: is told of each part as it begins and ends.

    Raises:
        UsageError: there is no such bundle.
        Busy: another run is under way.
        SiteError: something could not be taken away; lists it.
    """
    if not state.root.exists():
        return Removed()
    with state.locked("airbundle uninstall"):
        leaving = leaving or Leaving(sites_of(state), keep_cluster=True)
        installed = _read(state)
        check_bundle(leaving, installed)
        whole = {site.name for site in leaving.affected if leaving.whole(site)}
        stays, drops = needed_by(state, leaving, installed), not keep_data and drops_content(state, leaving)
        done = LeavingSites(state, leaving, reporter).run()
        left = any(site.root.exists() for site in leaving.sites if site.name in whole)
        if stays:
            if drops and not done.failed:
                _drop(state, leaving.bundle, done, reporter)
            done.kept.append(f"registry and server, which {stays[0]} need: {stays[1]}")
        elif done.failed:
            done.kept.append("registry, server and program, until all is taken back at the site")
        else:
            with reporter.phase("uninstall") as phase:
                done.add(_Uninstall(state, installed, reporter, phase, keep_data=keep_data).run())
    if not stays and not left and not keep_data:
        _end(state, done)
    if done.failed:
        raise SiteError(
            f"{counted(len(done.failed), 'thing')} could not be taken away; {len(done.removed)} were",
            findings=done.failed,
            hint="mend what is said, then run the same command again",
        )
    return done


def _drop(state: StateDirectory, bundle: str, done: Removed, reporter: Reporter) -> None:
    """Take away what only a bundle has on this host and in the registry."""

    def run() -> bool:
        pruning = drop_bundle(state, bundle, reporter)
        done.removed += dropped_lines(pruning, done=True)
        done.kept += pruning.warnings
        return False

    with reporter.phase("uninstall") as phase, done.told(reporter, phase, f"registry: {bundle}"):
        done.attempt(f"registry: {bundle}", run)


def _read(state: StateDirectory) -> Installed:
    """Return what is installed; a broken state.json is no reason to stay."""
    try:
        return state.read()
    except AirbundleError:
        return Installed()


class _Uninstall:
    def __init__(
        self, state: StateDirectory, installed: Installed, reporter: Reporter, phase: Phase, *, keep_data: bool
    ) -> None:
        self._state = state
        self._installed = installed
        self._reporter = reporter
        self._phase = phase
        self._keep_data = keep_data
        self._done = Removed()

    def run(self) -> Removed:
        """Stop what runs, then take away files, the program last."""
        with self._told("server"):
            self._try("the server", Service.of(self._state).remove)
        undo = list(undo_of(self._state))
        for name in (name for kind, name in undo if kind == "container"):
            with self._told(f"container {name}"):
                self._try(f"container {name}", partial(self._container, name))
        with self._told("files"):
            for name in (name for kind, name in undo if kind == "file"):
                self._try(name, partial(_unlink, Path(name)))
            self._files()
        return self._done

    def _told(self, name: str) -> AbstractContextManager[None]:
        return self._done.told(self._reporter, self._phase, name)

    def _files(self) -> None:
        if not self._keep_data:
            self._try("the CA in the trust store of the OS", self._os_trust)
        for name in DIRECTORIES:
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
            self._done.kept += [str(self._state.path(name)) for name in sorted(KEPT_FILES - {"lock"})]

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
    for name in FILES:
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
