"""What `docker save` writes (a "docker-archive"), read as a stream into a sink, and made an OCI image of.

`manifest.json` comes after the layers, so everything that may be a layer is kept as it passes, by its digest; nothing
large is held in memory. Layers stay as they are, packed or not, and must have the diff IDs that the config names;
the config stays byte for byte, so the image keeps its ID. Both known layouts are read: a directory for each layer
(up to engine 24, and skopeo), and `blobs/sha256/` (from engine 25 on). Spec: moby `image/spec/v1.2.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.content import BlobSink, Materialised
from airbundle.bundle.digest import hex_of, is_digest, sha256
from airbundle.bundle.gzipstream import Readable
from airbundle.bundle.layer_digest import LayerDigest
from airbundle.bundle.oci import (
    MANIFEST_LIMIT,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    canonical_json,
    parse_json,
)
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.tarstream import TarEntry, TarStream, linked_name, safe_name
from airbundle.errors import DigestMismatch, NotFound, UsageError, VerificationError

CONFIG_LIMIT = MANIFEST_LIMIT
_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 16 * 1024 * 1024
_SMALL_TOTAL = 64 * 1024 * 1024  # of all configs in memory, in bytes
_LINKS_DEEP = 8
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")
_PASSED_OVER = re.compile(r"(?:index\.json|oci-layout|repositories|[^/]+/VERSION|[^/]+/json)")


@dataclass(frozen=True)
class _Kept:
    """A member that went into the sink."""

    descriptor: Descriptor
    diff_id: str


@dataclass
class _Archive:
    """What the members of an archive are; filled as they pass."""

    sink: BlobSink
    what: str
    small: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, _Kept] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def take(self, entry: TarEntry, stream: TarStream) -> None:
        name = safe_name(entry.name, what=self.what)
        if entry.kind == "directory":
            return
        if name in self.small or name in self.kept or name in self.links:
            raise VerificationError(f"{self.what}: {name!r} stands twice in the archive")
        if entry.kind in ("symlink", "hardlink"):
            self.links[name] = linked_name(entry, what=self.what)
        elif entry.kind != "file":
            raise VerificationError(f"{self.what}: {name!r} is a {entry.kind}; expected files and links")
        elif name == _MANIFEST or ("/" not in name and name.endswith(".json")):
            self._remember(name, stream)
        elif not _PASSED_OVER.fullmatch(name):
            self._keep(name, stream)

    def _remember(self, name: str, stream: TarStream) -> None:
        if name in ("index.json", "repositories"):
            return
        left = _SMALL_TOTAL - sum(map(len, self.small.values()))
        self.small[name] = stream.read(min(left, _MANIFEST_LIMIT if name == _MANIFEST else CONFIG_LIMIT))

    def _keep(self, name: str, stream: TarStream) -> None:
        what = f"{self.what}: {name}"
        layer = LayerDigest(what=what)
        blob = _BLOB.fullmatch(name)
        with self.sink.adder() as adder:
            for data in stream.pieces():
                layer.feed(data)
                adder.write(data)
            descriptor = adder.commit(layer.media_type)
        diff_id = layer.diff_id(descriptor.digest)
        if blob and descriptor.digest != f"sha256:{blob[1]}":
            raise DigestMismatch(f"{what}: found digest {descriptor.digest}, expected the one in its name")
        self.kept[name] = _Kept(descriptor, diff_id)

    def layer(self, name: str) -> _Kept:
        """Return a layer by the name that manifest.json has for it, links followed."""
        name = safe_name(name, what=self.what)
        for _ in range(_LINKS_DEEP):
            if name in self.kept:
                return self.kept[name]
            if name not in self.links:
                break
            name = self.links[name]
        raise VerificationError(f"{self.what}: manifest.json names the layer {name[:200]!r}, which is not there")

    def config(self, name: str) -> bytes:
        """Return an image's configuration; its name holds its digest, which is the image's ID."""
        name = safe_name(name, what=self.what)
        found = _CONFIG.fullmatch(name)
        if name in self.small:
            raw = self.small[name]
        elif name in self.kept:
            raw = self.sink.read(self.kept[name].descriptor.digest, CONFIG_LIMIT)
        else:
            raise VerificationError(f"{self.what}: manifest.json names the config {name[:200]!r}, which is not there")
        if found and sha256(raw) != f"sha256:{found[1]}":
            raise DigestMismatch(
                f"{self.what}: config {name}: found digest {sha256(raw)}, expected the one in its name"
            )
        return raw


def read_save(source: Readable, sink: BlobSink, *, name: str, what: str) -> Materialised:
    """Read an archive and put one image of it into `sink`.

    Args:
        source: the archive, from its first byte; it is read to its end marker.
        sink: takes layers, config and manifest.
        name: of the image in the archive: a reference, an ID, `@N` for the N-th; empty for the only one.
        what: the archive, for errors.

    Raises:
        NotFound: the archive has no such image.
        UsageError: it has several, and none was named.
        VerificationError: it is no such archive, is damaged, or its layers are not those of its config.
        HostError: the sink can't take it.
    """
    archive = _Archive(sink, what)
    stream = TarStream(source, what=what)
    for entry in stream:
        archive.take(entry, stream)
    if _MANIFEST not in archive.small:
        raise VerificationError(f"{what}: {_MANIFEST} is missing; expected what `docker save` writes")
    entry_json = _choose(_entries(archive.small[_MANIFEST], what), name, what)
    raw = archive.config(entry_json["Config"])
    layers = [archive.layer(path) for path in entry_json["Layers"]]
    diff_ids = config_diff_ids(raw, what=what)
    if len(diff_ids) != len(layers):
        raise VerificationError(f"{what}: found {len(layers)} layers, expected {len(diff_ids)} as its config says")
    for layer, diff_id in zip(layers, diff_ids):
        if layer.diff_id not in ("", diff_id):
            raise DigestMismatch(f"{what}: a layer has diff ID {layer.diff_id}, expected {diff_id}")
    return image_of(raw, [layer.descriptor for layer in layers], sink, what=what)


def _entries(raw: bytes, what: str) -> list[dict[str, Any]]:
    body = parse_json(raw, what=f"{what}: {_MANIFEST}", limit=_MANIFEST_LIMIT)
    entries = body if isinstance(body, list) else []
    for entry in entries:
        good = isinstance(entry, dict) and isinstance(entry.get("Config"), str)
        if not good or not _are_texts(entry.get("Layers") or []) or not _are_texts(entry.get("RepoTags") or []):
            raise VerificationError(f"{what}: {_MANIFEST}: an entry without Config, Layers and RepoTags")
    if not entries:
        raise VerificationError(f"{what}: {_MANIFEST} lists no images")
    return [
        {**entry, "Layers": entry.get("Layers") or [], "RepoTags": entry.get("RepoTags") or []} for entry in entries
    ]


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _choose(entries: Sequence[dict[str, Any]], name: str, what: str) -> dict[str, Any]:
    known = [tag for entry in entries for tag in entry["RepoTags"]]
    offered = f"it has {', '.join(known[:10])}" if known else "its images have no names: use @0, @1, …"
    if not name:
        if len(entries) > 1:
            raise UsageError(f"{what}: it has {len(entries)} images, and none was named", hint=offered)
        return entries[0]
    if re.fullmatch(r"@[0-9]{1,6}", name):
        found = list(entries[int(name[1:]) : int(name[1:]) + 1])
    elif is_digest(name) or is_digest(f"sha256:{name}"):
        wanted = hex_of(name) if is_digest(name) else name
        found = [entry for entry in entries if wanted in entry["Config"]]
    else:
        wanted = str(parse_reference(name))
        found = [entry for entry in entries if wanted in map(_normal, entry["RepoTags"])]
    if not found:
        raise NotFound(f"{what}: there is no image {name}", hint=offered)
    return found[0]


def _normal(tag: str) -> str:
    try:
        return str(parse_reference(tag))
    except UsageError:
        return tag


def config_diff_ids(raw: bytes, *, what: str) -> list[str]:
    """Return the diff IDs of an image's layers, as its config says.

    Raises:
        VerificationError: it is no config of an image.
    """
    rootfs = _object(raw, what).get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, Mapping) else None
    if not isinstance(diff_ids, list) or not all(is_digest(item) for item in diff_ids):
        raise VerificationError(f"{what}: the config has no rootfs.diff_ids; expected the config of an image")
    return diff_ids


def image_of(config: bytes, layers: Sequence[Descriptor], sink: BlobSink, *, what: str) -> Materialised:
    """Put the OCI manifest of a config and its layers, which `sink` has, into `sink`; equal parts give equal bytes.

    Raises:
        VerificationError: the config is none.
        HostError: the sink can't take it.
    """
    body = _object(config, what)
    kept = sink.add(config, OCI_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": kept.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    made = sink.add(canonical_json(manifest), OCI_MANIFEST)
    words = {name: body.get(name) for name in ("os", "architecture", "variant")}
    known = {name: text for name, text in words.items() if isinstance(text, str)}
    platform = Platform(known.get("os", ""), known.get("architecture", ""), known.get("variant", ""))
    descriptor = Descriptor(made.media_type, made.digest, made.size, platform=platform if platform.os else None)
    blobs = {blob.digest: blob for blob in (kept, *layers)}
    return Materialised(descriptor, blobs=tuple(blobs.values()), info={"imageId": kept.digest})


def _object(raw: bytes, what: str) -> dict[str, Any]:
    body = parse_json(raw, what=f"{what}: config", limit=CONFIG_LIMIT)
    if not isinstance(body, dict):
        raise VerificationError(f"{what}: config: expected an object")
    return body
