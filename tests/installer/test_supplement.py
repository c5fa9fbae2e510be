"""Supplements: made from other files, verified, resumed, and refused where they are not what they say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.bundle.oci import Descriptor
from airbundle.errors import NoSpace, NotFound, VerificationError
from airbundle.installer.missing import prove_blobs
from airbundle.installer.supplement import make_supplement, supplement_name, supplement_space
from airbundle.progress import SILENT
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.supplement import Supplement
from airbundle.store.union import BlobUnion, Holder
from tests.installer.bundles import Key
from tests.installer.deltas import LAYER, Chain, flip, make_chain

GONE = LAYER.descriptor.digest


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), release_key)


@pytest.fixture
def blobs(chain: Chain) -> Iterator[BlobUnion]:
    with open_bundle([chain.delta]) as delta, open_bundle([chain.base]) as base:
        union = BlobUnion(delta, [Holder(base)])
        prove_blobs(union, delta.missing(), SILENT)
        yield union


def make(blobs: BlobUnion, target: Path) -> bool:
    wanted = blobs.bundle.toc.external
    return make_supplement(blobs, wanted, target, verified=None, reporter=SILENT).made


def test_it_has_what_was_left_out_and_is_made_once(blobs: BlobUnion, tmp_path: Path) -> None:
    target = tmp_path / supplement_name(blobs.bundle, whole=True)
    wanted = blobs.bundle.toc.external
    before = supplement_space(wanted, target)
    assert make(blobs, target)
    assert target.stat().st_size == before
    assert supplement_space(wanted, target) == 0
    with Supplement.open(target) as made:
        assert made.toc.blobs == wanted
        for digest, size in wanted:
            made.copy_blob(Descriptor("", digest, size), lambda offset, data: None)
    assert not make(blobs, target)
    assert list(tmp_path.iterdir()) == [target]


def test_it_is_a_tar(blobs: BlobUnion, tmp_path: Path) -> None:
    target = tmp_path / "x.supplement"
    make(blobs, target)
    names = subprocess.run(["tar", "-tf", target], check=True, capture_output=True, text=True).stdout.split()
    assert names == ["airbundle/toc.json", *(f"blobs/sha256/{digest[7:]}" for digest, _ in blobs.bundle.toc.external)]


@pytest.mark.parametrize("damage", ["cut", "longer", "other", "toc"])
def test_one_that_is_not_what_it_says_is_made_anew(blobs: BlobUnion, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "x.supplement"
    make(blobs, target)
    raw = target.read_bytes()
    changed = {
        "cut": raw[:-1],
        "longer": raw + b"\0",
        "other": b"something else" * 100,
        "toc": raw.replace(b'"blobs"', b'"blips"'),
    }[damage]
    target.write_bytes(changed)
    with pytest.raises(VerificationError):
        Supplement.open(target)
    assert make(blobs, target)
    assert target.read_bytes() == raw


def test_a_base_that_is_exchanged_after_it_was_checked_gains_nothing(chain: Chain, tmp_path: Path) -> None:
    base_path, place = tmp_path / "base.airbundle", tmp_path / "bundles"
    place.mkdir()
    shutil.copy(chain.base, base_path)
    with open_bundle([chain.delta]) as delta, open_bundle([base_path]) as base:
        union = BlobUnion(delta, [Holder(base)])
        prove_blobs(union, delta.missing(), SILENT)
        flip(base_path, GONE)
        with pytest.raises(VerificationError):
            make(union, place / "x.supplement")
    assert list(place.iterdir()) == []


def test_a_full_disk_leaves_nothing(blobs: BlobUnion, small_disk: Path) -> None:
    with pytest.raises(NoSpace):
        make(blobs, small_disk / "x.supplement")
    assert list(small_disk.iterdir()) == []


def test_nothing_counts_before_it_is_proven(chain: Chain) -> None:
    with open_bundle([chain.delta]) as delta, open_bundle([chain.base]) as base:
        union = BlobUnion(delta, [Holder(base)])
        assert not union.has_blob(GONE)
        with pytest.raises(NotFound, match="leaves out"):
            union.read_into(GONE, 0, memoryview(bytearray(10)))
        assert union.find(GONE) and union.has_blob(GONE)
        # A blob that the delta does not ask for is no blob of it, though the base has it.
        other = next(digest for digest, _ in base.toc.blobs if digest not in _all(delta))
        assert not union.find(other) and not union.has_blob(other)


def _all(bundle: BundleFile) -> set[str]:
    return {digest for digest, _ in bundle.toc.blobs + bundle.toc.external}


def test_a_blob_of_another_size_and_a_hole_are_none(chain: Chain) -> None:
    with open_bundle([chain.delta]) as delta, open_bundle([chain.base]) as base:
        assert not Holder(base).has(GONE, LAYER.descriptor.size + 1)
        assert not Holder(base, present=frozenset()).has(GONE, LAYER.descriptor.size)
        assert not BlobUnion(delta, [Holder(base, present=frozenset(), proven=True)]).find(GONE)
