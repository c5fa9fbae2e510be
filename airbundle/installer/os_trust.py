"""The OS trust store: CA certificates go in, what was done is recorded, and can be undone (docs/ca.md).

Three families of stores are known. A certificate lies in the family's directory for local anchors under a name that
has its fingerprint; the family's own program makes the rest from it. Nothing else of the host is touched.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.crypto.certificate import fingerprint, load_chain, to_pem
from airbundle.crypto.keyfile import KEY_FILE_LIMIT
from airbundle.errors import DocumentError, HostError, NoPermission, UsageError
from airbundle.installer.files import FILE, PUBLIC_FILE, read_file, write_file
from airbundle.store.host import host_errors

HOST = Path("/")
_PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIMIT_SECONDS = 120
_BUNDLE_LIMIT = 16 * 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """One family of trust stores.

    Attributes:
        name: for people and for the record.
        anchors: directory of local anchors, absolute.
        command: what makes the rest from them.
        after_removal: further arguments when certificates went.
        bundle: file with all certificates; the program leaves it as it is when none is left at all.
        moved: further arguments where the root is not `/` and the program is this host's; `{root}` stands for it.
    """

    name: str
    anchors: str
    command: tuple[str, ...]
    after_removal: tuple[str, ...] = ()
    bundle: str = ""
    moved: tuple[str, ...] = ()


STORES = (
    # Fedora and RHEL have had the name of Debian's program, too: the directories decide, in this order.
    Store("RHEL", "/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract")),
    Store("SUSE", "/etc/pki/trust/anchors", ("update-ca-certificates",)),
    Store(
        "Debian",
        "/usr/local/share/ca-certificates",
        ("update-ca-certificates",),
        after_removal=("--fresh",),  # else links to what went stay, dangling
        bundle="/etc/ssl/certs/ca-certificates.crt",
        moved=(
            *("--certsconf", "{root}/etc/ca-certificates.conf", "--certsdir", "{root}/usr/share/ca-certificates"),
            *("--localcertsdir", "{root}/usr/local/share/ca-certificates", "--etccertsdir", "{root}/etc/ssl/certs"),
            *("--hooksdir", "{root}/etc/ca-certificates/update.d"),
        ),
    ),
)


@dataclass(frozen=True)
class Change:
    """What was done to the OS trust store.

    Attributes:
        store: the family.
        files: certificate files that came or went.
        command: the program that was run, empty when nothing had to be done.
        kept: files that somebody else has changed since, which were therefore left.
    """

    store: str
    files: tuple[Path, ...]
    command: str = ""
    kept: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Record:
    """File names in the store, with the digests of their bytes; and whether the store's program has run since."""

    files: Mapping[str, str]
    updated: bool = True


