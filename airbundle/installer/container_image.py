"""The registry's image: found among a bundle's images, and streamed out of it as a docker-archive.

Nothing is written to disk and no layer is held in memory: the archive is composed from the bundle's blobs while the
engine takes it. Spec: moby `image/spec/v1.2.md`, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.content import BlobReader
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.docker_archive import is_attestation
from airbundle.bundle.docker_save import CONFIG_LIMIT, config_diff_ids
from airbundle.bundle.index import IMAGE, ref_of
from airbundle.bundle.oci import Descriptor, Manifest, Platform, canonical_json, parse_json
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.sizes import counted
from airbundle.bundle.tar import BLOBS, BLOCK, END, LARGEST_OCTAL, header
from airbundle.errors import DigestMismatch, SiteError, UsageError, VerificationError
from airbundle.progress import Item
from airbundle.store.delta import nodes_of
from airbundle.store.reader import BundleFile

REPOSITORY = "airbundle.local/registry"
"""What the image is called in the engine: a name of our own, so that no other one is moved to it."""

_HUB = "docker.io/library/registry"
_DISTRIBUTION = "/distribution/distribution"
_TAG = re.compile(r"v?[23](?:[._-].*)?")
_PACKED = re.compile(r"[+.](?:gzip|zstd)$")
_LAYER_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class RegistryImage:
    """An image for one platform.

    Attributes:
        ref: its name in the bundle.
        digest: of the manifest for the platform.
        config: the bytes of its configuration.
        layers: in order; packed or not. None, and no configuration, of an image that only the engine has.
        diff_ids: digests of the unpacked layers, by which an engine knows that it has the image.
        user: whom the image runs as; empty for root.
    """

    ref: str
    digest: str
    config: bytes = field(repr=False)
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    user: str

    @property
    def name(self) -> str:
        """What it is called in the engine."""
        return f"{REPOSITORY}:{hex_of(self.digest)[:12]}"

    @property
    def zstd(self) -> bool:
        """Whether a layer is packed with zstd."""
        return any(layer.media_type.endswith("zstd") for layer in self.layers)

    @property
    def size(self) -> int:
        """Bytes of its layers."""
        return sum(layer.size for layer in {layer.digest: layer for layer in self.layers}.values())


def is_registry(ref: str) -> bool:
    """Tell whether an image's name says that it is distribution's registry, version 2 or 3."""
    try:
        reference = parse_reference(ref)
    except UsageError:
        return False
    if reference.name == _HUB or f"/{reference.repository}".endswith(_DISTRIBUTION):
        return True
    return f"/{reference.repository}".endswith("/registry") and _TAG.fullmatch(reference.tag) is not None


def has_registry(bundle: BundleFile) -> bool:
    """Tell whether one of a bundle's images says by its name that it is a registry."""
    return any(is_registry(ref_of(root)) for root in bundle.roots(IMAGE))


def registry_blobs(bundle: BundleFile) -> frozenset[str]:
    """Return the blobs of the images that say by their names that they are registries.

    Raises:
        VerificationError: a manifest is damaged.
    """
    roots = [root for root in bundle.roots(IMAGE) if is_registry(ref_of(root))]
    nodes = [node for root in roots for node in nodes_of(bundle, root)]
    return frozenset(blob.digest for node in nodes for blob in node.manifest.blobs)


def find_registry_image(bundle: BundleFile, platform: Platform, wanted: str = "") -> RegistryImage:
    """Return the registry's image for a platform; of several the newest.

    Args:
        bundle: whose signature has been checked.
        platform: of the engine.
        wanted: its name in the bundle; empty: it is found by its name.

    Raises:
        UsageError: the bundle has no image of the name that is wanted.
        SiteError: it has no registry image, or not for this platform; nothing was changed.
        VerificationError: the image is damaged, or no image that an engine can run.
    """
    roots = _candidates(bundle, wanted)
    others: set[str] = set()
    for root in roots:
        for image, found in _images(bundle, root):
            if found.satisfies(platform):
                return image
            others.add(str(found))
    refs, has = ", ".join(map(ref_of, roots)), ", ".join(sorted(others)) or "no platform"
    raise SiteError(
        f"{refs}: the bundle has it for {has}, the Docker engine runs {platform}",
        outcome="unchanged",
        hint=f"add {platform} to the image's platforms in bundle.yaml and build again, or use --registry embedded",
    )


