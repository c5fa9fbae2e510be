"""The lock: what an inventory resolved to (design §3, §5). Every name, digest, media type and size; provenance.

The lock is a list of roots. A root is a manifest or index that gets a place in the bundle's `index.json`: an image,
a chart, a ClamAV database, a file, a CA. The builder moves them all by one path and treats no kind specially.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.digest import is_digest
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DocumentError, Finding, VerificationError

LOCK_NAME = "airbundle.lock.json"
API_VERSION = "airbundle.dev/v1"
REGISTRY = "registry"
CACHE = "cache"


@dataclass(frozen=True)
class LockedRoot:
    """One entry of the lock.

    Attributes:
        kind: `image`, `chart`, `clamav`, `file`, `ca`, `tool`, `release`, …; the last part of the artifact type.
        ref: full name in the bundle: `docker.io/library/redis:7.2` for images, `<host>/<path>/<name>:<version>`
            for charts, `<kind>/<name>:<version>` for the rest. No two roots of one kind have the same.
        requested: what the inventory asked for, in its own words; the key by which `lock --update NAME` finds it.
        source: `registry` (fetched from `origin` by digest at build time) or `cache` (materialised by `lock`).
        origin: where the bytes come from: `registry/repository` for `registry`, else a URL or path for people.
        descriptor: of the manifest or index.
        children: carried manifests below an index, attestations of carried platforms included; in the index's order.
        platforms: what the inventory wants carried; empty means all.
        referrers: manifests whose subject is the root or one of its children, and cosign tags.
        blobs: for `cache`: config and layers; for `registry` they are derived from the manifests.
        info: facts for people and for the site: chart name and version, ClamAV version and time, file name.
    """

    kind: str
    ref: str
    requested: str
    source: str
    origin: str
    descriptor: Descriptor
    children: tuple[Descriptor, ...] = ()
    platforms: tuple[str, ...] = ()
    referrers: tuple[Descriptor, ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; empty fields are left out."""
        body: dict[str, Any] = {
            "kind": self.kind,
            "ref": self.ref,
            "requested": self.requested,
            "source": self.source,
            "origin": self.origin,
            "descriptor": self.descriptor.to_json(),
            "children": [child.to_json() for child in self.children],
            "platforms": list(self.platforms),
            "referrers": [referrer.to_json() for referrer in self.referrers],
            "blobs": [blob.to_json() for blob in self.blobs],
            "info": dict(sorted(self.info.items())),
        }
        return {key: value for key, value in body.items() if value not in ([], {})}


