from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airbundle.bundle.content import walk
from airbundle.bundle.digest import sha256
from airbundle.bundle.docker_archive import docker_manifest
from airbundle.bundle.index import kind_of, ref_of, total_of
from airbundle.bundle.layout import BundleContent, Extra, content_of, repository_of
from airbundle.bundle.lock import LockedRoot
from airbundle.bundle.oci import (
    BUNDLE_KIND,
    BUNDLE_REF,
    CONTAINERD_NAME,
    EMPTY_DESCRIPTOR,
    OCI_LAYER,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    artifact_manifest,
)
from airbundle.errors import DigestMismatch, MissingContent, VerificationError
from tests.support.bundles import lock_of, locked, make, make_images
from tests.support.images import (
    Artifact,
    Blob,
    attestation,
    cosign_signature,
    image,
    index,
    layer,
    noise,
    referrer,
    tiny_image,
)

REDIS = "docker.io/library/redis:7.2"
SIG = "docker.io/library/redis:sha256-{}.sig"


def names(content: BundleContent) -> list[tuple[str, str]]:
    return [(kind_of(root), ref_of(root)) for root in content.index]


def manifests_of(*artifacts: Artifact) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for artifact in artifacts:
        found.update(artifact.manifests())
    return found


def docker_view(content: BundleContent) -> list[dict[str, Any]]:
    def load(descriptor: Descriptor) -> bytes | None:
        return content.small.get(descriptor.digest)

    raw = docker_manifest((root, walk(root, load, what="test")) for root in content.index)
    found: list[dict[str, Any]] = json.loads(raw)
    return found


def test_an_image_is_its_manifest_config_and_layers() -> None:
    image = tiny_image("redis")
    content = make_images({REDIS: image}).content
    config, *layers = (blob.descriptor.digest for blob in image.blobs)
    assert content.metadata == (image.digest, config)
    assert content.others == tuple(layers)
    assert content.small == {image.digest: image.raw}
    assert set(content.blobs) == {config, *layers}
    assert total_of(content.index[0]) == len(image.raw) + sum(blob.descriptor.size for blob in image.blobs)


def test_only_images_carry_the_names_that_other_tools_look_for() -> None:
    image = tiny_image("redis")
    claim = referrer(image.descriptor)
    content = make([image, claim], [locked(REDIS, image, referrers=[claim])]).content
    first, second = content.index
    assert first.annotations[REF_NAME] == first.annotations[CONTAINERD_NAME] == REDIS
    assert (first.annotations[BUNDLE_KIND], first.annotations[BUNDLE_REF]) == ("image", REDIS)
    assert set(second.annotations) == {BUNDLE_KIND, BUNDLE_REF, "dev.airbundle.size"}
    assert second.artifact_type == "application/spdx+json"
    assert not first.artifact_type


def test_roots_are_ordered_by_kind_and_name_whatever_the_locks_order() -> None:
    images = {f"docker.io/library/{name}:1": tiny_image(name) for name in "cab"}
    roots = [locked(ref, image) for ref, image in images.items()]
    roots.append(locked("files/z:1", tiny_image("z"), kind="file"))
    roots.append(locked("charts.io/x/y:1", tiny_image("chart"), kind="chart"))
    roots.append(locked("clamav/daily:1", tiny_image("daily"), kind="clamav"))
    artifacts = [*images.values(), tiny_image("z"), tiny_image("chart"), tiny_image("daily")]
    content = make(artifacts, roots).content
    assert [kind for kind, _ in names(content)] == ["image"] * 3 + ["chart", "clamav", "file"]
    assert [ref for _, ref in names(content)][:3] == sorted(images)
    backwards = make(artifacts, roots[::-1]).content
    assert (backwards.index, backwards.metadata, backwards.others) == (content.index, content.metadata, content.others)


def test_shared_layers_stand_once() -> None:
    base = layer({"base": noise("base", 5000)})
    one, two = tiny_image("one", shared=[base]), tiny_image("two", shared=[base])
    content = make_images({"quay.io/a/one:1": one, "quay.io/a/two:1": two}).content
    digests = [*content.metadata, *content.others]
    assert len(digests) == len(set(digests)) == 4 + 1 + 4
    assert digests.count(base.descriptor.digest) == 1


def test_metadata_comes_first_in_the_order_of_roots() -> None:
    one, two = tiny_image("one"), tiny_image("two")
    content = make_images({"quay.io/a/one:1": one, "quay.io/a/two:1": two}).content
    first, second = ([blob.descriptor.digest for blob in image.blobs] for image in (one, two))
    assert content.metadata == (one.digest, first[0], two.digest, second[0])
    assert content.others == (*first[1:], *second[1:])


