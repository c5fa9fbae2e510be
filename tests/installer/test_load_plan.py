from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from airbundle.bundle.index import CHART, IMAGE, REFERRER, SIGNATURE, make_root
from airbundle.bundle.oci import Descriptor
from airbundle.errors import VerificationError
from airbundle.installer.load_plan import LoadPlan, plan_load
from tests.support.images import (
    Artifact,
    attestation,
    cosign_signature,
    index,
    layer,
    noise,
    referrer,
    tiny_image,
)


def plan(roots: Iterable[tuple[str, str, Artifact]], *, without: Iterable[Artifact] = (), prefix: str = "") -> LoadPlan:
    """Plan for `(kind, ref, artifact)`; the manifests `without` are not in the bundle."""
    known: dict[str, bytes] = {}
    entries: list[Descriptor] = []
    for kind, ref, artifact in roots:
        known.update(artifact.manifests())
        entries.append(make_root(kind, ref, artifact.descriptor, 0))
    for artifact in without:
        del known[artifact.digest]
    return plan_load(entries, lambda descriptor: known.get(descriptor.digest), prefix=prefix)


def order(result: LoadPlan, repository: str) -> list[str]:
    return [node.descriptor.digest for node in result.manifests[repository]]


def test_shared_layers_are_one_task_and_the_largest_goes_first() -> None:
    base = layer({"base": noise("base", 5000)})
    one, two = tiny_image("one", shared=[base]), tiny_image("two", shared=[base])
    result = plan([(IMAGE, "docker.io/library/one:1", one), (IMAGE, "docker.io/library/two:1", two)], prefix="p")
    first = result.blobs[0]
    assert first.blob.digest == base.descriptor.digest
    assert first.repositories == ("p/docker.io/library/one", "p/docker.io/library/two")
    sizes = [task.blob.size for task in result.blobs]
    assert sizes == sorted(sizes, reverse=True)
    assert result.size == sum(sizes)
    assert {task.blob.digest for task in result.blobs} == set(one.all_blobs()) | set(two.all_blobs())


def test_children_come_before_their_index() -> None:
    children = [tiny_image("x", platform="linux/amd64"), tiny_image("x", platform="linux/arm64")]
    whole = index(children)
    result = plan([(IMAGE, "quay.io/a/x:1", whole)])
    assert order(result, "quay.io/a/x") == [*(child.digest for child in children), whole.digest]
    assert result.sparse == {}
    assert [(tag.repository, tag.tag, tag.substitute) for tag in result.tags] == [("quay.io/a/x", "1", None)]


def test_subjects_come_before_referrers_however_they_are_listed() -> None:
    image = tiny_image("x")
    sbom = referrer(image.descriptor)
    signature = referrer(sbom.descriptor, artifact_type="application/x.signature", data=b"s")
    result = plan(
        [
            (REFERRER, f"quay.io/a/x@{signature.digest}", signature),
            (REFERRER, f"quay.io/a/x@{sbom.digest}", sbom),
            (IMAGE, "quay.io/a/x:1", image),
        ]
    )
    assert order(result, "quay.io/a/x") == [image.digest, sbom.digest, signature.digest]
    assert [tag.tag for tag in result.tags] == ["1"]


def test_cosign_tags_lie_beside_the_image() -> None:
    image = tiny_image("x")
    signature = cosign_signature(image.descriptor, "quay.io/a/x:1")
    tag = f"sha256-{image.digest[7:]}.sig"
    result = plan([(IMAGE, "quay.io/a/x:1", image), (SIGNATURE, f"quay.io/a/x:{tag}", signature)])
    assert [(each.repository, each.tag) for each in result.tags] == [("quay.io/a/x", "1"), ("quay.io/a/x", tag)]
    assert (result.count(IMAGE), result.count(CHART)) == (1, 0)


def test_a_sparse_index_with_one_platform_has_its_manifest_as_substitute() -> None:
    amd, arm = (tiny_image("x", platform=f"linux/{arch}") for arch in ("amd64", "arm64"))
    whole = index([amd, attestation(amd), arm])
    result = plan([(IMAGE, "quay.io/a/x:1", whole)], without=[arm])
    assert result.sparse == {"quay.io/a/x": frozenset({whole.digest})}
    substitute = result.tags[0].substitute
    assert substitute is not None and substitute.raw is None
    assert substitute.descriptor.digest == amd.digest
    assert [str(platform) for platform in substitute.platforms] == ["linux/amd64"]
    assert arm.digest not in order(result, "quay.io/a/x")


def test_a_sparse_index_with_two_platforms_has_an_index_of_these() -> None:
    amd, arm, s390 = (tiny_image("x", platform=f"linux/{arch}") for arch in ("amd64", "arm64", "s390x"))
    whole = index([amd, arm, s390], family="docker")
    result = plan([(IMAGE, "quay.io/a/x:1", whole)], without=[s390])
    substitute = result.tags[0].substitute
    assert substitute is not None and substitute.raw is not None
    body = json.loads(substitute.raw)
    assert [entry["digest"] for entry in body["manifests"]] == [amd.digest, arm.digest]
    assert body["mediaType"] == whole.descriptor.media_type == substitute.descriptor.media_type
    assert body["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux"}


def test_an_index_above_a_sparse_one_is_sparse() -> None:
    amd, arm = (tiny_image("x", platform=f"linux/{arch}") for arch in ("amd64", "arm64"))
    inner = index([amd, arm])
    outer = index([inner])
    result = plan([(IMAGE, "quay.io/a/x:1", outer)], without=[arm])
    assert result.sparse == {"quay.io/a/x": frozenset({inner.digest, outer.digest})}
    assert result.tags[0].substitute is not None


def test_an_index_without_any_platform_has_no_substitute() -> None:
    arm = tiny_image("x", platform="linux/arm64")
    whole = index([arm])
    result = plan([(IMAGE, "quay.io/a/x:1", whole)], without=[arm])
    assert result.tags[0].substitute is None
    assert result.sparse == {"quay.io/a/x": frozenset({whole.digest})}


def test_what_only_the_server_offers_is_not_loaded() -> None:
    image, database = tiny_image("x"), tiny_image("database")
    result = plan([(IMAGE, "quay.io/a/x:1", image), ("clamav", "clamav/main.cvd:62", database)])
    assert set(result.manifests) == {"quay.io/a/x"}
    assert {blob.digest for blob in result.unloaded} == set(database.all_blobs())


def test_a_blob_that_is_loaded_is_not_among_the_unloaded() -> None:
    image = tiny_image("x")
    result = plan([("file", "file/x:1", image), (IMAGE, "quay.io/a/x:1", image)])
    assert result.unloaded == ()


def test_two_roots_that_want_one_tag_are_told_at_once() -> None:
    one, two = tiny_image("one"), tiny_image("two")
    with pytest.raises(VerificationError, match=r"both want the tag charts\.x/app:1\.0_1"):
        plan([(CHART, "charts.x/app:1.0+1", one), (CHART, "charts.x/app:1.0_1", two)])


def test_one_image_as_two_kinds_of_root_is_no_clash() -> None:
    one = tiny_image("one")
    assert len(plan([(IMAGE, "a.io/x:1", one), (CHART, "a.io/x:1", one)]).tags) == 1


def test_a_root_that_the_bundle_lacks_is_refused() -> None:
    image = tiny_image("x")
    with pytest.raises(VerificationError, match="the bundle lacks it"):
        plan([(IMAGE, "a.io/x:1", image)], without=[image])
