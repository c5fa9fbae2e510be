"""`airbundle state backup`: what a dead host would take with it, sealed with a passphrase (docs/support.md).

Left out is what can be made or fetched again: copies of bundles (which are named), the program, logs, uploads.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import airbundle
from airbundle.bundle.trust import TrustState
from airbundle.crypto.sealed import seal
from airbundle.errors import DocumentError, UsageError
from airbundle.installer.backup_format import CONTENT_LIMIT, BackedUp, Backup, file_mode
from airbundle.installer.ca import SiteCa
from airbundle.installer.files import PRIVATE_FILE, check_new_file, read_file, write_file
from airbundle.installer.journal import Journal
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.verify import read_trust

_PLACES = ("*", "server/*", "certs/*", "certs/registry/*", "ca/*", "ca/servers/*", "sites/*/*", "sites/*/*/*")


def back_up(state: StateDirectory) -> Backup:
    """Read what is to be kept of a state directory; its lock is held meanwhile.

    Raises:
        UsageError: there is nothing to keep; the CA lacks one of its files.
        DocumentError, TrustError: a file is damaged: a backup of it would take the place of a good one.
        Busy: another run is under way.
        HostError: a file can't be read.
    """
    check_something(state)
    with state.locked("airbundle state backup"):
        installed, trust = state.read(), read_trust(state)
        Journal(state.journal).read()
        _check_ca(state)
        return Backup(
            created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            program=airbundle.__version__,
            host=platform.node(),
            root=str(state.root),
            bundles=tuple(_bundles(installed, trust)),
            outside=tuple(path for path in (installed.registries, installed.login) if path),
            files=_read(state),
        )


def check_something(state: StateDirectory) -> None:
    """Check that there is something to keep; makes nothing.

    Raises:
        UsageError: there isn't.
    """
    if not _names(state):
        raise UsageError(
            f"{state.root}: there is nothing here to back up", hint="--state-dir names the state directory of the site"
        )


def write_backup(backup: Backup, passphrase: bytes, output: Path) -> int:
    """Seal a backup and write it, 0600, whole or not at all.

    Returns:
        How many bytes it has.

    Raises:
        UsageError: the passphrase is empty; there is a file of that name.
        HostError: it can't be written.
    """
    check_new_file(output)
    data = seal(backup.to_bytes(), passphrase)
    write_file(output, data, PRIVATE_FILE)
    return len(data)


def _names(state: StateDirectory) -> list[str]:
    found = (path.relative_to(state.root).as_posix() for place in _PLACES for path in state.root.glob(place))
    return sorted(name for name in found if file_mode(name) is not None and state.path(name).is_file())


def _read(state: StateDirectory) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = CONTENT_LIMIT
    for name in _names(state):
        data = read_file(state.path(name), limit=left)
        if data is not None:
            files[name] = data
            left -= len(data)
    return files


def _check_ca(state: StateDirectory) -> None:
    ca = SiteCa.of(state)
    if ca.exists and ca.state.generation:
        ca.files.chain(ca.state)
        if not ca.files.read(ca.files.issuer(ca.state.generation, "key")):
            raise DocumentError(f"{ca.files.directory}: the CA's key is empty", hint="restore it from a backup")


def _bundles(installed: Installed, trust: TrustState | None) -> Iterator[BackedUp]:
    """Yield what is installed, the oldest first: each is to come after what it may build on, and the newest counts."""
    for bundle in sorted(installed.bundles, key=lambda each: each.serial):
        seen = trust.seen.get(bundle.name) if trust else None
        older = seen is not None and bundle.serial < seen.serial
        yield BackedUp(bundle.name, bundle.version, bundle.serial, bundle.statement, older)