@dataclass(frozen=True)
class InstallerPart:
    """A part of the zip application: a wheel's file name or `airbundle-VERSION`, `sha256:…`, size in bytes."""

    name: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"name": self.name, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Lock:
    """A whole lock.

    Attributes:
        inventory: digest of the inventory's meaning (canonical JSON of the parsed document and the digests of the
            local files it names), so that comments and order of keys don't matter.
        serial: equals `created` in seconds since the epoch; grows with each change of content.
        created, expires: RFC 3339, UTC, whole seconds; `expires` may be empty (never).
        installer: airbundle's own version and the wheels of the zip application.
    """

    name: str
    version: str
    inventory: str
    serial: int
    created: str
    expires: str
    roots: tuple[LockedRoot, ...]
    installer_version: str = ""
    installer: tuple[InstallerPart, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "apiVersion": API_VERSION,
            "kind": "Lock",
            "metadata": {"name": self.name, "version": self.version},
            "inventory": self.inventory,
            "serial": self.serial,
            "created": self.created,
            "expires": self.expires,
            "roots": [root.to_json() for root in self.roots],
            "installer": {
                "version": self.installer_version,
                "parts": [part.to_json() for part in self.installer],
            },
        }

    def to_bytes(self) -> bytes:
        """Return the file: indented for readable diffs, sorted keys, one form only."""
        return (json.dumps(self.to_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_lock(raw: bytes, *, where: str = LOCK_NAME) -> Lock:
    """Read a lock.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: it doesn't parse; every finding is listed.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: not JSON: {error}", hint="delete it and run `airbundle lock`") from None
    reader = _Reader(where)
    lock = reader.lock(body)
    if reader.findings or lock is None:
        raise DocumentError(
            f"{where}: {len(reader.findings)} fields are not as a lock has them",
            hint="delete it and run `airbundle lock`",
            findings=reader.findings,
        )
    return lock


class _Reader:
    """Reads fields and collects what is wrong with them."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []

    def wrong(self, path: str, found: object, expected: str) -> None:
        self.findings.append(
            Finding("wrong field", where=f"{self.where} {path}", found=repr(found)[:80], expected=expected)
        )

    def text(self, body: Mapping[str, Any], name: str, path: str) -> str:
        value = body.get(name, "")
        if not isinstance(value, str):
            self.wrong(f"{path}{name}", value, "text")
            return ""
        return value

    def items(self, body: Mapping[str, Any], name: str, path: str) -> list[Any]:
        value = body.get(name, [])
        if not isinstance(value, list):
            self.wrong(f"{path}{name}", value, "a list")
            return []
        return value

    def mapping(self, value: object, path: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(path, value, "an object")
            return {}
        return value

    def descriptors(self, body: Mapping[str, Any], name: str, path: str) -> tuple[Descriptor, ...]:
        found = (self.descriptor(v, f"{path}{name}[{i}]") for i, v in enumerate(self.items(body, name, path)))
        return tuple(descriptor for descriptor in found if descriptor is not None)

    def descriptor(self, value: object, path: str) -> Descriptor | None:
        try:
            return Descriptor.from_json(value, what=path)
        except VerificationError as error:
            self.wrong(path, value, error.problem)
            return None

    def root(self, value: object, path: str) -> LockedRoot | None:
        body = self.mapping(value, path)
        descriptor = self.descriptor(body.get("descriptor"), f"{path}.descriptor")
        dot = f"{path}."
        info = self.mapping(body.get("info", {}), f"{dot}info")
        if descriptor is None:
            return None
        return LockedRoot(
            kind=self.text(body, "kind", dot),
            ref=self.text(body, "ref", dot),
            requested=self.text(body, "requested", dot),
            source=self.text(body, "source", dot),
            origin=self.text(body, "origin", dot),
            descriptor=descriptor,
            children=self.descriptors(body, "children", dot),
            platforms=tuple(str(p) for p in self.items(body, "platforms", dot)),
            referrers=self.descriptors(body, "referrers", dot),
            blobs=self.descriptors(body, "blobs", dot),
            info={str(key): str(item) for key, item in info.items()},
        )

    def part(self, value: object, path: str) -> InstallerPart:
        body = self.mapping(value, path)
        digest, size = body.get("digest"), body.get("size")
        if not is_digest(digest) or not isinstance(size, int):
            self.wrong(path, value, "name, digest and size")
            return InstallerPart("", "", 0)
        return InstallerPart(self.text(body, "name", f"{path}."), str(digest), size)

    def lock(self, value: object) -> Lock | None:
        body = self.mapping(value, "document")
        if body.get("apiVersion") != API_VERSION or body.get("kind") != "Lock":
            self.wrong("apiVersion, kind", (body.get("apiVersion"), body.get("kind")), f"{API_VERSION}, Lock")
            return None
        metadata = self.mapping(body.get("metadata"), "metadata")
        installer = self.mapping(body.get("installer", {}), "installer")
        serial = body.get("serial")
        if not isinstance(serial, int):
            self.wrong("serial", serial, "a whole number")
            serial = 0
        roots = [self.root(v, f"roots[{i}]") for i, v in enumerate(self.items(body, "roots", ""))]
        parts = self.items(installer, "parts", "installer.")
        return Lock(
            name=self.text(metadata, "name", "metadata."),
            version=self.text(metadata, "version", "metadata."),
            inventory=self.text(body, "inventory", ""),
            serial=serial,
            created=self.text(body, "created", ""),
            expires=self.text(body, "expires", ""),
            roots=tuple(root for root in roots if root is not None),
            installer_version=self.text(installer, "version", "installer."),
            installer=tuple(self.part(v, f"installer.parts[{i}]") for i, v in enumerate(parts)),
        )
