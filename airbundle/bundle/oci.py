"""OCI and Docker manifests: media types, descriptors, and bounded, suspicious parsing of raw bytes.

Raw bytes are the truth; what is here are views on them. Specs: OCI image spec `descriptor.md`, `manifest.md`,
`image-index.md`; Docker `manifest-v2-2`; CVE-2021-41190 (a body that is two things at once).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from airbundle.bundle.digest import parse_digest
from airbundle.errors import VerificationError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
ATTESTATION_TYPE = "vnd.docker.reference.type"
"""Annotation of a child of an index that is BuildKit's attestation of another child."""
ATTESTATION_OF = "vnd.docker.reference.digest"
BUNDLE_REF = "dev.airbundle.ref"
BUNDLE_KIND = "dev.airbundle.kind"

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Largest manifest in bytes that is read; the distribution spec's own lower bound for registries."""

_LONGEST_NUMBER = 100  # digits: more than anything counts

EMPTY_JSON = b"{}"


@dataclass(frozen=True)
class Platform:
    """`os/architecture[/variant]`."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse `linux/arm64/v8`. Raises ValueError when it isn't two or three non-empty parts."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"{text!r} is no platform; expected os/architecture[/variant], such as linux/amd64")
        return cls(*parts)

    def satisfies(self, wanted: Platform) -> bool:
        """Tell whether this platform is `wanted`; arm64 without a variant is arm64/v8."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        return not wanted.variant or _variant(self) == _variant(wanted)


def _variant(platform: Platform) -> str:
    return platform.variant or ("v8" if platform.architecture == "arm64" else "")


