"""What of an index is carried."""

from __future__ import annotations

import pytest

from airbundle.builder.images import carried_children
from airbundle.bundle.oci import parse_manifest
from airbundle.errors import NotFound, VerificationError
from tests.support import images


def _index() -> tuple[images.Artifact, list[images.Artifact]]:
    amd64 = images.tiny_image("a", platform="linux/amd64")
    arm64 = images.tiny_image("a", platform="linux/arm64/v8")
    children = [amd64, arm64, images.attestation(amd64), images.attestation(arm64)]
    return images.index(children), children


def test_only_wanted_platforms_and_their_attestations_are_carried() -> None:
    index, (amd64, _, attestation, _) = _index()
    carried = carried_children(parse_manifest(index.raw, what="x"), ["linux/amd64"], what="x")
    assert [child.digest for child in carried] == [amd64.digest, attestation.digest]


def test_no_wish_carries_all() -> None:
    index, children = _index()
    carried = carried_children(parse_manifest(index.raw, what="x"), [], what="x")
    assert [child.digest for child in carried] == [child.digest for child in children]


def test_arm64_without_variant_is_v8() -> None:
    index, (_, arm64, *_) = _index()
    carried = carried_children(parse_manifest(index.raw, what="x"), ["linux/arm64"], what="x")
    assert arm64.digest in [child.digest for child in carried]


def test_a_platform_that_is_not_there_is_named_with_those_that_are() -> None:
    index, _ = _index()
    with pytest.raises(NotFound, match=r"redis: .*linux/s390x.*found linux/amd64, linux/arm64/v8"):
        carried_children(parse_manifest(index.raw, what="x"), ["linux/amd64", "linux/s390x"], what="redis")


def test_a_plain_manifest_has_no_children() -> None:
    image = images.tiny_image("plain")
    assert carried_children(parse_manifest(image.raw, what="x"), ["linux/s390x"], what="x") == ()


def test_an_index_inside_an_index_is_refused_not_left_out() -> None:
    amd64 = images.tiny_image("a", platform="linux/amd64")
    nested = images.index([images.index([amd64]), amd64])
    for platforms in ([], ["linux/amd64"]):
        with pytest.raises(VerificationError, match="another index"):
            carried_children(parse_manifest(nested.raw, what="x"), platforms, what="x")
