"""ClamAV files as OCI artifacts: one per database with its patches and signatures, one for custom signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from airbundle.bundle.clamav import CUSTOM_FAMILY, CvdHeader
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor, airbundle_type, artifact_manifest, canonical_json

KIND = "clamav"
FILE_TYPE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
VERSION = "org.opencontainers.image.version"


@dataclass(frozen=True)
class ClamavFile:
    """A checked file.

    Attributes:
        name: as it is served.
        path: where it lies now.
        size: in bytes.
        family: the database it belongs to, or `custom`.
        header: of a database; None for patches, signatures and custom files.
    """

    name: str
    path: Path
    size: int
    digest: str
    family: str
    header: CvdHeader | None = None

    @property
    def info(self) -> Mapping[str, str]:
        """Facts for the lock: version, build time (RFC 3339), signatures, functionality level."""
        header = self.header
        if header is None:
            return {}
        return {
            "version": str(header.version),
            "time": rfc3339(header.time),
            "signatures": str(header.signatures),
            "level": str(header.level),
        }


@dataclass(frozen=True)
class ClamavArtifact:
    """The artifact of one family.

    Attributes:
        name: `daily`, or `custom`.
        ref: its name in the bundle, `clamav/daily:27001`.
        manifest: its bytes; `descriptor` points to them.
        layers: one per file, in the manifest's order; `files` in the same order.
        info: facts for the lock.
    """

    name: str
    ref: str
    manifest: bytes
    descriptor: Descriptor
    layers: tuple[Descriptor, ...]
    files: tuple[ClamavFile, ...]
    info: Mapping[str, str] = field(default_factory=dict)


def clamav_artifacts(files: Iterable[ClamavFile]) -> list[ClamavArtifact]:
    """Return the artifacts that carry `files`; equal files give equal bytes, wherever they lie."""
    families: dict[str, list[ClamavFile]] = {}
    for file in files:
        families.setdefault(file.family, []).append(file)
    return [_artifact(name, sorted(families[name], key=_order)) for name in sorted(families)]


def _order(file: ClamavFile) -> tuple[bool, str]:
    # The database first: it is what a person looks for.
    return (file.header is None, file.name)


def _artifact(family: str, files: list[ClamavFile]) -> ClamavArtifact:
    header = next((file.header for file in files if file.header), None)
    layers = tuple(_layer(file, header) for file in files)
    if header is None:
        version = hex_of(sha256(canonical_json([[file.name, file.digest] for file in files])))[:12]
        info = {"name": family, "version": version, "files": str(len(files))}
    else:
        version = str(header.version)
        info = {"name": family, **files[0].info, "files": str(len(files))}
    annotations = {TITLE: family, VERSION: version}
    if header is not None:
        annotations[CREATED] = rfc3339(header.time)
    manifest = artifact_manifest(airbundle_type(KIND), layers, annotations=annotations)
    descriptor = Descriptor(OCI_MANIFEST, sha256(manifest), len(manifest), artifact_type=airbundle_type(KIND))
    return ClamavArtifact(family, f"{KIND}/{family}:{version}", manifest, descriptor, layers, tuple(files), info)


def _layer(file: ClamavFile, header: CvdHeader | None) -> Descriptor:
    annotations = {TITLE: file.name}
    if header is not None and file.family != CUSTOM_FAMILY:
        # Clients believe in an update only when Last-Modified is not older than the time inside the header.
        annotations[CREATED] = rfc3339(header.time)
    return Descriptor(FILE_TYPE, file.digest, file.size, annotations)


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, in whole seconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
