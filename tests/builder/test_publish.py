from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airbundle.builder.publish import publish_bundle, pull_bundle
from airbundle.errors import Busy, DigestMismatch, UsageError, VerificationError
from airbundle.store.reader import open_bundle
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.registries import Registry

LARGE = 2_500_000


@contextmanager
def at(registry: Registry, path: str) -> Iterator[Repository]:
    with RegistryClient(Registries().with_registry(registry.url)) as client:
        yield client.repository(f"{registry.host}/{path}")


def make(path: Path, *images: str, version: str = "1.0.0") -> Path:
    made = make_images(
        {f"docker.io/library/{name}:1": tiny_image(name, sizes=(LARGE, 1000)) for name in images}, version=version
    )
    return write_bundle(path, made, installer=b"PK" * 9000).path


def publish(path: Path, repository: Repository, tag: str) -> int:
    with open_bundle([path]) as bundle:
        return publish_bundle(bundle, repository, tag).sent


def test_there_and_back(plain_registry: Registry, tmp_path: Path) -> None:
    path = make(tmp_path / "x.airbundle", "redis", "nginx")
    with at(plain_registry, "publish/back") as repository:
        assert publish(path, repository, "1.0.0") == path.stat().st_size
        pulled = pull_bundle(repository, "1.0.0", tmp_path / "new" / "directory")
    assert pulled.name == "test-1.0.0.airbundle"
    assert pulled.read_bytes() == path.read_bytes()
    assert [file.name for file in pulled.parent.iterdir()] == [pulled.name]


def test_the_next_release_sends_what_is_new(plain_registry: Registry, tmp_path: Path) -> None:
    with at(plain_registry, "publish/next") as repository:
        publish(make(tmp_path / "1.airbundle", "redis", "nginx"), repository, "1")
        second = make(tmp_path / "2.airbundle", "redis", "nginx", "haproxy", version="2.0.0")
        assert LARGE <= publish(second, repository, "2") < 2 * LARGE
        assert pull_bundle(repository, "2", tmp_path).read_bytes() == second.read_bytes()


def test_volumes_are_published_as_one(plain_registry: Registry, tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.airbundle", "redis")
    made = make_images({"docker.io/library/redis:1": tiny_image("redis", sizes=(LARGE, 1000))})
    write_bundle(tmp_path / "v.airbundle", made, installer=b"PK" * 9000, volume_size=1_000_000)
    with at(plain_registry, "publish/volumes") as repository:
        publish(tmp_path / "v.airbundle.001", repository, "1")
        assert pull_bundle(repository, "1", tmp_path / "out").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("place", ["head", "small blob", "large blob"])
def test_a_damaged_bundle_is_not_published(plain_registry: Registry, tmp_path: Path, place: str) -> None:
    path = make(tmp_path / "x.airbundle", "redis")
    with open_bundle([path]) as bundle:
        members = sorted(bundle.table, key=lambda member: member.size)
        offset = {"head": 5, "small blob": members[0].offset, "large blob": members[-1].offset + 9}[place]
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with at(plain_registry, f"publish/{place.replace(' ', '-')}") as repository:
        with pytest.raises(VerificationError):
            publish(path, repository, "1")
        assert repository.has_manifest("1") is None


def test_a_pull_goes_on(plain_registry: Registry, tmp_path: Path) -> None:
    path = make(tmp_path / "x.airbundle", "redis", "nginx")
    data = path.read_bytes()
    partial = tmp_path / "out" / "test-1.0.0.airbundle.partial"
    partial.parent.mkdir()
    kept = len(data) * 3 // 5  # the first of the two large blobs is whole
    partial.write_bytes(data[:kept] + bytes(len(data) - kept))
    with at(plain_registry, "publish/goes-on") as repository:
        publish(path, repository, "1")
        before = len(plain_registry.requests())
        assert pull_bundle(repository, "1", partial.parent).read_bytes() == data
        fetched = sum(r.sent for r in plain_registry.requests()[before:] if "publish/goes-on/blobs" in r.path)
    assert fetched < len(data) * 3 // 4


def test_a_partial_file_of_something_else_is_replaced(plain_registry: Registry, tmp_path: Path) -> None:
    path = make(tmp_path / "x.airbundle", "redis")
    partial = tmp_path / "out" / "test-1.0.0.airbundle.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"else")
    with at(plain_registry, "publish/replaced") as repository:
        publish(path, repository, "1")
        assert pull_bundle(repository, "1", partial.parent).read_bytes() == path.read_bytes()


def test_nothing_is_overwritten(plain_registry: Registry, tmp_path: Path) -> None:
    path = make(tmp_path / "x.airbundle", "redis")
    (tmp_path / "test-1.0.0.airbundle").write_bytes(b"mine")
    with at(plain_registry, "publish/mine") as repository:
        publish(path, repository, "1")
        with pytest.raises(UsageError, match="is there already"):
            pull_bundle(repository, "1", tmp_path)
    assert (tmp_path / "test-1.0.0.airbundle").read_bytes() == b"mine"


def test_two_pulls_of_one_file(plain_registry: Registry, tmp_path: Path) -> None:
    import fcntl

    path = make(tmp_path / "x.airbundle", "redis")
    with at(plain_registry, "publish/busy") as repository:
        publish(path, repository, "1")
        with (tmp_path / "test-1.0.0.airbundle.partial").open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(Busy):
                pull_bundle(repository, "1", tmp_path)


def test_a_damaged_registry(plain_registry: Registry, tmp_path: Path) -> None:
    path = make(tmp_path / "x.airbundle", "postgresql")
    with at(plain_registry, "publish/rotten") as repository:
        publish(path, repository, "1")
        with open_bundle([path]) as bundle:
            digest = max(bundle.table, key=lambda member: member.size).digest[7:]
        stored = plain_registry.storage / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
        rotten = bytearray(stored.read_bytes())
        rotten[1000] ^= 1
        stored.write_bytes(rotten)
        with pytest.raises(DigestMismatch):
            pull_bundle(repository, "1", tmp_path / "out")
    assert not (tmp_path / "out" / "test-1.0.0.airbundle").exists()