def test_an_index_is_walked_with_its_attestations() -> None:
    child = tiny_image("x")
    both = index([child, tiny_image("x", platform="linux/arm64"), attestation(child)])
    content = make_images({"quay.io/x/y:1": both}).content
    assert set(content.small) == set(both.manifests())
    assert set(content.blobs) == set(both.all_blobs())


def test_a_sparse_index_carries_only_locked_children() -> None:
    amd, arm = tiny_image("x"), tiny_image("x", platform="linux/arm64")
    both = index([amd, arm])
    content = make([both], [locked("quay.io/x/y:1", both, children=[amd])]).content
    assert set(content.small) == {both.digest, amd.digest}
    assert set(content.blobs) == set(amd.all_blobs())


def test_nested_indexes_are_walked() -> None:
    inner = index([tiny_image("x")])
    outer = index([inner])
    root = locked("quay.io/x/y:1", outer)
    root = replace(root, children=(inner.descriptor, inner.children[0].descriptor))
    content = content_of(lock_of([root]), outer.manifests())
    assert set(content.small) == set(outer.manifests())


def test_referrers_and_cosign_tags_become_roots() -> None:
    image = tiny_image("redis")
    claim, signed = referrer(image.descriptor), cosign_signature(image.descriptor, REDIS)
    tag = SIG.format(image.digest[7:])
    named = replace(signed.descriptor, annotations={BUNDLE_REF: tag}, platform=None)
    content = make([image, claim, signed], [locked(REDIS, image, referrers=[claim, named])]).content
    assert names(content) == [
        ("image", REDIS),
        ("signature", tag),
        ("referrer", f"docker.io/library/redis@{claim.digest}"),
    ]
    assert content.owners[claim.blobs[1].descriptor.digest].ref == REDIS


def test_a_referrer_of_two_tags_stands_once() -> None:
    image = tiny_image("redis")
    claim = referrer(image.descriptor)
    roots = [locked(f"docker.io/library/redis:{tag}", image, referrers=[claim]) for tag in ("7", "7.2")]
    assert len(make([image, claim], roots).content.index) == 3


def extra_of(image: Artifact, payload: bytes = b"payload") -> Extra:
    described = Descriptor("text/plain", sha256(payload), len(payload))
    raw = artifact_manifest("", (described,))
    return Extra(
        SIG.format(image.digest[7:]),
        Descriptor(OCI_MANIFEST, sha256(raw), len(raw)),
        raw,
        {described.digest: payload},
    )


def test_our_signatures_need_no_fetching() -> None:
    image = tiny_image("redis")
    extra = extra_of(image)
    content = make([image], [locked(REDIS, image)], [extra]).content
    assert names(content)[1] == ("signature", extra.ref)
    assert {extra.manifest.digest, sha256(b"payload"), EMPTY_DESCRIPTOR.digest} <= set(content.small)
    assert set(content.blobs) == set(image.all_blobs())


def test_our_signature_takes_the_place_of_upstreams() -> None:
    image = tiny_image("redis")
    signed = cosign_signature(image.descriptor, REDIS)
    extra = extra_of(image)
    named = replace(signed.descriptor, annotations={BUNDLE_REF: extra.ref}, platform=None)
    content = make([image, signed], [locked(REDIS, image, referrers=[named])], [extra]).content
    assert [root.digest for root in content.index] == [image.digest, extra.manifest.digest]
    assert signed.digest not in content.small


def test_two_roots_of_one_name_are_refused() -> None:
    one, two = tiny_image("one"), tiny_image("two")
    with pytest.raises(VerificationError, match="stands twice"):
        make([one, two], [locked(REDIS, one), locked(REDIS, two)])


def test_a_manifest_that_is_not_at_hand_is_named() -> None:
    image = tiny_image("redis")
    with pytest.raises(MissingContent, match=image.digest):
        content_of(lock_of([locked(REDIS, image)]), {})


def test_a_manifest_of_another_digest_is_refused() -> None:
    image = tiny_image("redis")
    with pytest.raises(DigestMismatch, match=REDIS):
        content_of(lock_of([locked(REDIS, image)]), {image.digest: image.raw.replace(b"{", b" {", 1)[1:] + b" "})


def test_a_manifest_of_another_size_is_refused() -> None:
    image = tiny_image("redis")
    root = locked(REDIS, image)
    root = replace(root, descriptor=replace(root.descriptor, size=root.descriptor.size + 1))
    with pytest.raises(DigestMismatch, match="bytes"):
        content_of(lock_of([root]), image.manifests())


