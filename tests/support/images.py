"""Tiny images, indexes and artifacts in pure Python, made in milliseconds; the building blocks of the big corpus too.

Everything is deterministic: the same arguments give the same bytes. An `Artifact` is a manifest or index with all that
it reaches; `put` writes it into a registry's storage.

    image = tiny_image("redis", platform="linux/amd64")
    image.put(Storage(registry.storage), "docker.io/library/redis", "7.2")
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_JSON,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from tests.support.storage import Storage

Compression = Literal["none", "gzip"]
Family = Literal["oci", "docker"]

DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CREATED = "2026-01-02T03:04:05Z"


@dataclass(frozen=True)
class Blob:
    """Bytes with their descriptor. `diff_id` is the digest of the uncompressed layer; empty for other blobs.

    `data` is None for the big corpus's layers, whose bytes lie in a storage already.
    """

    descriptor: Descriptor
    data: bytes | None = field(repr=False)
    diff_id: str = ""


@dataclass(frozen=True)
class Artifact:
    """A manifest or index and everything below it.

    Attributes:
        descriptor: points to `raw`; carries the platform, where there is one.
        blobs: config and layers, for a manifest.
        children: the manifests of an index.
    """

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    blobs: tuple[Blob, ...] = ()
    children: tuple[Artifact, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the manifest or index."""
        return self.descriptor.digest

    def put(self, storage: Storage, repository: str, *tags: str) -> None:
        """Write it, with all below it, into a registry's storage."""
        for child in self.children:
            child.put(storage, repository)
        for blob in self.blobs:
            if blob.data is not None:
                storage.put_bytes(blob.data, blob.descriptor.digest)
            storage.link_blob(repository, blob.descriptor.digest)
        storage.put_manifest(repository, self.raw, *tags)

    def manifests(self) -> dict[str, bytes]:
        """Return the raw bytes of this and all manifests below it, by digest."""
        found = {self.digest: self.raw}
        for child in self.children:
            found.update(child.manifests())
        return found

    def all_blobs(self) -> dict[str, bytes]:
        """Return the bytes of configs and layers, by digest."""
        found = {blob.descriptor.digest: blob.data for blob in self.blobs if blob.data is not None}
        for child in self.children:
            found.update(child.all_blobs())
        return found


def noise(seed: str, size: int) -> bytes:
    """Return `size` bytes that don't compress; the same for the same `seed`."""
    return random.Random(seed).randbytes(size)