def _candidates(bundle: BundleFile, wanted: str) -> list[Descriptor]:
    images = bundle.roots(IMAGE)
    if wanted:
        name = parse_reference(wanted).full_name
        found = [root for root in images if ref_of(root).partition("@")[0] == name]
        if not found:
            raise UsageError(
                f"{bundle.path.name} has no image {name}",
                hint=f"`airbundle inspect {bundle.path.name}` lists its images",
            )
        return found
    found = [root for root in images if is_registry(ref_of(root))]
    if not found:
        found_here = counted(len(images), "image")
        raise SiteError(
            f"{bundle.path.name} carries no registry to run in a container: found {found_here}, none that is one",
            outcome="unchanged",
            hint="add docker.io/library/registry:2 to the images in bundle.yaml and build again, "
            "or use --registry embedded, which needs no image",
        )
    return sorted(found, key=lambda root: _age(parse_reference(ref_of(root))), reverse=True)


def _age(reference: Reference) -> tuple[tuple[int, ...], str]:
    """Return what sorts a newer version after an older one; tags without a number are the oldest."""
    numbers = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", reference.tag)
    return tuple(map(int, numbers[1].split("."))) if numbers else (), str(reference)


def _images(bundle: BundleFile, root: Descriptor) -> Iterator[tuple[RegistryImage, Platform]]:
    """Yield the images below a root that are carried, with what they run on as their configuration says."""
    ref = ref_of(root)
    for node in nodes_of(bundle, root):
        if node.manifest.config is not None and not is_attestation(node.descriptor):
            yield _image(bundle, ref, node.descriptor.digest, node.manifest, node.manifest.config)


def _image(
    bundle: BundleFile, ref: str, digest: str, manifest: Manifest, config: Descriptor
) -> tuple[RegistryImage, Platform]:
    raw = bundle.read_small(config.digest, CONFIG_LIMIT)
    diff_ids = config_diff_ids(raw, what=ref)
    if len(diff_ids) != len(manifest.layers):
        raise VerificationError(f"{ref}: {len(manifest.layers)} layers, but {len(diff_ids)} in its configuration")
    for layer in manifest.layers:
        if _PACKED.sub("", layer.media_type) not in _LAYER_TYPES:
            raise VerificationError(f"{ref}: {layer.media_type!r} is no layer that a Docker engine can load")
        if layer.size > LARGEST_OCTAL:
            raise VerificationError(f"{ref}: a layer of {layer.size} bytes; this is no image of a registry")
    body: dict[str, Any] = parse_json(raw, what=ref, limit=CONFIG_LIMIT)
    settings = body.get("config")
    user = settings.get("User") if isinstance(settings, dict) else ""
    image = RegistryImage(ref, digest, raw, manifest.layers, tuple(diff_ids), str(user or ""))
    return image, Platform(*(str(body.get(key) or "") for key in ("os", "architecture", "variant")))


def archive(source: BlobReader, image: RegistryImage, item: Item) -> Iterator[bytes]:
    """Yield a docker-archive with this one image, under its name in the engine; layers as they are.

    No piece is empty. Each layer is hashed on its way; its last piece is given out when the digest is right, and the
    archive's end when all are. An engine that loads it takes nothing from an archive without its end.

    Args:
        source: the bundle.
        image: of that bundle.
        item: gets the bytes of layers as they go.

    Raises:
        DigestMismatch: a layer is damaged.
    """
    entry = {
        "Config": _path(sha256(image.config)),
        "RepoTags": [image.name],
        "Layers": [_path(layer.digest) for layer in image.layers],
    }
    yield from _member("manifest.json", canonical_json([entry]))
    yield from _member(_path(sha256(image.config)), image.config)
    for layer in {layer.digest: layer for layer in image.layers}.values():
        yield header(_path(layer.digest), layer.size)
        yield from _layer(source, layer, image.ref, item)
        if layer.size % BLOCK:
            yield _padding(layer.size)
    yield END


def _path(digest: str) -> str:
    return BLOBS + hex_of(digest)


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield header(name, len(data)) + data + _padding(len(data))


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _layer(source: BlobReader, layer: Descriptor, ref: str, item: Item) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    held = b""
    position = 0
    with memoryview(bytearray(_CHUNK)) as buffer:
        while position < layer.size:
            count = source.read_into(layer.digest, position, buffer[: layer.size - position])
            if not count:
                break
            if held:
                yield held
            held = bytes(buffer[:count])
            hasher.update(held)
            position += count
            item.advance(count)
    if f"sha256:{hasher.hexdigest()}" != layer.digest:
        raise DigestMismatch(
            f"{ref}: the bytes of layer {layer.digest} are not those of its digest",
            hint="`airbundle verify` lists all that is damaged; carry the file again",
        )
    if held:
        yield held