class OsTrust:
    """The trust store of a host, and the record of what airbundle put there."""

    def __init__(self, record: Path, *, root: Path = HOST) -> None:
        """Name the places.

        Args:
            record: file that tells what was installed: `<state>/ca/os-trust.json`.
            root: the host's root directory. Below another one its own program is run, if it has one.
        """
        self._record = record
        self._root = root

    @property
    def installed(self) -> tuple[Path, ...]:
        """The certificate files that airbundle put into the store, as recorded."""
        return tuple(self._place(name) for name in self._read().files)

    def install(self, roots: bytes) -> Change:
        """Trust the CA certificates in `roots` (PEM), and no others of ours. A second time changes nothing.

        Raises:
            UsageError: this host has none of the known stores.
            NoPermission: this user may not change the store.
            HostError: the store's program failed.
        """
        store = self._store()
        wanted: dict[str, bytes] = {}
        for certificate in load_chain(roots, what="CA certificate"):
            # Debian wants one certificate to a file, and the ending .crt.
            wanted[f"{store.anchors}/airbundle-{fingerprint(certificate)[:16]}.crt"] = to_pem([certificate])
        before = self._read()
        self._check_permission(store)
        now = {name: sha256(pem) for name, pem in wanted.items()}
        if before == _Record(now) and all(self._place(name).exists() for name in now):
            return Change(store.name, ())
        # Recorded first: what is cut off between is found again, and done again or undone.
        self._write(_Record({**before.files, **now}, updated=False))
        changed = [name for name, pem in wanted.items() if write_file(self._place(name), pem, PUBLIC_FILE)]
        gone, kept = self._remove({name: digest for name, digest in before.files.items() if name not in wanted})
        command = self._update(store, gone)
        self._write(_Record(now))
        return Change(store.name, (*map(self._place, changed), *gone), command, kept)

    def undo(self) -> Change:
        """Take back what `install` did. Files that somebody changed since are left and told.

        Raises:
            NoPermission: this user may not change the store.
            HostError: the store's program failed.
        """
        recorded = self._read().files
        if not recorded:
            return Change("", ())
        store = self._store()
        self._check_permission(store)
        gone, kept = self._remove(recorded)
        command = self._update(store, gone)
        with host_errors("delete", self._record):
            self._record.unlink(missing_ok=True)
        return Change(store.name, tuple(gone), command, kept)

    def _store(self) -> Store:
        for store in STORES:
            if self._place(store.anchors).is_dir():
                return store
        places = ", ".join(store.anchors for store in STORES)
        raise UsageError(
            f"this host has no trust store that airbundle knows: there is none of {places}",
            hint="install the package ca-certificates, or add ca.crt by your system's own means",
        )

    def _place(self, name: str) -> Path:
        return self._root / name.lstrip("/")

    def _check_permission(self, store: Store) -> None:
        anchors = self._place(store.anchors)
        if not os.access(anchors, os.W_OK | os.X_OK):
            raise NoPermission(
                f"cannot change the OS trust store: this user may not write to {anchors}",
                hint=f"run as root; by hand: copy ca.crt to {anchors}, then run {' '.join(store.command)}",
            )

    def _remove(self, recorded: Mapping[str, str]) -> tuple[dict[Path, bytes], tuple[Path, ...]]:
        """Delete files whose bytes are those recorded; return those that went with their bytes, and those left."""
        gone: dict[Path, bytes] = {}
        kept = []
        for name, digest in recorded.items():
            path = self._place(name)
            data = read_file(path, limit=KEY_FILE_LIMIT)
            if data is None:
                continue
            if sha256(data) != digest:
                _log.warning("%s was changed by somebody else and is left", path)
                kept.append(path)
                continue
            with host_errors("delete", path):
                path.unlink()
            gone[path] = data
        return gone, tuple(kept)

    def _update(self, store: Store, gone: Mapping[Path, bytes]) -> str:
        program = self._program(store.command[0])
        moved = store.moved if self._root != HOST else ()
        fresh = store.after_removal if gone else ()
        command = [program, *store.command[1:], *fresh, *(part.format(root=self._root) for part in moved)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"cannot run {program}: {error}") from None
        if done.returncode != 0:
            raise HostError(
                f"{' '.join(command)} failed with {done.returncode}: {_last_line(done.stderr or done.stdout)}",
                hint="mend what it complains about, then run the same command again",
            )
        if store.bundle:
            self._sweep(self._place(store.bundle), gone.values())
        return " ".join(command)

    def _sweep(self, bundle: Path, gone: Iterable[bytes]) -> None:
        """Take certificates that went out of the bundle; the program does, unless they were the last of all."""
        whole = read_file(bundle, limit=_BUNDLE_LIMIT) or b""
        left = whole
        for pem in gone:
            left = left.replace(pem, b"")
        if left != whole:
            write_file(bundle, left, PUBLIC_FILE)

    def _program(self, name: str) -> str:
        # A root of another system has its own program; sudo may have left PATH without sbin.
        places = [str(self._place(part)) for part in _PROGRAM_PATH.split(":")] if self._root != HOST else []
        found = shutil.which(name, path=":".join([*places, _PROGRAM_PATH]))
        if found is None:
            raise HostError(f"{name} is missing", hint="install the package ca-certificates")
        return found

    def _read(self) -> _Record:
        raw = read_file(self._record, limit=KEY_FILE_LIMIT)
        if raw is None:
            return _Record({})
        try:
            body = json.loads(raw)
            record = _Record({str(name): str(digest) for name, digest in body["files"].items()}, bool(body["updated"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DocumentError(f"{self._record}: does not parse", hint="delete it, and undo by hand") from None
        if not all(_is_ours(name) for name in record.files):
            raise DocumentError(f"{self._record}: names files that airbundle did not make")
        return record

    def _write(self, record: _Record) -> None:
        body = {"apiVersion": "airbundle.dev/v1", "kind": "OsTrust", "version": 1, **asdict(record)}
        write_file(self._record, (json.dumps(body, indent=1, sort_keys=True) + "\n").encode(), FILE)


def _is_ours(name: str) -> bool:
    directory, _, file = name.rpartition("/")
    return any(directory == store.anchors for store in STORES) and file.startswith("airbundle-")


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
