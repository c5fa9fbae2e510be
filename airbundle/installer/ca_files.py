"""The CA's directory: which files it has, and the one file that says which of them count (docs/ca.md).

```
ca/                        0700
  ca.json                  0600   mode and generation: replaced last, so that a change that is cut off never happened
  ca.crt                   0644   what clients trust: one root, during a change-over the new and the old
  issuer-N.crt             0644   certificate of generation N that issues, then those above it up to the root
  issuer-N.cross.crt       0644   the same key signed by generation N-1, then that; counts during a change-over
  issuer-N.key             0600   its private key, encrypted
  issuer-N.passphrase      0600   the passphrase, where airbundle made it up
  pending.{key,csr,…}      0600   a CA's request that is out for signing
  servers/NAME.{crt,key}   0644, 0600
  servers/NAME.csr         0644   a server's request that is out for signing
```
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from airbundle.crypto.keyfile import KEY_FILE_LIMIT
from airbundle.errors import DocumentError, UsageError
from airbundle.installer.files import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    PUBLIC_DIRECTORY,
    PUBLIC_FILE,
    make_directory,
    read_file,
    write_file,
)
from airbundle.store.host import host_errors

VERSION = 1
MODES = ("site", "bundled", "external")


@dataclass(frozen=True)
class CaState:
    """What ca.json says.

    Attributes:
        mode: `site`, `bundled` or `external`.
        generation: number of the files that issue; 0: none, servers' certificates come from outside.
        previous: the generation that a change-over began with; 0: none is under way.
    """

    mode: str
    generation: int = 0
    previous: int = 0

    def to_bytes(self) -> bytes:
        """Return the file."""
        body = {"apiVersion": "airbundle.dev/v1", "kind": "Ca", "version": VERSION, **asdict(self)}
        return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> CaState:
        """Read the file.

        Raises:
            DocumentError: it doesn't parse, or a newer airbundle wrote it.
        """
        try:
            body = json.loads(raw)
            version, mode = body["version"], body["mode"]
            numbers = (body["generation"], body["previous"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DocumentError(f"{where}: does not parse", hint="restore it from a backup") from None
        if body.get("kind") != "Ca" or version != VERSION:
            raise DocumentError(f"{where}: found version {version!r}, expected {VERSION}", hint="use a newer airbundle")
        if mode not in MODES or not all(type(number) is int and 0 <= number < 1 << 31 for number in numbers):
            raise DocumentError(f"{where}: found mode {mode!r:.40} and generations {numbers!r:.80}")
        return cls(mode, *numbers)


class CaFiles:
    """Reads and writes the directory's files, each with its mode."""

    def __init__(self, directory: Path, trust_file: Path | None = None) -> None:
        """Name the places; nothing is made.

        Args:
            directory: the CA's own, `<state>/ca`.
            trust_file: where `ca.crt` is to lie, too, for clients: `<state>/certs/ca.crt`.
        """
        self.directory = directory
        self.trust_file = trust_file

    def path(self, name: str) -> Path:
        """Return the path of a file in the directory."""
        return self.directory / name

    def issuer(self, generation: int, kind: str) -> Path:
        """Return the path of a generation's `crt`, `key` or `passphrase`."""
        return self.path(f"issuer-{generation}.{kind}")

    def server(self, stem: str, kind: str) -> Path:
        """Return the path of a server's `crt`, `key` or `csr`."""
        return self.path("servers") / f"{stem}.{kind}"

    def chain(self, state: CaState) -> bytes:
        """Return the chain that issues: during a change-over the one that old clients verify, too."""
        cross = self.maybe(self.issuer(state.generation, "cross.crt")) if state.previous else None
        return cross or self.read(self.issuer(state.generation, "crt"))

    def state(self) -> CaState | None:
        """Return what ca.json says, or None where there is no CA."""
        raw = self.maybe(self.path("ca.json"))
        return None if raw is None else CaState.parse(raw, where=str(self.path("ca.json")))

    def write_state(self, state: CaState) -> None:
        """Make `state` count."""
        write_file(self.path("ca.json"), state.to_bytes(), PRIVATE_FILE)

    def make(self) -> None:
        """Make the directories; the state directory itself must be there."""
        make_directory(self.directory, PRIVATE_DIRECTORY)
        make_directory(self.path("servers"), PRIVATE_DIRECTORY)

    def maybe(self, path: Path) -> bytes | None:
        """Return a file's bytes, or None when there is none."""
        return read_file(path, limit=KEY_FILE_LIMIT)

    def read(self, path: Path) -> bytes:
        """Return a file that must be there.

        Raises:
            UsageError: it isn't.
        """
        data = self.maybe(path)
        if data is None:
            raise UsageError(f"{path} is missing", hint="restore the directory of the CA from a backup")
        return data

    def write_trust(self, roots: bytes) -> None:
        """Write what clients trust, also to where they look for it."""
        write_file(self.path("ca.crt"), roots, PUBLIC_FILE)
        if self.trust_file is not None:
            make_directory(self.trust_file.parent, PUBLIC_DIRECTORY)
            write_file(self.trust_file, roots, PUBLIC_FILE)

    def write_key(self, path: Path, key: bytes) -> None:
        """Write a private key, 0600."""
        write_file(path, key, PRIVATE_FILE)

    def write_certificate(self, path: Path, pem: bytes) -> None:
        """Write a certificate, 0644."""
        write_file(path, pem, PUBLIC_FILE)

    def passphrase(self, path: Path, ask: Callable[[], bytes] | None) -> Callable[[], bytes]:
        """Return what gives the passphrase kept at `path`; where none is kept, `ask`."""

        def give() -> bytes:
            kept = self.maybe(path)
            if kept is not None:
                return kept.rstrip(b"\n")
            if ask is None:
                raise UsageError(
                    "the CA's key has a passphrase that is not kept here",
                    hint="run `airbundle ca renew` at a terminal, or with --passphrase-file",
                )
            return ask()

        return give

    def new_passphrase(self, path: Path, given: bytes | None) -> bytes:
        """Return `given`, or else make one up and keep it at `path`, 0600."""
        if given is not None:
            return given
        made = base64.urlsafe_b64encode(os.urandom(32))
        write_file(path, made + b"\n", PRIVATE_FILE)
        return made

    def forget(self, *paths: Path) -> None:
        """Delete files; those that aren't there are fine."""
        for path in paths:
            with host_errors("delete", path):
                path.unlink(missing_ok=True)
