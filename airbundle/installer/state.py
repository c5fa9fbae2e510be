"""The state directory: where the site side keeps what it made, and what it knows (design §7; docs/install.md).

```
<state>/               0755   /var/lib/airbundle; without root $XDG_STATE_HOME/airbundle; or --state-dir
  state.json           0640   what is installed: this module
  trust.json           0640   trusted keys, highest serial and newest time seen: bundle.trust
  journal.jsonl        0640   steps begun and done: journal
  uploads.json         0600   upload sessions at registries that a run was cut off in: uploads
  lock                 0640   held while a run changes something: lock
  certs/ca.crt         0644   the certificate that clients need, alone in its directory: usable as --cert-dir
  certs/registry/      0755   ca.crt of a registry that somebody else runs
  ca/                  0700   the internal CA and its key: ca
  server/              0750   configuration, certificate and key of the server: embedded
  bundles/             0750   verified copies of bundles: copy
  bin/                 0755   the installed program: program
  sites/               0700   what was done at each site's cluster: site.site_state
  run/, log/           0750   of the server, where it is no systemd unit: service
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from airbundle.bundle.serving import Fingerprint
from airbundle.errors import DocumentError, UsageError
from airbundle.installer import lock
from airbundle.installer.files import (
    DIRECTORY,
    PRIVATE_DIRECTORY,
    PUBLIC_DIRECTORY,
    make_directory,
    read_file,
    write_file,
)
from airbundle.store.host import host_errors

API_VERSION = "airbundle.dev/v1"
VERSION = 1
"""Version of the state directory's layout; an older airbundle refuses a newer one."""

LAYOUT = {
    "certs": PUBLIC_DIRECTORY,
    "bin": PUBLIC_DIRECTORY,
    "bundles": DIRECTORY,
    "server": DIRECTORY,
    "run": DIRECTORY,
    "log": DIRECTORY,
    "ca": PRIVATE_DIRECTORY,
    "sites": PRIVATE_DIRECTORY,
}
"""Directories within the state directory, with their modes. Uninstall takes away these, and no others."""

SYSTEM = Path("/var/lib/airbundle")
_LIMIT = 1024 * 1024


def default_path() -> Path:
    """Return the state directory of this user."""
    if os.geteuid() == 0:
        return SYSTEM
    base = os.environ.get("XDG_STATE_HOME", "")
    # The base directory specification: a relative path is invalid and to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / "airbundle"


def make_parents(root: Path) -> None:
    """Make the directories above a state directory that aren't there.

    Raises:
        HostError: one can't be made.
    """
    # The base directory specification wants 0700 for what is missing of a home's directories.
    above = PUBLIC_DIRECTORY if os.geteuid() == 0 else PRIVATE_DIRECTORY
    for path in reversed([path for path in root.parents if not path.exists()]):
        make_directory(path, above)