def layer(
    files: Mapping[str, bytes], *, compression: Compression = "gzip", family: Family = "oci", level: int = 6
) -> Blob:
    """Make a layer of `files` (path to content; mode 0755)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o755
            tar.addfile(info, io.BytesIO(files[name]))
    plain = buffer.getvalue()
    if compression == "none":
        media_type, data = OCI_LAYER, plain
    else:
        media_type = DOCKER_LAYER_GZIP if family == "docker" else f"{OCI_LAYER}+gzip"
        data = gzip.compress(plain, level, mtime=0)
    return Blob(Descriptor(media_type, sha256(data), len(data)), data, sha256(plain))


def image_config(platform: str, diff_ids: Sequence[str], **config: Any) -> bytes:
    """Return the bytes of an image configuration; `config` is its `config` object (Cmd, Env, …)."""
    target = Platform.parse(platform)
    body: dict[str, Any] = {"architecture": target.architecture, "os": target.os, "created": CREATED}
    if target.variant:
        body["variant"] = target.variant
    body["config"] = config
    body["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    body["history"] = [{"created": CREATED, "created_by": "airbundle tests"} for _ in diff_ids]
    return json.dumps(body).encode()


def image(
    layers: Sequence[Blob],
    *,
    platform: str = "linux/amd64",
    family: Family = "oci",
    annotations: Mapping[str, str] | None = None,
    **config: Any,
) -> Artifact:
    """Make an image of `layers`, in OCI or Docker v2 schema 2 media types."""
    raw_config = image_config(platform, [item.diff_id for item in layers], **config)
    config_type, manifest_type = (OCI_CONFIG, OCI_MANIFEST) if family == "oci" else (DOCKER_CONFIG, DOCKER_MANIFEST)
    config_blob = Blob(Descriptor(config_type, sha256(raw_config), len(raw_config)), raw_config)
    made = _manifest(manifest_type, config_blob, layers, {"annotations": dict(annotations or {})})
    return replace(made, descriptor=replace(made.descriptor, platform=Platform.parse(platform)))


def tiny_image(
    seed: str,
    *,
    platform: str = "linux/amd64",
    family: Family = "oci",
    sizes: Sequence[int] = (1000, 3000),
    shared: Sequence[Blob] = (),
    compression: Compression = "gzip",
) -> Artifact:
    """Make an image with a layer of about each of `sizes` bytes, on top of `shared` layers."""
    own = [
        layer({f"data-{i}": noise(f"{seed} {platform} {i}", size)}, compression=compression, family=family)
        for i, size in enumerate(sizes)
    ]
    return image([*shared, *own], platform=platform, family=family, Cmd=["/data-0"])


def index(
    children: Sequence[Artifact], *, family: Family = "oci", annotations: Mapping[str, str] | None = None
) -> Artifact:
    """Make an index (or Docker manifest list) of `children`, in their order."""
    media_type = OCI_INDEX if family == "oci" else DOCKER_LIST
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    body["manifests"] = [child.descriptor.to_json() for child in children]
    if annotations:
        body["annotations"] = dict(annotations)
    raw = json.dumps(body, indent=2).encode()
    return Artifact(Descriptor(media_type, sha256(raw), len(raw)), raw, (), tuple(children))


def attestation(child: Artifact) -> Artifact:
    """Make a BuildKit attestation of `child`: its place is beside it in the index (`unknown/unknown`)."""
    claim = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2"}
    claim["subject"] = child.digest
    data = json.dumps(claim).encode()
    statement = Blob(Descriptor("application/vnd.in-toto+json", sha256(data), len(data)), data, sha256(data))
    made = image([statement], platform="unknown/unknown")
    note = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": child.digest,
    }
    return replace(made, descriptor=replace(made.descriptor, annotations=note))


def referrer(
    subject: Descriptor, *, artifact_type: str = "application/spdx+json", data: bytes = b'{"spdx": true}'
) -> Artifact:
    """Make an artifact (an SBOM, say) that refers to `subject` (distribution spec, referrers)."""
    content = Blob(Descriptor(artifact_type, sha256(data), len(data)), data)
    empty = Blob(Descriptor(OCI_EMPTY, sha256(EMPTY_JSON), len(EMPTY_JSON)), EMPTY_JSON)
    plain = Descriptor(subject.media_type, subject.digest, subject.size)
    return _manifest(OCI_MANIFEST, empty, [content], {"artifactType": artifact_type, "subject": plain.to_json()})


def referrers_tag(digest: str) -> str:
    """Return the fallback tag that lists the referrers of `digest` where there is no referrers API."""
    return f"sha256-{hex_of(digest)}"


def referrers_index(referrers: Sequence[Artifact]) -> Artifact:
    """Make the index that lies below the fallback tag."""
    listed = [
        replace(item, descriptor=replace(item.descriptor, artifact_type=_artifact_type(item))) for item in referrers
    ]
    return index(listed)


def cosign_signature(subject: Descriptor, reference: str) -> Artifact:
    """Make what lies below `sha256-<hex>.sig`: a cosign signature in form; nobody has the key."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": subject.digest},
        "type": "cosign container image signature",
    }
    payload = json.dumps({"critical": critical, "optional": None}).encode()
    note = {"dev.cosignproject.cosign/signature": "MEUCIQDunsignedunsignedunsigned=="}
    described = Descriptor("application/vnd.dev.cosign.simplesigning.v1+json", sha256(payload), len(payload), note)
    return image([Blob(described, payload, sha256(payload))], platform="linux/amd64")


def _artifact_type(item: Artifact) -> str:
    return str(json.loads(item.raw).get("artifactType", ""))


def _manifest(media_type: str, config: Blob, layers: Sequence[Blob], more: Mapping[str, Any]) -> Artifact:
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if "artifactType" in more:
        body["artifactType"] = more["artifactType"]
    body["config"] = config.descriptor.to_json()
    body["layers"] = [item.descriptor.to_json() for item in layers]
    body.update({key: value for key, value in more.items() if value and key != "artifactType"})
    raw = json.dumps(body, indent=3).encode()  # an indent of its own: bytes must survive, not meaning
    return Artifact(Descriptor(media_type, sha256(raw), len(raw)), raw, (config, *layers))