def test_a_locked_child_that_the_index_does_not_list_is_refused() -> None:
    both, other = index([tiny_image("x")]), tiny_image("other")
    root: LockedRoot = locked("quay.io/x/y:1", both)
    root = replace(root, children=(*root.children, other.descriptor))
    with pytest.raises(VerificationError, match=other.digest):
        content_of(lock_of([root]), manifests_of(both, other))


def test_two_sizes_for_one_blob_are_refused() -> None:
    def pointing(size: int) -> Artifact:
        raw = artifact_manifest("text/plain", (Descriptor("text/plain", sha256(b"x"), size),))
        return Artifact(Descriptor(OCI_MANIFEST, sha256(raw), len(raw)), raw)

    one, two = pointing(1), pointing(2)
    roots = [locked("files/a:1", one, kind="file"), locked("files/b:1", two, kind="file")]
    with pytest.raises(VerificationError, match="elsewhere"):
        make([one, two], roots)


def test_a_manifest_that_is_also_a_layer_stands_once() -> None:
    image = tiny_image("redis")
    raw = artifact_manifest("text/plain", (replace(image.descriptor, platform=None),))
    holder = Artifact(Descriptor(OCI_MANIFEST, sha256(raw), len(raw)), raw)
    content = make([image, holder], [locked("files/a:1", holder, kind="file"), locked(REDIS, image)]).content
    digests = [*content.metadata, *content.others]
    assert len(digests) == len(set(digests))
    assert image.digest in content.metadata
    assert image.digest not in content.blobs


@pytest.mark.parametrize(
    ("ref", "repository"),
    [
        ("docker.io/library/redis:7.2", "docker.io/library/redis"),
        ("host:5000/x:1", "host:5000/x"),
        ("host:5000/x", "host:5000/x"),
        ("host:5000/x@sha256:" + "a" * 64, "host:5000/x"),
        ("host/x:1@sha256:" + "a" * 64, "host/x"),
    ],
)
def test_repositories(ref: str, repository: str) -> None:
    assert repository_of(ref) == repository


def test_docker_sees_one_platform_of_each_image() -> None:
    amd, arm = tiny_image("x"), tiny_image("x", platform="linux/arm64")
    single = tiny_image("redis")
    content = make_images({"quay.io/x/y:1": index([arm, amd]), REDIS: single}).content
    first, second = docker_view(content)
    assert first["RepoTags"] == [REDIS]
    assert second["RepoTags"] == ["quay.io/x/y:1"]
    assert second["Config"] == "blobs/sha256/" + amd.blobs[0].descriptor.digest[7:]
    assert second["Layers"] == ["blobs/sha256/" + blob.descriptor.digest[7:] for blob in amd.blobs[1:]]


def test_docker_sees_the_first_platform_without_amd64() -> None:
    arm, s390 = tiny_image("x", platform="linux/arm64"), tiny_image("x", platform="linux/s390x")
    (entry,) = docker_view(make_images({"quay.io/x/y:1": index([attestation(arm), arm, s390])}).content)
    assert entry["Config"].endswith(arm.blobs[0].descriptor.digest[7:])


def test_docker_sees_only_what_a_sparse_index_carries() -> None:
    amd, arm = tiny_image("x"), tiny_image("x", platform="linux/arm64")
    both = index([amd, arm])
    (entry,) = docker_view(make([both], [locked("quay.io/x/y:1", both, children=[arm])]).content)
    assert entry["Config"].endswith(arm.blobs[0].descriptor.digest[7:])


def test_docker_sees_two_names_of_one_image_as_one() -> None:
    image = tiny_image("redis")
    (entry,) = docker_view(make_images({REDIS: image, "docker.io/library/redis:7": image}).content)
    assert entry["RepoTags"] == ["docker.io/library/redis:7", REDIS]


def test_docker_sees_no_charts() -> None:
    chart = tiny_image("chart")
    assert docker_view(make([chart], [locked("charts.io/x/y:1", chart, kind="chart")]).content) == []


def zstd(seed: str) -> Blob:
    """Return a layer that says it is zstd; nobody here looks into it."""
    plain = layer({seed: seed.encode()})
    return replace(plain, descriptor=replace(plain.descriptor, media_type=f"{OCI_LAYER}+zstd"))


def test_docker_sees_last_what_an_old_engine_can_not_read() -> None:
    images = {
        "quay.io/x/a:1": image([zstd("a")]),
        "quay.io/x/b:1": tiny_image("b", compression="none"),
        "quay.io/x/c:1": tiny_image("c", family="docker"),
        "quay.io/x/d:1": tiny_image("d", shared=[zstd("d")]),
        "quay.io/x/e:1": tiny_image("e"),
    }
    entries = docker_view(make_images(images).content)
    assert [entry["RepoTags"][0][-3:] for entry in entries] == ["b:1", "c:1", "e:1", "a:1", "d:1"]
