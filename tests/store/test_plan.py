from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.layout import HEAD, content_of
from airbundle.bundle.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, artifact_manifest
from airbundle.bundle.statement import Base, parse_statement
from airbundle.bundle.tar import ALIGNED_FROM, ALIGNMENT, END, frame
from airbundle.bundle.toc import parse_toc
from airbundle.store.plan import BaseBundle, BundlePlan, plan_bundle
from tests.support.bundles import Made, lock_of, locked, make_images
from tests.support.images import Artifact, layer, noise, tiny_image

REDIS = "docker.io/library/redis:7.2"
SIZES = st.one_of(st.integers(0, 5000), st.integers(ALIGNED_FROM - 1, ALIGNED_FROM + 1), st.integers(0, 1 << 45))


def two_images() -> Made:
    base = layer({"base": noise("base", 100_000)})
    return make_images(
        {REDIS: tiny_image("redis", shared=[base]), "quay.io/x/nginx:1": tiny_image("nginx", shared=[base])}
    )


def fake_image(sizes: list[int]) -> Artifact:
    """Return an image of layers that exist only as descriptors."""
    layers = tuple(Descriptor(OCI_LAYER, sha256(b"%d %d" % pair), pair[1]) for pair in enumerate(sizes))
    raw = artifact_manifest("", layers, config=Descriptor(OCI_CONFIG, sha256(b"config"), 6))
    return Artifact(Descriptor(OCI_MANIFEST, sha256(raw), len(raw)), raw)


def plan_of(sizes: list[int], installer: bytes | None = None) -> BundlePlan:
    image = fake_image(sizes)
    return plan_bundle(content_of(lock_of([locked(REDIS, image)]), image.manifests()), installer=installer)


@given(st.lists(SIZES, max_size=12), st.binary(max_size=50))
def test_every_byte_has_one_place(sizes: list[int], installer: bytes) -> None:
    plan = plan_of(sizes, installer)
    pieces = [(offset, len(data)) for offset, data in plan.known_bytes()]
    pieces += [(plan.table[blob.digest].offset, blob.size) for blob in plan.blobs_to_fetch]
    position = 0
    for offset, length in sorted(piece for piece in pieces if piece[1]):
        assert position <= offset < position + 512, "only padding, less than a block, lies between"
        position = offset + length
    assert position == plan.total_size
    assert plan.installer_at == plan.table.end + len(END)


@given(st.lists(SIZES, max_size=12))
def test_large_blobs_can_be_shared_by_file_systems(sizes: list[int]) -> None:
    for member in plan_of(sizes).table:
        assert member.size < ALIGNED_FROM or member.offset % ALIGNMENT == 0


def test_equal_content_gives_an_equal_plan() -> None:
    first, second = (
        plan_bundle(two_images().content, installer=b"zip"),
        plan_bundle(two_images().content, installer=b"zip"),
    )
    assert first.head == second.head
    assert list(first.known_bytes()) == list(second.known_bytes())


def test_the_statement_binds_the_head_and_the_installer() -> None:
    plan = plan_bundle(two_images().content, installer=b"the zip")
    statement = parse_statement(plan.statement)
    assert statement.subjects["installer"] == (sha256(b"the zip"), 7)
    assert statement.subjects["airbundle/toc.json"][0] == sha256(plan.toc.to_bytes())
    assert (statement.name, statement.version, statement.serial) == ("test", "1.0.0", 1767225600)
    assert plan.head[plan.signatures_at : plan.signatures_at + 65536] == bytes(65536)


def test_the_installer_may_be_left_out() -> None:
    content = two_images().content
    without = plan_bundle(content)
    assert "installer" not in parse_statement(without.statement).subjects
    assert without.total_size == without.installer_at
    whole = plan_bundle(content, installer=b"the zip")
    assert parse_statement(whole.statement).subjects["installer"] == (sha256(b"the zip"), 7)
    assert list(whole.known_bytes())[-1] == (whole.installer_at, b"the zip")


def test_the_head_comes_first_and_in_order() -> None:
    plan = plan_bundle(two_images().content)
    assert plan.head.startswith(b"oci-layout\0")
    places = [plan.head.find(name.encode() + b"\0") for name in HEAD]
    assert places == sorted(places)
    assert next(iter(plan.table)).start == len(plan.head)


def test_metadata_precedes_large_blobs() -> None:
    made = two_images()
    plan = plan_bundle(made.content)
    order = [digest for digest, _ in plan.toc.blobs]
    assert set(order[: plan.toc.metadata]) == set(made.content.metadata)
    assert [member.digest for member in plan.table] == order


def test_a_delta_leaves_out_only_what_its_base_has_and_no_metadata() -> None:
    made = two_images()
    base = Base("test", "0.9.0", 5, "sha256:" + "0" * 64)
    everything = {digest for digest, _ in plan_bundle(made.content).toc.blobs}
    kept = made.content.others[0]
    plan = plan_bundle(made.content, base=BaseBundle(base, everything - {kept}))
    toc = parse_toc(plan.toc.to_bytes())
    assert [digest for digest, _ in toc.blobs] == [*made.content.metadata, kept]
    assert [digest for digest, _ in toc.external] == list(made.content.others[1:])
    assert parse_statement(plan.statement).base == base
    assert {blob.digest for blob in plan.blobs_to_fetch} == {
        digest for digest in (*made.content.metadata, kept) if digest in made.content.blobs
    }


def test_blobs_to_fetch_are_in_file_order() -> None:
    plan = plan_bundle(two_images().content)
    offsets = [plan.table[blob.digest].offset for blob in plan.blobs_to_fetch]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("size", [1, ALIGNED_FROM - 1, ALIGNED_FROM, 9 * 1024**3])
def test_frames_end_where_data_begins(size: int) -> None:
    for member in plan_of([size]).table:
        assert member.start + len(frame(member)) == member.offset
