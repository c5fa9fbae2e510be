from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import EMPTY_DESCRIPTOR, OCI_MANIFEST, Descriptor, artifact_manifest
from airbundle.bundle.parts import Part
from airbundle.errors import DigestMismatch, NotFound, Refused, Unauthorized, UsageError, VerificationError
from airbundle.transfer.artifacts import (
    ARTIFACT_TYPE,
    PART_TYPE,
    TITLE,
    BundleBytes,
    find_artifact,
    publish_parts,
)
from airbundle.transfer.credentials import Credential
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.tls import TlsSettings
from tests.support.registries import PASSWORD, USER, Registry, run_registry
from tests.transfer.servers import FAST

NAME = "messenger-1.4.0.airbundle"
DATA = os.urandom(3_000_000)


class Memory(BundleBytes):
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_at(self, position: int, buffer: memoryview) -> int:
        piece = self.data[position : position + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


def parts_of(data: bytes, *cuts: int) -> list[Part]:
    ends = [0, *cuts, len(data)]
    return [Part(a, b - a, sha256(data[a:b])) for a, b in zip(ends, ends[1:])]


@contextmanager
def repository_of(registry: Registry, path: str, password: str = PASSWORD) -> Iterator[Repository]:
    tls = TlsSettings(ca_file=str(registry.ca_file)) if registry.ca_file else None
    credential = Credential(USER, password) if registry.username else None
    found = Registries().with_registry(registry.url, tls=tls, credential=credential)
    with RegistryClient(found, settings=FAST) as client:
        yield client.repository(f"{registry.host}/{path}")


def test_publish_and_find(token_registry: Registry) -> None:
    """Over TLS by a private CA, with tokens: oras alone could not; its requests go through our client."""
    parts = parts_of(DATA, 4096, 2_000_000)
    with repository_of(token_registry, "docker.io/bundles/one") as repository:
        published, sent = publish_parts(repository, "1.4.0", NAME, parts, Memory(DATA), annotations={"a": "b"})
        assert sent == len(DATA)
        for ref in ("1.4.0", published.digest):
            assert find_artifact(repository, ref) == published
        assert (published.name, published.parts, published.size) == (NAME, tuple(parts), len(DATA))
        again, sent = publish_parts(repository, "latest", NAME, parts, Memory(DATA), annotations={"a": "b"})
        assert (again, sent) == (published, 0)


def test_equal_parts_are_sent_once(plain_registry: Registry) -> None:
    data = DATA[:1000] * 3
    with repository_of(plain_registry, "bundles/equal") as repository:
        _, sent = publish_parts(repository, "1", NAME, parts_of(data, 1000, 2000), Memory(data), annotations={})
        assert sent == 1000
        assert find_artifact(repository, "1").size == 3000


def test_stock_oras_pulls_it(tls_registry: Registry, tmp_path: Path) -> None:
    import oras.client

    with repository_of(tls_registry, "bundles/stock") as repository:
        publish_parts(repository, "1", NAME, parts_of(DATA, 5, 1_000_000), Memory(DATA), annotations={})
    client = oras.client.OrasClient(tls_verify=str(tls_registry.ca_file))
    files = client.pull(target=f"{tls_registry.host}/bundles/stock:1", outdir=str(tmp_path))
    assert [Path(file).name for file in files] == [f"{NAME}.part-{n:04}" for n in (1, 2, 3)]
    assert b"".join(Path(file).read_bytes() for file in sorted(files)) == DATA


def test_a_damaged_bundle_gets_no_tag(plain_registry: Registry) -> None:
    damaged = bytearray(DATA)
    damaged[2_500_000] ^= 1
    with repository_of(plain_registry, "bundles/damaged") as repository:
        with pytest.raises(DigestMismatch, match="the source"):
            publish_parts(repository, "1", NAME, parts_of(DATA, 4096), Memory(bytes(damaged)), annotations={})
        assert repository.has_manifest("1") is None


def test_a_registry_that_refuses(plain_registry: Registry, basic_registry: Registry, tmp_path: Path) -> None:
    with run_registry(tmp_path / "r", storage=plain_registry.storage, read_only=True) as read_only:
        with repository_of(read_only, "x") as repository, pytest.raises(Refused, match="answered 405"):
            publish_parts(repository, "1", NAME, parts_of(DATA), Memory(DATA), annotations={})
    with repository_of(basic_registry, "x", "wrong") as repository, pytest.raises(Unauthorized):
        publish_parts(repository, "1", NAME, parts_of(DATA), Memory(DATA), annotations={})


def test_errors_come_through_oras_as_they_are(tmp_path: Path, authority: object) -> None:
    """A manifest that is refused: the registry's own words, at once, and not oras's retries of minutes."""
    from airbundle.transfer.oras_door import push_artifact

    with run_registry(tmp_path / "r") as registry, repository_of(registry, "x") as repository:
        missing = Descriptor(PART_TYPE, sha256(b"missing"), 7)
        with pytest.raises(Refused, match="MANIFEST_BLOB_UNKNOWN"):
            push_artifact(repository, "1", ARTIFACT_TYPE, [missing], {})


def push(repository: Repository, raw: bytes) -> None:
    repository.push_blob_bytes(b"{}")
    repository.push_manifest(raw, OCI_MANIFEST, "1")


def part(repository: Repository, kind: str = PART_TYPE) -> Descriptor:
    return Descriptor(kind, repository.push_blob_bytes(b"part"), 4)


@pytest.mark.parametrize(
    "name", ["", "../x.airbundle", "/etc/x.airbundle", "x", "x.airbundle/y", "-x.airbundle", "a\nb.airbundle"]
)
def test_names_that_are_no_file_names(plain_registry: Registry, name: str) -> None:
    with repository_of(plain_registry, "bundles/names") as repository:
        layers = (part(repository),)
        push(repository, artifact_manifest(ARTIFACT_TYPE, layers, annotations={TITLE: name} if name else None))
        with pytest.raises(VerificationError, match="no file name"):
            find_artifact(repository, "1")


def test_other_artifacts(plain_registry: Registry) -> None:
    with repository_of(plain_registry, "bundles/others") as repository:
        push(repository, artifact_manifest("application/vnd.other", (part(repository),)))
        with pytest.raises(UsageError, match=r"application/vnd\.other"):
            find_artifact(repository, "1")
        odd = artifact_manifest(ARTIFACT_TYPE, (part(repository, "x/y"),), annotations={TITLE: NAME})
        push(repository, odd)
        with pytest.raises(VerificationError, match="a layer is 'x/y'"):
            find_artifact(repository, "1")
        push(repository, artifact_manifest(ARTIFACT_TYPE, (), annotations={TITLE: NAME}))
        with pytest.raises(VerificationError, match="no bytes"):
            find_artifact(repository, "1")
        with pytest.raises(NotFound):
            find_artifact(repository, "2")


def test_the_manifest_is_an_ordinary_artifact(plain_registry: Registry) -> None:
    import json

    with repository_of(plain_registry, "bundles/ordinary") as repository:
        publish_parts(repository, "1", NAME, parts_of(DATA), Memory(DATA), annotations={})
        body = json.loads(repository.fetch_manifest("1")[1])
    assert body["artifactType"] == ARTIFACT_TYPE
    assert body["config"] == EMPTY_DESCRIPTOR.to_json()
    assert body["layers"][0]["annotations"] == {TITLE: f"{NAME}.part-0001"}
