"""Bundles for tests, made in milliseconds from the artifacts of `tests.support.images`.

made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")})
built = write_bundle(tmp_path / "x.airbundle", made)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from airbundle.bundle.index import IMAGE
from airbundle.bundle.layout import BundleContent, Extra, content_of
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import Descriptor
from airbundle.store.plan import BaseBundle, BundlePlan, plan_bundle
from airbundle.store.writer import BuiltBundle, BundleWriter
from tests.support.images import Artifact

SERIAL = 1767225600
CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Made:
    """Content of a bundle together with the bytes of its blobs."""

    content: BundleContent
    bytes: Mapping[str, bytes] = field(repr=False)

    @property
    def lock(self) -> Lock:
        return self.content.lock


def locked(
    ref: str,
    artifact: Artifact,
    *,
    kind: str = IMAGE,
    referrers: Sequence[Artifact | Descriptor] = (),
    children: Sequence[Artifact] | None = None,
    info: Mapping[str, str] | None = None,
) -> LockedRoot:
    """Return the lock's entry for an artifact; `children` are those carried, by default all."""
    carried = artifact.children if children is None else children
    return LockedRoot(
        kind=kind,
        ref=ref,
        requested=ref,
        source="registry",
        origin=ref.rpartition(":")[0],
        descriptor=replace(artifact.descriptor, platform=None),
        children=tuple(child.descriptor for child in carried),
        referrers=tuple(item.descriptor if isinstance(item, Artifact) else item for item in referrers),
        info=info or {},
    )


def lock_of(roots: Sequence[LockedRoot], *, name: str = "test", version: str = "1.0.0", expires: str = "") -> Lock:
    """Return a lock of these roots."""
    return Lock(name, version, "sha256:" + "0" * 64, SERIAL, CREATED, expires, tuple(roots), "0.0.0")


def make(
    artifacts: Sequence[Artifact],
    roots: Sequence[LockedRoot],
    extra: Sequence[Extra] = (),
    *,
    lock: Lock | None = None,
) -> Made:
    """Return the content for `roots`; the bytes come from `artifacts`."""
    manifests: dict[str, bytes] = {}
    blobs: dict[str, bytes] = {}
    for artifact in artifacts:
        manifests.update(artifact.manifests())
        blobs.update(artifact.all_blobs())
    return Made(content_of(lock or lock_of(roots), manifests, extra), blobs)


def make_images(images: Mapping[str, Artifact], **lock: str) -> Made:
    """Return the content for images by full name."""
    roots = [locked(ref, image) for ref, image in images.items()]
    return make(list(images.values()), roots, lock=lock_of(roots, **lock))


def write_bundle(
    path: Path,
    made: Made,
    *,
    installer: bytes | None = b"PK the zip",
    signatures: Sequence[tuple[str, bytes]] = (),
    base: BaseBundle | None = None,
    volume_size: int | None = None,
    checksum: bool = True,
) -> BuiltBundle:
    """Plan and write a bundle in one go."""
    plan = plan_bundle(made.content, installer=installer, base=base)
    with BundleWriter.create(plan, path, signatures=signatures, volume_size=volume_size, checksum=checksum) as writer:
        fill(writer, plan, made)
        return writer.finish()


def fill(writer: BundleWriter, plan: BundlePlan, made: Made, *, count: int | None = None) -> None:
    """Write the blobs that are pending, or the first `count` of them."""
    for blob in writer.pending()[:count]:
        writer.write_at(blob.digest)(0, memoryview(made.bytes[blob.digest]))
        writer.done(blob.digest)