@dataclass(frozen=True)
class Descriptor:
    """A content descriptor: what kind of bytes, which digest, how many.

    `size` is in bytes. `annotations` and `platform` are as in the JSON it came from.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    artifact_type: str = field(default="", compare=False)

    @property
    def is_index(self) -> bool:
        """Whether it points to an index or manifest list."""
        return self.media_type in INDEX_TYPES

    @property
    def is_manifest(self) -> bool:
        """Whether it points to a manifest of one image or artifact."""
        return self.media_type in MANIFEST_TYPES

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, fields in the order of the spec."""
        body: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            body["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                body["platform"]["variant"] = self.platform.variant
        if self.artifact_type:
            body["artifactType"] = self.artifact_type
        if self.annotations:
            body["annotations"] = dict(sorted(self.annotations.items()))
        return body

    @classmethod
    def from_json(cls, value: object, *, what: str) -> Descriptor:
        """Read a descriptor from parsed JSON.

        Raises:
            VerificationError: a field is missing or of the wrong form.
        """
        if not isinstance(value, dict):
            raise VerificationError(f"{what}: a descriptor is an object, found {type(value).__name__}")
        digest, size, annotations = value.get("digest"), value.get("size"), value.get("annotations")
        if type(size) is not int or not 0 <= size < 1 << 53:
            raise VerificationError(f"{what}: size {size!r} is no number of bytes")
        return cls(
            _text(value, "mediaType", what),
            parse_digest(digest, what=what),
            size,
            _annotations(annotations, what),
            _platform(value["platform"]) if "platform" in value else None,
            _text(value, "artifactType", what) if "artifactType" in value else "",
        )


def _text(body: dict[str, Any], name: str, what: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise VerificationError(f"{what}: {name} is text, found {type(value).__name__}")
    return value or ""


def _annotations(value: object, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise VerificationError(f"{what}: annotations map text to text")
    return value


def _platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    os, architecture, variant = (value.get(name, "") for name in ("os", "architecture", "variant"))
    if not (isinstance(os, str) and isinstance(architecture, str) and isinstance(variant, str)):
        return None
    return Platform(os, architecture, variant)


@dataclass(frozen=True)
class Manifest:
    """A parsed view of a manifest or index; `raw` are the bytes it was read from."""

    media_type: str
    raw: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_index(self) -> bool:
        """Whether it is an index or manifest list."""
        return self.media_type in INDEX_TYPES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers; empty for an index."""
        return ((self.config,) if self.config else ()) + self.layers

    @property
    def kind_type(self) -> str:
        """The artifact type, which falls back to the config's media type (image spec, manifest.md)."""
        return self.artifact_type or (self.config.media_type if self.config else "")


def parse_json(raw: bytes, *, what: str, limit: int = MANIFEST_LIMIT) -> Any:
    """Parse bounded JSON from outside; duplicate keys are refused, because parsers disagree on them.

    Raises:
        VerificationError: too long, not UTF-8 JSON, a key stands twice, or a number is absurdly long.
    """
    if len(raw) > limit:
        raise VerificationError(f"{what}: {len(raw)} bytes are more than the {limit} allowed")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise VerificationError(f"{what}: a key stands twice in one object")
        return result

    def refused(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON value")

    def whole(digits: str) -> int:
        # Python before 3.9.14 takes minutes for a number of a megabyte.
        return int(digits) if len(digits) <= _LONGEST_NUMBER else refused(f"{digits[:20]}…")

    try:
        return json.loads(raw, object_pairs_hook=unique, parse_constant=refused, parse_int=whole)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{what}: not JSON: {error}") from None


def canonical_json(value: object) -> bytes:
    """Return the one form in which airbundle writes JSON that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_manifest(raw: bytes, media_type: str = "", *, what: str) -> Manifest:
    """Read a manifest or index.

    Args:
        raw: the bytes as served.
        media_type: what the descriptor or Content-Type says; may be empty.
        what: the thing, for errors.

    Raises:
        VerificationError: schema 1, two kinds in one body, a type that contradicts `media_type`, bad fields.
    """
    body = parse_json(raw, what=what)
    if not isinstance(body, dict):
        raise VerificationError(f"{what}: a manifest is an object")
    version = body.get("schemaVersion")
    if version == 1 or media_type in DOCKER_SCHEMA1:
        raise VerificationError(
            f"{what}: Docker schema 1 manifests are not supported: they carry no digest of their configuration",
            hint="push the image again with a current tool, which writes schema 2 or OCI",
        )
    if version != 2 or isinstance(version, float):
        raise VerificationError(f"{what}: schemaVersion is {repr(version)[:40]}, expected 2")
    has_children = "manifests" in body
    has_blobs = "layers" in body or "config" in body
    if has_children == has_blobs:
        both = "both an index and a manifest" if has_children else "neither an index nor a manifest"
        raise VerificationError(f"{what}: the body is {both} (CVE-2021-41190)")
    declared = _text(body, "mediaType", what)
    if declared and media_type and declared != media_type:
        raise VerificationError(f"{what}: the body says {declared!r}, expected {media_type!r}")
    actual = declared or media_type or (OCI_INDEX if has_children else OCI_MANIFEST)
    if actual not in (INDEX_TYPES if has_children else MANIFEST_TYPES):
        raise VerificationError(f"{what}: media type {actual!r} does not fit the body, or is not supported")
    config = _one(body, "config", what)
    if config is None and not has_children:
        raise VerificationError(f"{what}: the manifest has no config")
    return Manifest(
        media_type=actual,
        raw=raw,
        config=config,
        layers=_many(body, "layers", what),
        manifests=_many(body, "manifests", what),
        subject=_one(body, "subject", what),
        artifact_type=_text(body, "artifactType", what),
        annotations=_annotations(body.get("annotations"), what),
    )


def _one(body: dict[str, Any], name: str, what: str) -> Descriptor | None:
    value = body.get(name)
    return None if value is None else Descriptor.from_json(value, what=f"{what}: {name}")


def _many(body: dict[str, Any], name: str, what: str) -> tuple[Descriptor, ...]:
    values = body.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise VerificationError(f"{what}: {name} is a list")
    return tuple(Descriptor.from_json(value, what=f"{what}: {name}[{i}]") for i, value in enumerate(values))


def artifact_manifest(
    artifact_type: str,
    layers: tuple[Descriptor, ...],
    *,
    config: Descriptor | None = None,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of an OCI artifact manifest of our own; equal arguments give equal bytes.

    Without `config` it is the empty descriptor (image spec, manifest.md, "guidelines for artifact usage").
    """
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if artifact_type:
        body["artifactType"] = artifact_type
    body["config"] = (config or EMPTY_DESCRIPTOR).to_json()
    body["layers"] = [layer.to_json() for layer in layers]
    if subject is not None:
        body["subject"] = subject.to_json()
    if annotations:
        body["annotations"] = dict(annotations)
    return canonical_json(body)


EMPTY_DESCRIPTOR = Descriptor(OCI_EMPTY, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", 2)


def airbundle_type(kind: str) -> str:
    """Return the artifact type of one of our own kinds, such as `clamav` or `file`."""
    return f"application/vnd.airbundle.{kind}.v1"
