"""Which image of a bundle is the registry, and the docker-archive that is composed of it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.docker_save import read_save
from airbundle.bundle.oci import OCI_LAYER, Descriptor, Platform
from airbundle.errors import DigestMismatch, SiteError, UsageError, VerificationError
from airbundle.installer.container_image import RegistryImage, archive, find_registry_image, is_registry
from airbundle.progress import SILENT
from airbundle.store.cache import Cache
from airbundle.store.reader import BundleFile, open_bundle
from tests.installer.containers import NEWER, REGISTRY, on_platform, write
from tests.support.images import Artifact, Blob, attestation, image, index, layer, noise, tiny_image

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64", "v8")
Opened = Callable[[Mapping[str, Artifact]], BundleFile]


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Opened:
    """Write and open a bundle."""

    def make(images: Mapping[str, Artifact]) -> BundleFile:
        bundle = open_bundle([write(tmp_path / "x.airbundle", images)])
        request.addfinalizer(bundle.close)
        return bundle

    return make


@pytest.mark.parametrize(
    "ref",
    [
        "docker.io/library/registry:2",
        "docker.io/library/registry:3.0.0",
        "docker.io/library/registry:latest",
        "docker.io/library/registry:airbundle-0123456789ab",
        "quay.io/mirrors/registry:2.8.3",
        "host:5000/registry:v2",
        "ghcr.io/team/registry:3-alpine",
        "docker.io/distribution/distribution:edge",
        "ghcr.io/distribution/distribution:3.0.0",
    ],
)
def test_what_is_a_registry(ref: str) -> None:
    assert is_registry(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "docker.io/library/redis:2",
        "docker.io/library/registry-ui:2",
        "quay.io/team/registry:1.0",
        "quay.io/team/registry:20",
        "quay.io/team/registry:latest",
        "quay.io/registry/ui:2",
        "quay.io/team/distribution:3",
        "not a name",
    ],
)
def test_what_is_none(ref: str) -> None:
    assert not is_registry(ref)


def test_the_newest_wins(opened: Opened) -> None:
    images = {f"docker.io/library/registry:{tag}": tiny_image(tag) for tag in ("2", "2.8.10", "2.8.3", "latest")}
    assert find_registry_image(opened(images), AMD64).ref == "docker.io/library/registry:2.8.10"


def test_the_newest_that_runs_on_the_platform_wins(opened: Opened) -> None:
    images = {REGISTRY: tiny_image("2"), NEWER: tiny_image("2.8.3", platform="linux/arm64")}
    bundle = opened(images)
    assert find_registry_image(bundle, AMD64).ref == REGISTRY
    assert find_registry_image(bundle, ARM64).ref == NEWER


def test_the_platform_of_an_index(opened: Opened) -> None:
    amd64, arm64 = tiny_image("x"), tiny_image("x", platform="linux/arm64/v8")
    bundle = opened({REGISTRY: index([attestation(amd64), arm64, amd64])})
    for platform, child in ((AMD64, amd64), (ARM64, arm64), (Platform("linux", "arm64"), arm64)):
        found = find_registry_image(bundle, platform)
        assert (found.digest, found.diff_ids) == (child.digest, tuple(blob.diff_id for blob in child.blobs[1:]))


def test_the_configuration_tells_the_platform_and_not_the_index(opened: Opened) -> None:
    bundle = opened({REGISTRY: index([on_platform(tiny_image("x", platform="linux/s390x"), "linux/amd64")])})
    with pytest.raises(SiteError, match="has it for linux/s390x, the Docker engine runs linux/amd64") as caught:
        find_registry_image(bundle, AMD64)
    assert caught.value.outcome == "unchanged"
    assert "add linux/amd64" in caught.value.hint


def test_the_one_that_is_wanted(opened: Opened) -> None:
    images = {REGISTRY: tiny_image("2"), NEWER: tiny_image("3"), "quay.io/team/own:1": tiny_image("own")}
    bundle = opened(images)
    assert find_registry_image(bundle, AMD64, "registry:2").ref == REGISTRY
    assert find_registry_image(bundle, AMD64, "quay.io/team/own:1").ref == "quay.io/team/own:1"
    with pytest.raises(UsageError, match=r"has no image quay\.io/team/own:2") as caught:
        find_registry_image(bundle, AMD64, "quay.io/team/own:2")
    assert "inspect" in caught.value.hint


def test_no_registry(opened: Opened) -> None:
    with pytest.raises(SiteError, match="found 1 image, none that is one") as caught:
        find_registry_image(opened({"docker.io/library/redis:2": tiny_image("redis")}), AMD64)
    assert "bundle.yaml" in caught.value.hint


def test_layers_that_no_engine_loads(opened: Opened) -> None:
    base = layer({"x": b"x"})
    odd = replace(base, descriptor=replace(base.descriptor, media_type=f"{OCI_LAYER}+encrypted"))
    with pytest.raises(VerificationError, match=r"encrypted.* is no layer"):
        find_registry_image(opened({REGISTRY: image([odd])}), AMD64)


def test_layers_that_the_configuration_does_not_know(opened: Opened) -> None:
    made = image([layer({"x": b"x"})])
    body = json.loads(made.raw)
    body["layers"] *= 2
    raw = json.dumps(body).encode()
    wrong = replace(made, raw=raw, descriptor=replace(made.descriptor, digest=sha256(raw), size=len(raw)))
    with pytest.raises(VerificationError, match="2 layers, but 1 in its configuration"):
        find_registry_image(opened({REGISTRY: wrong}), AMD64)


def test_zstd_layers_are_known(opened: Opened) -> None:
    data = b"\x28\xb5\x2f\xfd" + noise("zstd", 100)
    blob = Blob(Descriptor(f"{OCI_LAYER}+zstd", sha256(data), len(data)), data, sha256(b"unpacked"))
    bundle = opened({REGISTRY: image([blob]), NEWER.replace("registry", "redis"): tiny_image("redis")})
    assert find_registry_image(bundle, AMD64).zstd
    assert not find_registry_image(bundle, AMD64, NEWER.replace("registry", "redis")).zstd


class Blobs:
    """Gives blobs in pieces of odd sizes."""

    def __init__(self, blobs: Mapping[str, bytes], most: int) -> None:
        self.blobs = blobs
        self.most = most

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        data = self.blobs[digest][offset:][: min(self.most, len(buffer))]
        buffer[: len(data)] = data
        return len(data)


def registry(made: Artifact) -> RegistryImage:
    config, *layers = made.blobs
    assert config.data is not None
    diff_ids = tuple(blob.diff_id for blob in layers)
    descriptors = tuple(blob.descriptor for blob in layers)
    return RegistryImage(REGISTRY, made.digest, config.data, descriptors, diff_ids, "")


@given(
    sizes=st.lists(st.integers(0, 5000), max_size=4),
    twice=st.booleans(),
    most=st.integers(1, 3000),
    compressed=st.booleans(),
)
def test_an_archive_reads_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], twice: bool, most: int, compressed: bool
) -> None:
    made = tiny_image("x", sizes=sizes, compression="gzip" if compressed else "none")
    if twice and sizes:
        layers = [*made.blobs[1:], made.blobs[1]]
        made = image(layers)
    found = registry(made)
    with SILENT.phase("test").item("x", found.size) as item:
        pieces = list(archive(Blobs(made.all_blobs(), most), found, item))
    assert all(pieces)
    whole = b"".join(pieces)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        (entry,) = json.loads(_read(tar, "manifest.json"))
        assert entry["RepoTags"] == [f"airbundle.local/registry:{made.digest[7:19]}"]
        assert sha256(_read(tar, entry["Config"])) == sha256(found.config)
        assert [sha256(_read(tar, name)) for name in entry["Layers"]] == [each.digest for each in found.layers]
        assert len(tar.getnames()) == len(set(tar.getnames()))
    # The project's own reader of what `docker save` writes takes it, too.
    cache = Cache(tmp_path_factory.mktemp("cache"))
    back = read_save(io.BytesIO(whole), cache, name="", what="archive")
    assert back.info["imageId"] == sha256(found.config)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream.read()


@pytest.mark.parametrize("size", [0, 1, 4000, 3 * 1024 * 1024])
def test_a_damaged_layer_is_never_whole(size: int) -> None:
    made = tiny_image("x", sizes=[size], compression="none")
    blob = made.blobs[1]
    assert blob.data is not None
    for damaged in (blob.data[:-1] + b"\x01", blob.data[:-1]):
        blobs = {**made.all_blobs(), blob.descriptor.digest: damaged}
        sent = 0
        with SILENT.phase("test").item("x", 0) as item, pytest.raises(DigestMismatch, match=blob.descriptor.digest):
            for piece in archive(Blobs(blobs, 1 << 20), registry(made), item):
                assert len(piece) <= 1 << 20
                sent += len(piece)
        assert sent < blob.descriptor.size + 8192
