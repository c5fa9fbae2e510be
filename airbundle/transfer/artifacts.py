"""Bundles as artifacts in registries: their parts are layers, moved by our own client; the manifest goes by oras.

Large bodies never pass through oras-py, which holds them in memory and checks no digest (design §9).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from airbundle.bundle.oci import EMPTY_JSON, Descriptor, airbundle_type, parse_manifest
from airbundle.bundle.parts import Part
from airbundle.errors import Interrupted, UsageError, VerificationError
from airbundle.progress import SILENT, Phase, Reporter
from airbundle.transfer.oras_door import push_artifact
from airbundle.transfer.repository import Repository

ARTIFACT_TYPE = airbundle_type("bundle")
PART_TYPE = "application/vnd.airbundle.bundle.part.v1"
TITLE = "org.opencontainers.image.title"
JOBS = 4

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,200}\.airbundle")


@dataclass(frozen=True)
class Artifact:
    """A published bundle.

    Attributes:
        name: its file name.
        digest: of the manifest.
        parts: its bytes in order.
    """

    name: str
    digest: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Size of the bundle in bytes."""
        return sum(part.size for part in self.parts)


class BundleBytes(Protocol):
    """Where a bundle's bytes are read: `read_at(position, buffer)` fills the buffer, less only at the end."""

    def read_at(self, position: int, buffer: memoryview) -> int:
        """Fill `buffer` from `position` on; return how many bytes."""
        ...


def publish_parts(
    repository: Repository,
    tag: str,
    name: str,
    parts: Sequence[Part],
    source: BundleBytes,
    *,
    annotations: Mapping[str, str],
    reporter: Reporter = SILENT,
    jobs: int = JOBS,
) -> tuple[Artifact, int]:
    """Push a bundle; what the registry has is not sent.

    Args:
        repository, tag: where to.
        name: the bundle's file name.
        parts: all of its bytes, in order, each with its digest.
        source: gives the bytes.
        annotations: of the manifest, besides the title.

    Returns:
        The artifact, and how many bytes were sent.

    Raises:
        DigestMismatch: the bundle is damaged; no manifest was pushed.
        Refused, Unauthorized, RemoteError: the registry.
    """
    sent = _Sent()
    with reporter.phase("publish", total=sum(part.size for part in parts)) as phase:
        stop = threading.Event()
        with ThreadPoolExecutor(max(jobs, 1), "publish") as pool:
            distinct = {part.digest: part for part in parts}.values()
            readers = [_PartReader(part, source, stop) for part in distinct]
            pushes = [pool.submit(_push, repository, reader, phase, sent) for reader in readers]
            try:
                wait(pushes, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
                for push in pushes:
                    push.cancel()
    failures = [push.exception() for push in pushes if not push.cancelled()]
    for failure in sorted((f for f in failures if f is not None), key=lambda f: isinstance(f, Interrupted)):
        raise failure
    repository.push_blob_bytes(EMPTY_JSON)
    layers = [_layer(name, number, part) for number, part in enumerate(parts, 1)]
    digest = push_artifact(repository, tag, ARTIFACT_TYPE, layers, {**annotations, TITLE: name})
    return Artifact(name, digest, tuple(parts)), sent.total


class _Sent:
    """Bytes that went out, counted by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.total = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count


def _layer(name: str, number: int, part: Part) -> Descriptor:
    # Stock `oras pull` writes each layer to a file of this title; `cat` in order of names gives the bundle.
    return Descriptor(PART_TYPE, part.digest, part.size, annotations={TITLE: f"{name}.part-{number:04}"})


@dataclass(frozen=True)
class _PartReader:
    """A part as a `BlobReader`; stops when another part has failed."""

    part: Part
    source: BundleBytes
    stop: threading.Event

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:  # noqa: ARG002 - it has one blob
        if self.stop.is_set():
            raise Interrupted
        left = max(self.part.size - offset, 0)
        return self.source.read_at(self.part.offset + offset, buffer[:left]) if left else 0


def _push(repository: Repository, reader: _PartReader, phase: Phase, sent: _Sent) -> None:
    part = reader.part
    label = part.digest[7:19]
    if reader.stop.is_set():
        raise Interrupted
    if repository.has_blob(part.digest):
        phase.skip(label, part.size, "exists")
        return
    blob = Descriptor(PART_TYPE, part.digest, part.size)
    with phase.item(label, part.size) as item:

        def advance(count: int) -> None:
            sent.add(count)
            item.advance(count)

        repository.push_blob(blob, reader, advance=advance, check=False)


def find_artifact(repository: Repository, ref: str) -> Artifact:
    """Ask for a published bundle.

    Raises:
        NotFound: there is none of that name.
        UsageError: it is something else than a bundle.
        VerificationError: its manifest is not as `publish_parts` makes it.
    """
    descriptor, raw = repository.fetch_manifest(ref)
    what = repository.label(ref)
    manifest = parse_manifest(raw, descriptor.media_type, what=what)
    if manifest.artifact_type != ARTIFACT_TYPE:
        kind = manifest.kind_type or manifest.media_type
        raise UsageError(f"{what} is no bundle: found {kind[:100]!r}, expected {ARTIFACT_TYPE}")
    name = manifest.annotations.get(TITLE, "")
    if not _NAME.fullmatch(name):
        raise VerificationError(f"{what}: {name[:100]!r} is no file name of a bundle")
    parts, offset = [], 0
    for layer in manifest.layers:
        if layer.media_type != PART_TYPE:
            raise VerificationError(f"{what}: a layer is {layer.media_type[:100]!r}, expected {PART_TYPE}")
        parts.append(Part(offset, layer.size, layer.digest))
        offset += layer.size
    if not offset:
        raise VerificationError(f"{what}: the bundle has no bytes")
    return Artifact(name, descriptor.digest, tuple(parts))
