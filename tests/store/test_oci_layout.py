from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import OCI_INDEX, Descriptor, Manifest
from airbundle.errors import AirbundleError, DigestMismatch, HostError, NotFound, UsageError, VerificationError
from airbundle.store.cache import Cache
from airbundle.store.oci_layout import materialise_layout_image, open_layout
from tests.support.images import Artifact, index, tiny_image
from tests.support.registries import Registry
from tests.support.skopeo import skopeo
from tests.support.storage import Storage

ONE = tiny_image("one")
MANY = index([tiny_image("many"), tiny_image("many", platform="linux/arm64")])


def everything(manifest: Manifest) -> Sequence[Descriptor]:
    return manifest.manifests


def layout_of(directory: Path, *images: tuple[str, Artifact]) -> Path:
    """Write a layout by hand: name and image of each."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entries = []
    for name, image in images:
        for digest, data in {**image.manifests(), **image.all_blobs()}.items():
            (blobs / hex_of(digest)).write_bytes(data)
        annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        entries.append({**image.descriptor.to_json(), "annotations": annotations})
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return directory


def archive_of(layout: Path) -> Path:
    path = layout.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(layout, ".")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
@pytest.mark.parametrize("image", [ONE, MANY], ids=["image", "index"])
def test_what_skopeo_writes(
    tmp_path: Path, cache: Cache, plain_registry: Registry, transport: str, image: Artifact
) -> None:
    image.put(Storage(plain_registry.storage), "layouts/x", "1")
    source = f"docker://{plain_registry.host}/layouts/x@{image.digest}"
    skopeo("copy", "--all", "--src-tls-verify=false", source, f"{transport}:{tmp_path / 'x'}:docker.io/library/x:1")
    made = materialise_layout_image(tmp_path / "x", "docker.io/library/x:1", cache, choose=everything)
    assert made.descriptor.digest == image.digest
    assert [child.digest for child in made.manifests] == [child.digest for child in image.children]
    assert {blob.digest for blob in made.blobs} == image.all_blobs().keys()
    for digest, data in {**image.manifests(), **image.all_blobs()}.items():
        assert cache.read(digest, 1 << 20) == data


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_is_chosen_by_its_name(tmp_path: Path, cache: Cache, packed: bool) -> None:
    path = layout_of(tmp_path / "layout", ("one", ONE), ("many", MANY), ("same", ONE))
    path = archive_of(path) if packed else path
    with open_layout(path) as layout:
        assert layout.root("one").digest == layout.root("same").digest == ONE.digest
        assert layout.root(MANY.digest).media_type == OCI_INDEX
        with pytest.raises(NotFound, match="no image two") as missing:
            layout.root("two")
        assert missing.value.hint == "it has many, one, same"
        with pytest.raises(UsageError, match="2 images"):
            layout.root("")
        blob, data = ONE.blobs[1].descriptor, ONE.all_blobs()[ONE.blobs[1].descriptor.digest]
        written = bytearray(blob.size)

        def write(offset: int, data: memoryview) -> None:
            written[offset : offset + len(data)] = data

        layout.copy_blob(blob, write, start=10, hasher=hashlib.sha256(data[:10]))
        assert written[10:] == data[10:]
        layout.copy_blob(blob, write, start=10, hasher=hashlib.sha256(b"other"))
        assert bytes(written) == data
        with pytest.raises(DigestMismatch, match="expected 1"):
            layout.copy_blob(Descriptor("", blob.digest, 1), write)
        with pytest.raises(NotFound):
            layout.read(sha256(b"none"), 10)
        with pytest.raises(VerificationError, match="more than the 10 allowed"):
            layout.read(ONE.digest, 10)
    only = layout_of(tmp_path / "only", ("", ONE))
    assert materialise_layout_image(only, "", cache, choose=everything).descriptor.digest == ONE.digest


def test_only_chosen_platforms_are_carried(tmp_path: Path, cache: Cache) -> None:
    path = layout_of(tmp_path / "layout", ("many", MANY))
    left_out = MANY.children[1]
    for digest in (left_out.digest, *(left_out.all_blobs().keys() - MANY.children[0].all_blobs().keys())):
        (path / "blobs" / "sha256" / hex_of(digest)).unlink()
    made = materialise_layout_image(path, "many", cache, choose=lambda manifest: manifest.manifests[:1])
    assert made.descriptor.digest == MANY.digest
    assert [child.digest for child in made.manifests] == [MANY.children[0].digest]
    with pytest.raises(NotFound, match=left_out.digest):
        materialise_layout_image(path, "many", cache, choose=everything)


@pytest.mark.parametrize("packed", [False, True])
def test_wrong_bytes_are_refused(tmp_path: Path, cache: Cache, packed: bool) -> None:
    for number, digest in enumerate([ONE.digest, *ONE.all_blobs()]):
        path = layout_of(tmp_path / f"layout-{number}", ("one", ONE))
        blob = path / "blobs" / "sha256" / hex_of(digest)
        blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
        with pytest.raises(VerificationError):
            materialise_layout_image(
                archive_of(path) if packed else path, "one", Cache(tmp_path / str(number)), choose=everything
            )
        assert not Cache(tmp_path / str(number)).has(digest)


def test_what_is_no_layout(tmp_path: Path, cache: Cache) -> None:
    def refused(path: Path, said: str) -> None:
        with pytest.raises(VerificationError, match=said):
            materialise_layout_image(path, "", cache, choose=everything)

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "oci-layout is missing")
    refused(archive_of(tmp_path / "empty"), "oci-layout is missing")
    (tmp_path / "text").write_text("hello")
    refused(tmp_path / "text", "cut off")
    (tmp_path / "packed").write_bytes(b"\x1f\x8b\0\0")
    refused(tmp_path / "packed", "it is compressed")
    with pytest.raises(HostError, match="nowhere"):
        materialise_layout_image(tmp_path / "nowhere", "", cache, choose=everything)
    broken = layout_of(tmp_path / "broken", ("one", ONE))
    for content, said in [("{", "not JSON"), (ONE.raw.decode(), "is no index"), ("[]", "an object")]:
        (broken / "index.json").write_text(content)
        refused(broken, said)
    pipe = layout_of(tmp_path / "pipe", ("one", ONE))
    (pipe / "index.json").unlink()
    os.mkfifo(pipe / "index.json")
    refused(pipe, "no regular file")


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("blobs/sha256/x", tarfile.SYMTYPE, "is a symlink"),
        ("blobs/sha256/x", tarfile.LNKTYPE, "is a hardlink"),
        ("../x", tarfile.REGTYPE, "lead outside"),
        ("./index.json", tarfile.REGTYPE, "stands twice"),
    ],
)
def test_hostile_archives(tmp_path: Path, cache: Cache, name: str, kind: bytes, said: str) -> None:
    path = archive_of(layout_of(tmp_path / "layout", ("one", ONE)))
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info, io.BytesIO())
    with pytest.raises(VerificationError, match=said):
        materialise_layout_image(path, "one", cache, choose=everything)


@pytest.fixture(scope="module")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = layout_of(tmp_path_factory.mktemp("small") / "layout", ("one", tiny_image("small", sizes=[10])))
    return archive_of(path).read_bytes()


@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_a_damaged_archive_gives_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, small_archive: bytes, chooser: random.Random, count: int
) -> None:
    data = bytearray(small_archive)
    for _ in range(count):
        data[chooser.randrange(len(data))] = chooser.randrange(256)
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(data)
    try:
        materialise_layout_image(path, "", Cache(path.with_name("damaged-cache")), choose=everything)
    except AirbundleError as error:
        assert str(path) in error.problem
