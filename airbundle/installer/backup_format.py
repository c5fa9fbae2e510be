"""The content of a backup of a state directory: a tar of the files that can't be made again (docs/support.md).

The first member is `backup.json`, which tells whose backup it is and of which version; the others have the paths that
they have in the state directory. Which paths those may be, and with which modes they come back, is decided here and
not by the backup.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.errors import UsageError, VerificationError
from airbundle.installer.files import FILE, PRIVATE_FILE, PUBLIC_FILE

API_VERSION = "airbundle.dev/v1"
KIND = "Backup"
VERSION = 1
HEAD = "backup.json"
CONTENT_LIMIT = 96 * 1024 * 1024
"""Most bytes of all files together: more than the limits of journal, configuration and all else."""

_MOST_FILES = 10_000
_HEAD_LIMIT = 4 * 1024 * 1024
_FIXED = {
    "state.json": FILE,
    "trust.json": FILE,
    "journal.jsonl": FILE,
    "server/config.json": FILE,
    "certs/ca.crt": PUBLIC_FILE,
    "certs/registry/ca.crt": PUBLIC_FILE,
    "ca/os-trust.json": FILE,
}
_CA = re.compile(r"ca/(?:servers/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\.(?:json|crt|csr|key|passphrase)", re.ASCII)
_SITE = re.compile(
    r"sites/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?/"
    r"(?:site\.json|journal\.jsonl|releases/[a-z0-9][a-z0-9.-]{0,245}\.json|"
    r"(?:deployments|manifests|before|nodes|dns|site-files|settings)/[A-Za-z0-9_][A-Za-z0-9._-]{0,250})",
    re.ASCII,
)
_PUBLIC = (".crt", ".csr")


def file_mode(path: str) -> int | None:
    """Return the mode that a file of a state directory has; None for one that is in no backup.

    Args:
        path: relative, with `/`.
    """
    if path in _FIXED:
        return _FIXED[path]
    if _SITE.fullmatch(path):
        return FILE if path.endswith("/journal.jsonl") else PRIVATE_FILE
    if not _CA.fullmatch(path):
        return None
    return PUBLIC_FILE if path.endswith(_PUBLIC) else PRIVATE_FILE


@dataclass(frozen=True)
class BackedUp:
    """A bundle that was installed: its bytes are not in the backup.

    Attributes:
        statement: digest of its statement, which binds all its bytes.
        older: a newer one of that name was seen: installing it takes `--allow-older`.
    """

    name: str
    version: str
    serial: int
    statement: str
    older: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        created: when, RFC 3339, UTC.
        program: version of the airbundle that made it.
        host: name of the host.
        root: the state directory there.
        bundles: what was installed, in the order to install it again.
        outside: files that the site uses and that are not in its state directory, such as `registries.yaml`.
        files: by path in the state directory.
    """

    created: str
    program: str
    host: str
    root: str
    bundles: tuple[BackedUp, ...] = ()
    outside: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Return the tar; equal values give equal bytes."""
        head = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "version": VERSION,
            "created": self.created,
            "program": self.program,
            "host": self.host,
            "root": self.root,
            "bundles": [bundle.to_json() for bundle in self.bundles],
            "outside": list(self.outside),
            "files": sorted(self.files),
        }
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, HEAD, (json.dumps(head, indent=1, sort_keys=True) + "\n").encode(), PRIVATE_FILE)
            for path, data in sorted(self.files.items()):
                _add(tar, path, data, file_mode(path) or PRIVATE_FILE)
        return buffer.getvalue()

    @classmethod
    def parse(cls, raw: bytes, *, what: str) -> Backup:
        """Read the tar.

        Raises:
            VerificationError: it is no backup; one of its files has no place in a state directory.
            UsageError: a newer airbundle made it.
        """
        try:
            members = _members(raw, what)
            head = json.loads(members.pop(HEAD))
            version = head["version"]
            if head["kind"] == KIND and type(version) is int and version > VERSION:
                raise UsageError(
                    f"{what}: has version {version}, expected {VERSION} at most",
                    hint="restore it with a newer airbundle",
                )
            if (head["apiVersion"], head["kind"], version) != (API_VERSION, KIND, VERSION):
                raise ValueError("it is another document")
            if head["files"] != sorted(members):
                raise ValueError("its files are not those that it names")
            _check_places(members, what)
            created, program, host, root = (str(head[name]) for name in ("created", "program", "host", "root"))
            bundles = tuple(BackedUp(**_bundle(each)) for each in head["bundles"])
            outside = tuple(str(path) for path in head["outside"])
            return cls(created, program, host, root, bundles, outside, members)
        except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
            raise VerificationError(f"{what}: does not hold a backup of a state directory: {error}") from None


def _add(tar: tarfile.TarFile, path: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _members(raw: bytes, what: str) -> dict[str, bytes]:
    """Return the files of a tar by name; nothing is written anywhere."""
    found: dict[str, bytes] = {}
    left = CONTENT_LIMIT + _HEAD_LIMIT
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        for member in tar:
            left -= member.size
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None or left < 0 or member.name in found or len(found) > _MOST_FILES:
                raise VerificationError(f"{what}: {member.name!r:.80} is nothing that a backup has")
            found[member.name] = stream.read()
    return found


def _check_places(members: Mapping[str, bytes], what: str) -> None:
    for path in members:
        if file_mode(path) is None:
            raise VerificationError(f"{what}: {path!r:.80} has no place in a state directory")


def _bundle(body: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: body[name] for name in ("name", "version", "serial", "statement", "older")}
    for name, kind in (("name", str), ("version", str), ("serial", int), ("statement", str), ("older", bool)):
        if type(found[name]) is not kind:
            raise ValueError(f"{name} of a bundle is {found[name]!r:.80}")
    return found
