from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from airbundle.bundle.oci import parse_manifest
from airbundle.errors import HostError, NotFound, VerificationError
from airbundle.store import docker_archive
from airbundle.store.cache import Cache
from airbundle.store.docker_archive import materialise_docker_archive
from tests.support.images import tiny_image
from tests.support.registries import Registry
from tests.support.skopeo import skopeo
from tests.support.storage import Storage

IMAGE = tiny_image("archived", family="docker", sizes=(1000, 50_000))


@pytest.fixture(scope="module")
def archive(plain_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What skopeo writes of an image in a registry."""
    IMAGE.put(Storage(plain_registry.storage), "archives/app", "1")
    path = tmp_path_factory.mktemp("archive") / "app.tar"
    source = f"docker://{plain_registry.host}/archives/app:1"
    skopeo("copy", "--src-tls-verify=false", source, f"docker-archive:{path}:example.org/app:1")
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["", "example.org/app:1"])
def test_what_skopeo_writes(archive: Path, tmp_path: Path, packed: bool, name: str) -> None:
    if packed:
        (tmp_path / "app.tar.gz").write_bytes(gzip.compress(archive.read_bytes()))
        archive = tmp_path / "app.tar.gz"
    cache = Cache(tmp_path / "cache")
    made = materialise_docker_archive(archive, name, cache)
    config, *layers = IMAGE.blobs
    assert made.info["imageId"] == config.descriptor.digest
    manifest = parse_manifest(cache.read(made.descriptor.digest, 10_000), what="app")
    assert [layer.digest for layer in manifest.layers] == [layer.diff_id for layer in layers]


def test_an_image_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"docker-archive:{archive}: there is no image other") as caught:
        materialise_docker_archive(archive, "other", Cache(tmp_path))
    assert caught.value.hint == "it has example.org/app:1"


def test_what_is_no_archive(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    for number, (content, said) in enumerate(
        [
            (b"", "cut off"),
            (b"hello" * 1000, "no tar archive"),
            (b"\x28\xb5\x2f\xfd....", "packed with zstd"),
            (b"\x1f\x8b....", "gzip"),
            (archive.read_bytes()[:20_000], "cut off"),
        ]
    ):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(VerificationError, match=said):
            materialise_docker_archive(path, "", cache)
    with pytest.raises(HostError, match="nowhere"):
        materialise_docker_archive(tmp_path / "nowhere", "", cache)
    with pytest.raises(HostError):
        materialise_docker_archive(tmp_path, "", cache)
    monkeypatch.setattr(docker_archive, "_ALWAYS", 1000)
    bomb = tmp_path / "bomb"
    member = tarfile.TarInfo("aa/layer.tar")
    member.size = 10_000_000
    bomb.write_bytes(gzip.compress(member.tobuf() + bytes(10_000_000)))
    with pytest.raises(VerificationError, match="more than"):
        materialise_docker_archive(bomb, "", cache)
