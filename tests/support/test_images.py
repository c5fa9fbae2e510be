"""The tiny images are real ones: skopeo and umoci-like readers take them from a registry."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

import pytest

from tests.support import images
from tests.support.images import Artifact
from tests.support.registries import Registry
from tests.support.storage import Storage


def inspect_raw(registry: Registry, name: str) -> bytes:
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{name}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def copy_to_dir(registry: Registry, name: str, target: Any) -> None:
    command = ["skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{registry.host}/{name}"]
    subprocess.run([*command, f"dir:{target}"], check=True, capture_output=True)


def two_platforms(family: images.Family) -> Artifact:
    children = [
        images.tiny_image("two", platform="linux/amd64", family=family),
        images.tiny_image("two", platform="linux/arm64/v8", family=family),
    ]
    return images.index(children, family=family)


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("indexed", [False, True])
def test_skopeo_reads_it(plain_registry: Registry, family: images.Family, indexed: bool, tmp_path: Any) -> None:
    made = two_platforms(family) if indexed else images.tiny_image("one", family=family)
    repository = f"tiny/{uuid.uuid4().hex}"
    made.put(Storage(plain_registry.storage), repository, "1")
    assert inspect_raw(plain_registry, f"{repository}:1") == made.raw
    copy_to_dir(plain_registry, f"{repository}:1", tmp_path / "out")


def test_index_with_attestation_signature_and_referrer(plain_registry: Registry, tmp_path: Any) -> None:
    child = images.tiny_image("attested")
    made = images.index([child, images.attestation(child)])
    sbom = images.referrer(made.descriptor)
    repository = f"tiny/{uuid.uuid4().hex}"
    storage = Storage(plain_registry.storage)
    made.put(storage, repository, "1")
    images.referrers_index([sbom]).put(storage, repository, images.referrers_tag(made.digest))
    images.cosign_signature(made.descriptor, repository).put(
        storage, repository, images.referrers_tag(made.digest) + ".sig"
    )
    copy_to_dir(plain_registry, f"{repository}:1", tmp_path / "out")
    listed = json.loads(inspect_raw(plain_registry, f"{repository}:{images.referrers_tag(made.digest)}"))
    assert listed["manifests"][0]["digest"] == sbom.digest
    assert listed["manifests"][0]["artifactType"] == "application/spdx+json"
    assert f"{repository}:1" in storage.tags()


def test_equal_arguments_equal_bytes() -> None:
    assert images.tiny_image("x").raw == images.tiny_image("x").raw
    assert images.tiny_image("x").raw != images.tiny_image("y").raw
