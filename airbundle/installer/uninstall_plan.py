"""What of this host goes with an uninstall, and in which order; reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from airbundle.errors import AirbundleError
from airbundle.installer.journal import Journal
from airbundle.installer.options import URL
from airbundle.installer.os_trust import OsTrust
from airbundle.installer.program import running_archive
from airbundle.installer.removed import Loss
from airbundle.installer.service import Service
from airbundle.installer.state import LAYOUT, Installed, StateDirectory

KEPT = frozenset({"bundles", "ca", "certs"})
"""Directories that `--keep-data` leaves."""
KEPT_FILES = frozenset({"trust.json", "journal.jsonl", "lock"})
"""Files that it leaves."""
DIRECTORIES = ("bundles", *(name for name in LAYOUT if name not in ("bundles", "bin")))
"""What the state directory has, but for the program: what the registry serves goes first, the program last."""
FILES = ("state.json", "trust.json", "uploads.json", "journal.jsonl", "lock")

SERVER, REGISTRY, STATE = "server", "registry", "state"
_DATA = "--keep-data"


def host_losses(state: StateDirectory, installed: Installed, *, keep_data: bool) -> Iterator[Loss]:
    """Yield what goes and what stays: the server, the registry with its content, files.

    Args:
        state: of this host.
        installed: there.
        keep_data: leave copies of bundles, the CA, trust, journal, and the volume of a registry's container.
    """
    service = Service.of(state)
    if service.exists():
        yield Loss(SERVER, f"the server, {service.describe()}")
    undo = list(undo_of(state))
    for name in (name for kind, name in undo if kind == "container"):
        yield Loss(REGISTRY, f"container {name}")
        if keep_data:
            yield Loss(REGISTRY, f"the volume of container {name}", _DATA)
    if installed.mode == URL:
        yield Loss(REGISTRY, f"what was loaded into {installed.registry}", "it is a registry of others")
    yield from (Loss("files", name) for kind, name in undo if kind == "file")
    if not keep_data and _trusted(state):
        yield Loss("files", "the CA in the trust store of the OS")
    yield from _inside(state, DIRECTORIES, keep_data=keep_data)
    yield from (Loss("files", str(path)) for path in native_caches())
    yield from _inside(state, ("bin", *FILES), keep_data=keep_data)


def _inside(state: StateDirectory, names: Iterable[str], *, keep_data: bool) -> Iterator[Loss]:
    for name in names:
        path, stays = state.path(name), keep_data and name in KEPT | KEPT_FILES
        if path.exists():
            part = REGISTRY if name == "bundles" else STATE
            yield Loss(part, str(path), _DATA if stays else "")


def _trusted(state: StateDirectory) -> bool:
    try:
        return bool(OsTrust(state.path("ca", "os-trust.json")).installed)
    except AirbundleError:
        return True  # whatever it is: the run says why it can't be taken away


def undo_of(state: StateDirectory) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what the host's journal says was made outside the state directory, newest first."""
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


def native_caches() -> list[Path]:
    """Return where the zip application unpacked native code for this user; none where airbundle is a package."""
    if running_archive() is None:
        return []
    from airbundle.bootstrap.native import cache_candidates

    return [path for path in (base / "native" for base in cache_candidates()) if path.is_dir()]