@dataclass(frozen=True)
class InstalledBundle:
    """A bundle that was installed.

    Attributes:
        statement: digest of its statement, which binds all its bytes.
        file: name of its copy in `bundles/`; empty when none is kept.
        verified: inode, size, mtime and ctime of that copy when all its blobs had verified.
        whole: whether the copy has all blobs; else those are left out that only the registry needs.
        installed: when, RFC 3339.
        images, charts: how many.
        sparse: what clients get instead of an index that the registry refuses: image → digest.
        supplement: name of the file in `bundles/` with blobs that a delta leaves out and no other copy has; or empty.
        supplement_verified: of that file, as `verified`.
    """

    name: str
    version: str
    serial: int
    statement: str
    file: str = ""
    verified: tuple[int, ...] = ()
    whole: bool = True
    installed: str = ""
    images: int = 0
    charts: int = 0
    sparse: Mapping[str, str] = field(default_factory=dict)
    supplement: str = ""
    supplement_verified: tuple[int, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint of its copy; None when it isn't known."""
        return _fingerprint(self.verified)

    @property
    def supplement_fingerprint(self) -> Fingerprint | None:
        """The fingerprint of its supplement; None when it isn't known."""
        return _fingerprint(self.supplement_verified)


def _fingerprint(numbers: tuple[int, ...]) -> Fingerprint | None:
    if len(numbers) != 4:
        return None
    inode, size, modified, changed = numbers
    return inode, size, modified, changed


@dataclass(frozen=True)
class Installed:
    """What is installed at this site.

    Attributes:
        mode: `embedded`, `container` or `url`; empty when nothing is.
        registry: `https://host:port` that nodes pull from.
        registry_here: the same as this host reaches it.
        prefix: what repositories at the registry begin with.
        registries: path of a `registries.yaml` with its credentials; empty for the usual places.
        login: path of a site file that may say how to log in at the registry; empty without one.
        server: `https://host:port` of airbundle's own server.
        server_here: the same as this host reaches it.
        domain: of the site; may be empty.
        program: version of the airbundle that wrote this.
        bundles: newest first.
    """

    mode: str = ""
    registry: str = ""
    registry_here: str = ""
    prefix: str = ""
    registries: str = ""
    login: str = ""
    server: str = ""
    server_here: str = ""
    domain: str = ""
    program: str = ""
    bundles: tuple[InstalledBundle, ...] = ()

    def with_bundle(self, bundle: InstalledBundle) -> Installed:
        """Return this with `bundle` first; the same statement is not listed twice."""
        others = (other for other in self.bundles if other.statement != bundle.statement)
        return replace(self, bundles=(bundle, *others))

    def with_bundle_back(self, bundle: InstalledBundle) -> Installed:
        """Return this with `bundle` before all others of its name: bundles of other names keep their places.

        Where two bundles have the same name of an image, the one that stands first has it.
        """
        others = [other for other in self.bundles if other.statement != bundle.statement]
        place = next((place for place, other in enumerate(others) if other.name == bundle.name), 0)
        return replace(self, bundles=(*others[:place], bundle, *others[place:]))

    def serves(self, statement: str) -> bool:
        """Tell whether a bundle has the registry's names, as far as it names them: no later one of its name has."""
        bundle = next((each for each in self.bundles if each.statement == statement), None)
        return bundle is not None and next(each for each in self.bundles if each.name == bundle.name) == bundle

    def to_bytes(self) -> bytes:
        """Return the file."""
        body = {"apiVersion": API_VERSION, "kind": "State", "version": VERSION, **asdict(self)}
        return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> Installed:
        """Read the file.

        Raises:
            DocumentError: it doesn't parse, or a newer airbundle wrote it.
        """
        try:
            body = json.loads(raw)
            version = body["version"]
            if body["kind"] == "State" and isinstance(version, int) and version > VERSION:
                raise DocumentError(
                    f"{where}: has version {version}, expected {VERSION} at most",
                    hint="a newer airbundle manages this site: run that one (`bin/airbundle` beside this file)",
                )
            bundles = tuple(InstalledBundle(**_known(InstalledBundle, item)) for item in body.pop("bundles"))
            return cls(**_known(cls, body), bundles=bundles)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DocumentError(
                f"{where}: does not parse as the state of a site: {error}", hint="restore it from a backup"
            ) from None


def _known(kind: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `body` that the dataclass `kind` has; a field of another type is refused."""
    expected = {each.name: str(each.type) for each in fields(kind)}
    found: dict[str, Any] = {name: value for name, value in body.items() if name in expected}
    types = {"str": str, "int": int, "bool": bool, "tuple[int, ...]": list}
    for name, value in found.items():
        wanted = types.get(expected[name], dict)
        if type(value) is not wanted or (isinstance(value, list) and any(type(item) is not int for item in value)):
            raise ValueError(f"{name} is {value!r:.80}, expected {wanted.__name__}")
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


class StateDirectory:
    """The state directory. Making this object makes nothing on disk."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_path()).absolute()
        # Also where it is named: unit and container of one directory must have one name.
        self.is_default = self.root == default_path()

    def path(self, *names: str) -> Path:
        """Return the path of something in the directory."""
        return self.root.joinpath(*names)

    def directory(self, name: str) -> Path:
        """Return one of the directories in LAYOUT, made with its mode if it isn't there.

        Raises:
            HostError: it can't be made.
        """
        make_directory(self.path(name), LAYOUT[name])
        return self.path(name)

    @property
    def trust(self) -> Path:
        """trust.json."""
        return self.path("trust.json")

    @property
    def journal(self) -> Path:
        """journal.jsonl."""
        return self.path("journal.jsonl")

    @property
    def uploads(self) -> Path:
        """uploads.json."""
        return self.path("uploads.json")

    @property
    def bundles(self) -> Path:
        """The directory of the copies of bundles."""
        return self.path("bundles")

    @property
    def ca_file(self) -> Path:
        """The CA certificate for clients, alone in its directory."""
        return self.path("certs", "ca.crt")

    @property
    def registry_ca(self) -> Path:
        """The CA certificate of a registry that somebody else runs, alone in its directory."""
        return self.path("certs", "registry", "ca.crt")

    @property
    def is_begun(self) -> bool:
        """Whether airbundle has ever begun to write here; where it hasn't, who only looks leaves nothing, either."""
        return self.path("lock").exists()

    def check_ours(self) -> None:
        """Refuse a directory that holds something else: uninstall would take it away.

        Raises:
            UsageError: it isn't empty and has no lock file of airbundle's.
        """
        with host_errors("look into", self.root):
            if not self.root.exists():
                return
            if not self.root.is_dir():
                raise UsageError(f"{self.root}: is no directory", hint="name another with --state-dir")
            # Native code of the zip application may be there before anything else is (bootstrap.native); a disk of
            # its own, mounted there, has the other.
            names = {path.name for path in self.root.iterdir()} - {"cache", "lost+found"}
            if names and not self.is_begun:
                raise UsageError(
                    f"{self.root}: holds files that are not airbundle's", hint="name an empty one with --state-dir"
                )

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Make the directory and hold its lock within the block.

        Raises:
            Busy: another run holds it.
        """
        self.check_ours()
        make_parents(self.root)
        make_directory(self.root, PUBLIC_DIRECTORY)
        with lock.exclusive(self.path("lock"), command):
            yield

    def check_free(self) -> None:
        """Raise Busy when another run holds the lock; makes nothing."""
        lock.check_free(self.path("lock"))

    def read(self) -> Installed:
        """Return what is installed; nothing, where there is no state.

        Raises:
            DocumentError: the file doesn't parse, or is a newer airbundle's.
        """
        path = self.path("state.json")
        raw = read_file(path, limit=_LIMIT)
        return Installed() if raw is None else Installed.parse(raw, where=str(path))

    def write(self, installed: Installed) -> None:
        """Write what is installed, durably."""
        write_file(self.path("state.json"), installed.to_bytes())
