"""Which CA an install uses: a bundle's own, an earlier one, or none that fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import (
    EMPTY_DESCRIPTOR,
    EMPTY_JSON,
    OCI_MANIFEST,
    Descriptor,
    airbundle_type,
    artifact_manifest,
)
from airbundle.crypto.ca import create_ca
from tests.cli.test_install import Site, error_text, skopeo_digest
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.disk import mounted
from tests.support.images import Artifact, Blob, tiny_image

REDIS = tiny_image("redis")
PASSPHRASE = "a passphrase for tests"


def ca_artifact() -> tuple[Artifact, bytes]:
    """Make a CA as a bundle carries it; return the artifact and the root, PEM."""
    authority = create_ca("Corporation", ["localhost", "127.0.0.0/8", "10.0.0.0/8"])
    files = {"ca.crt": authority.chain_pem, "ca.key": authority.seal(PASSPHRASE.encode(), rounds=1000)}
    blobs = [
        Blob(
            Descriptor("application/octet-stream", sha256(data), len(data), {"org.opencontainers.image.title": name}),
            data,
        )
        for name, data in files.items()
    ]
    raw = artifact_manifest(airbundle_type("ca"), tuple(blob.descriptor for blob in blobs))
    made = Descriptor(OCI_MANIFEST, sha256(raw), len(raw), artifact_type=airbundle_type("ca"))
    return Artifact(made, raw, (Blob(EMPTY_DESCRIPTOR, EMPTY_JSON), *blobs)), authority.root_pem


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document


def bundle_with(path: Path, key: Key, ca: Artifact | None) -> Path:
    others = {("ca", "ca/internal:0"): ca} if ca else {}
    made = content({"docker.io/library/redis:7.2": REDIS}, others=others)
    return sign_and_write(path, replace(made), key)


def test_the_bundles_own_ca(site: Site, key: Key, tmp_path: Path) -> None:
    artifact, root = ca_artifact()
    path = bundle_with(tmp_path / "x.airbundle", key, artifact)
    word = tmp_path / "passphrase"
    word.write_text(PASSPHRASE + "\n")
    code, report = site.install(path, "--ca-passphrase-file", word)
    assert code == 0, report
    assert site.ca.read_bytes() == root
    host = f"127.0.0.1:{site.port}"
    assert skopeo_digest(host, site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest
    # A second run issues nothing, so that it needs no passphrase.
    code, report = site.install(path)
    assert (code, report.get("changed")) == (0, False), report


def test_its_passphrase_is_asked_for(site: Site, key: Key, tmp_path: Path) -> None:
    path = bundle_with(tmp_path / "x.airbundle", key, ca_artifact()[0])
    code, document = site.install(path)
    assert code == 2 and "passphrase" in error_text(document)
    word = tmp_path / "passphrase"
    word.write_text("wrong\n")
    code, document = site.install(path, "--ca-passphrase-file", word)
    assert code == 2, document


def test_a_ca_of_another_mode_is_there(site: Site, key: Key, tmp_path: Path) -> None:
    assert site.install(bundle_with(tmp_path / "x.airbundle", key, None))[0] == 0
    code, document = site.install(bundle_with(tmp_path / "y.airbundle", key, ca_artifact()[0]))
    assert (code, document["outcome"]) == (3, "unchanged"), document
    assert "this site has one of mode site" in error_text(document)


def test_an_external_ca_that_has_not_answered_yet(site: Site, key: Key, tmp_path: Path) -> None:
    code, document = site.run("ca", "csr", "registry.site.internal")
    assert code == 0, document
    code, document = site.install(bundle_with(tmp_path / "x.airbundle", key, None))
    assert (code, document["outcome"]) == (3, "unchanged"), document
    assert "airbundle ca import" in error_text(document)


def test_a_read_only_place(tmp_path: Path, key: Key) -> None:
    with mounted(tmp_path / "ro", "ro") as directory:
        site = Site(directory, key)
        code, document = site.install(bundle_with(tmp_path / "x.airbundle", key, None))
    assert (code, document["outcome"]) == (7, "unchanged"), json.dumps(document)
    assert "--state-dir" in error_text(document)
