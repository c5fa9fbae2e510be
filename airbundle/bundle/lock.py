"""The lock: what an inventory resolved to (design §3, §5). Every name, digest, media type and size; provenance.

The lock is a list of roots. A root is a manifest or index that gets a place in the bundle's `index.json`: an image,
a chart, a ClamAV database, a file, a CA. The builder moves them all by one path and treats no kind specially.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.oci import Descriptor
from airbundle.bundle.own_names import OwnName, declared

LOCK_NAME = "airbundle.lock.json"
API_VERSION = "airbundle.dev/v1"
REGISTRY = "registry"
CACHE = "cache"
LOCK_LIMIT = 64 * 1024 * 1024
"""Largest lock in bytes that is read."""
LATEST = 253_402_300_799
"""The last second of the year 9999, the last one that RFC 3339 can write."""


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
        local: path → digest of the inventory's own files, so that a person can be told which of them has changed.
        site: names of its own that the values ask of each site.
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
    local: Mapping[str, str] = field(default_factory=dict)
    site: tuple[OwnName, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        # What is not there is left out: locks from before there were such names stay what they are.
        return {
            **({"site": declared(self.site)} if self.site else {}),
            "apiVersion": API_VERSION,
            "kind": "Lock",
            "metadata": {"name": self.name, "version": self.version},
            "inventory": self.inventory,
            "local": dict(self.local),
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
    # As with the inventory: those who only hold a lock do without what reads it.
    from airbundle.bundle.lock_reader import read_lock

    return read_lock(raw, where)
