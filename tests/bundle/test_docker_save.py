from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.docker_save import read_save
from airbundle.bundle.gzipstream import BytesStream
from airbundle.bundle.layer_digest import LayerDigest
from airbundle.bundle.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parse_manifest
from airbundle.errors import AirbundleError, DigestMismatch, NotFound, UsageError, VerificationError
from airbundle.store.cache import Cache

LAYERS = [b"first layer" * 100, b"second" * 1000]


def config_of(layers: list[bytes], **fields: Any) -> bytes:
    diff_ids = [sha256(layer) for layer in layers]
    body = {"architecture": "arm64", "os": "linux", "variant": "v8", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return json.dumps({**body, **fields}).encode()


CONFIG = config_of(LAYERS)
ID = hex_of(sha256(CONFIG))


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """A tar of files; a text is what a symbolic link points to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def manifest_of(*entries: tuple[str, list[str], list[str]]) -> bytes:
    return json.dumps(
        [{"Config": c, "RepoTags": tags or None, "Layers": layers} for c, tags, layers in entries]
    ).encode()


def legacy(**more: bytes | str) -> dict[str, bytes | str]:
    """As engines up to 24 write it: a directory for each layer, the manifest last."""
    return {
        "aa/VERSION": b"1.0",
        "aa/json": b"{}",
        "aa/layer.tar": LAYERS[0],
        f"{ID}.json": CONFIG,
        "bb/layer.tar": LAYERS[1],
        "manifest.json": manifest_of((f"{ID}.json", ["app:dev"], ["aa/layer.tar", "bb/layer.tar"])),
        "repositories": b"{}",
        **more,
    }


def modern() -> dict[str, bytes | str]:
    """As engines from 25 on write it: blobs of an OCI layout, and manifest.json beside index.json."""
    paths = [f"blobs/sha256/{hex_of(sha256(layer))}" for layer in LAYERS]
    return {
        **dict(zip(paths, LAYERS)),
        f"blobs/sha256/{ID}": CONFIG,
        "index.json": b"{}",
        "manifest.json": manifest_of((f"blobs/sha256/{ID}", ["app:dev"], paths)),
        "oci-layout": b"{}",
        "repositories": b"{}",
    }


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize("files", [legacy(), modern()], ids=["legacy", "modern"])
@pytest.mark.parametrize("name", ["", "app:dev", "docker.io/library/app:dev", "@0", ID, f"sha256:{ID}"])
def test_both_layouts_give_the_same_image(cache: Cache, files: dict[str, bytes | str], name: str) -> None:
    made = read_save(BytesStream(tar_of(files)), cache, name=name, what="app")
    manifest = parse_manifest(cache.read(made.descriptor.digest, 10_000), OCI_MANIFEST, what="app")
    assert made.descriptor.digest == "sha256:79b96adcc3cb4ebb32ba3a5ac6912c0e0c18868f45b7634fc9cbbfbacf77eb85"
    assert str(made.descriptor.platform) == "linux/arm64/v8"
    assert made.info == {"imageId": f"sha256:{ID}"}
    assert made.manifests == ()
    assert manifest.config is not None
    assert (manifest.config.digest, manifest.config.media_type) == (f"sha256:{ID}", OCI_CONFIG)
    assert [layer.digest for layer in manifest.layers] == [sha256(layer) for layer in LAYERS]
    assert {layer.media_type for layer in manifest.layers} == {OCI_LAYER}
    assert made.blobs == manifest.blobs
    assert [cache.read(layer.digest, 10_000) for layer in manifest.layers] == LAYERS


def test_layers_stand_once_though_they_are_used_twice(cache: Cache) -> None:
    config = config_of([LAYERS[0], LAYERS[0], LAYERS[0]])
    files: dict[str, bytes | str] = {
        "cc/layer.tar": "../aa/layer.tar",
        "dd/layer.tar": "../cc/layer.tar",
        "aa/layer.tar": LAYERS[0],
        "c.json": config,
        "manifest.json": manifest_of(("c.json", [], ["aa/layer.tar", "cc/layer.tar", "dd/layer.tar"])),
    }
    made = read_save(BytesStream(tar_of(files)), cache, name="", what="app")
    assert [blob.digest for blob in made.blobs] == [sha256(config), sha256(LAYERS[0])]
    manifest = parse_manifest(cache.read(made.descriptor.digest, 10_000), what="app")
    assert [layer.digest for layer in manifest.layers] == [sha256(LAYERS[0])] * 3


def test_packed_layers_stay_packed(cache: Cache) -> None:
    packed = gzip.compress(LAYERS[0], mtime=0) + gzip.compress(b"", mtime=0)
    zstd = b"\x28\xb5\x2f\xfd not unpacked here"
    files: dict[str, bytes | str] = {
        "1.tar": packed,
        "2.tar": zstd,
        "c.json": config_of(LAYERS),
        "manifest.json": manifest_of(("c.json", [], ["1.tar", "2.tar"])),
    }
    made = read_save(BytesStream(tar_of(files)), cache, name="", what="app")
    assert [blob.media_type for blob in made.blobs[1:]] == [f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd"]
    assert cache.read(sha256(packed), 10_000) == packed


def test_several_images(cache: Cache) -> None:
    other = config_of(LAYERS[:1])
    entries = manifest_of(
        (f"{ID}.json", ["app:dev", "quay.io/x/app:1"], ["aa/layer.tar", "bb/layer.tar"]),
        ("other.json", ["app:old"], ["aa/layer.tar"]),
    )
    archive = tar_of(legacy(**{"other.json": other, "manifest.json": entries}))

    def read(name: str) -> str:
        return read_save(BytesStream(archive), cache, name=name, what="app").info["imageId"]

    assert read("quay.io/x/app:1") == read("app:dev") == read("@0") == f"sha256:{ID}"
    assert read("app:old") == read("@1") == sha256(other)
    with pytest.raises(UsageError, match="2 images") as several:
        read("")
    assert "app:dev" in several.value.hint
    for name in ("app", "@2", "0" * 64):
        with pytest.raises(NotFound, match=f"no image {name}"):
            read(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"manifest.json": b"[]"}, "lists no images"),
        ({"manifest.json": b"{"}, "not JSON"),
        ({"manifest.json": b"[1]"}, "without Config"),
        ({"manifest.json": b'[{"Config":"x.json","Layers":"y"}]'}, "without Config"),
        ({"manifest.json": manifest_of(("none.json", [], []))}, "the config 'none.json', which is not there"),
        ({"manifest.json": manifest_of(("../x.json", [], []))}, "lead outside"),
        ({"manifest.json": manifest_of((f"{ID}.json", [], ["aa/layer.tar"]))}, "found 1 layers, expected 2"),
        ({"manifest.json": manifest_of((f"{ID}.json", [], ["aa/layer.tar", "zz"]))}, "'zz', which is not there"),
        ({"manifest.json": manifest_of((f"{ID}.json", [], ["bb/layer.tar", "aa/layer.tar"]))}, "has diff ID"),
        ({"bb/layer.tar": LAYERS[1] + b"x"}, "has diff ID"),
        ({"bb/layer.tar": gzip.compress(LAYERS[1])[:-4]}, "cut off"),
        ({"bb/layer.tar": b"\x1f\x8b broken"}, "broken gzip"),
        ({"bb/layer.tar": "../../x"}, "links outside"),
        ({"bb/layer.tar": "layer.tar"}, "which is not there"),
        ({f"{ID}.json": CONFIG + b" "}, "expected the one in its name"),
        ({f"blobs/sha256/{ID}": b"x"}, "expected the one in its name"),
        ({"c.json": b"{}", "manifest.json": manifest_of(("c.json", [], []))}, "no rootfs.diff_ids"),
        ({"c.json": b"[]", "manifest.json": manifest_of(("c.json", [], []))}, "expected an object"),
        ({"../x": b""}, "lead outside"),
        ({"x.json": bytes(5_000_000)}, "larger than"),
    ],
)
def test_what_is_refused(cache: Cache, changes: dict[str, bytes | str], said: str) -> None:
    with pytest.raises(VerificationError, match=said) as caught:
        read_save(BytesStream(tar_of(legacy(**changes))), cache, name="", what="docker-archive:x.tar")
    assert caught.value.problem.startswith("docker-archive:x.tar: ")


def test_a_name_that_stands_twice_is_refused(cache: Cache) -> None:
    archive = tar_of({"aa/layer.tar": b"x"})[:1024] + tar_of(legacy())
    with pytest.raises(VerificationError, match="stands twice"):
        read_save(BytesStream(archive), cache, name="", what="app")
    with pytest.raises(VerificationError, match=r"manifest\.json is missing"):
        read_save(BytesStream(tar_of({"x": b""})), cache, name="", what="app")


@given(st.lists(st.binary(max_size=3000), max_size=3), st.integers(1, 700))
def test_diff_ids_of_packed_layers(members: list[bytes], step: int) -> None:
    packed = b"".join(gzip.compress(member) for member in members)
    digest = LayerDigest(what="x")
    for start in range(0, len(packed), step):
        digest.feed(packed[start : start + step])
    expected = "sha256:" + hashlib.sha256(b"".join(members)).hexdigest()
    assert digest.diff_id("stored") == (expected if members else "stored")


def test_a_large_packed_layer() -> None:
    data = random.Random(1).randbytes(1_500_000) + bytes(5_000_000)
    digest = LayerDigest(what="x")
    digest.feed(gzip.compress(data))
    assert digest.diff_id("") == sha256(data)


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_damaged_archive_gives_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, chooser: random.Random, count: int
) -> None:
    archive = bytearray(tar_of(chooser.choice([legacy(), modern()])))
    for _ in range(count):
        archive[chooser.randrange(len(archive))] = chooser.randrange(256)
    cache = Cache(tmp_path_factory.getbasetemp() / "damaged-saves")
    try:
        read_save(BytesStream(bytes(archive)), cache, name="", what="app")
    except AirbundleError as error:
        assert error.problem.startswith("app: ")


def test_mismatches_are_digest_mismatches(cache: Cache) -> None:
    with pytest.raises(DigestMismatch):
        read_save(BytesStream(tar_of(legacy(**{"bb/layer.tar": b"x"}))), cache, name="", what="app")
