"""`compact`: a chain of deltas becomes the bytes that `build` gives without `--base`."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from airbundle.crypto.keys import generate_key
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.builder.test_base import ADDED, BASE, SIDE, delta, state, two
from tests.builder.test_reuse import NAME, build, flip, good, key, middle
from tests.support import images

__all__ = ["key", "two"]

MORE = images.layer({"more": images.noise("more", 50_000)})


@pytest.fixture
def chain(two: Workshop) -> list[Path]:
    """Version 1.0.0, a delta on it, and a delta on that; `full/` has version 3.0.0 as it is built without a base."""
    first, _ = delta(two, two.root / "old" / NAME)
    newest = images.image([BASE, SIDE, ADDED, MORE], Cmd=["/more"])
    signature = images.cosign_signature(newest.descriptor, f"{UPSTREAM}/app")
    two.put(newest, "app", "3.0")
    two.put(signature, "app", f"sha256-{newest.digest[7:]}.sig")
    two.put(images.referrer(newest.descriptor), "app", "sbom")
    sbom = images.referrers_index([images.referrer(newest.descriptor)])
    two.put(sbom, "app", images.referrers_tag(newest.digest))
    two.inventory(metadata={"name": "shop", "version": "3.0.0"}, images=[f"{UPSTREAM}/app:3.0"])
    good(two.lock())
    second, _ = delta(two, first, "second")
    good(build(two, "full"))
    return [two.root / "old" / NAME, first, second]


def compact(shop: Workshop, directory: str, *words: str | Path, signed: bool = True) -> Answer:
    (shop.root / directory).mkdir(exist_ok=True)
    words = (*words, "--key", shop.root / "release.key") if signed else words
    return shop.run("compact", *words, "-o", shop.root / directory)


def full(shop: Workshop) -> bytes:
    return (shop.root / "full" / "shop-3.0.0.airbundle").read_bytes()


def test_in_any_order_it_is_what_build_gives(two: Workshop, chain: list[Path]) -> None:
    for number, order in enumerate(itertools.permutations(chain)):
        answer = good(compact(two, f"out{number}", *order))
        assert Path(answer.body["path"]).read_bytes() == full(two)
        assert answer.body["signed"] is True
    for suffix in (".sha256", ".sig"):
        beside = [(two.root / d / f"shop-3.0.0.airbundle{suffix}").read_bytes() for d in ("full", "out0")]
        assert beside[0] == beside[1]
    assert good(build(two, "out0")).body["changed"] is False


def test_volumes_go_in_and_come_out(two: Workshop, chain: list[Path]) -> None:
    answer = two.run("split", chain[1], "--size", "60K", "-o", two.root / "cut")
    assert answer.code == 0
    words: list[str | Path] = [two.root / "cut", chain[0], chain[2], "--split-size", "200K"]
    answer = good(compact(two, "out", *words))
    assert b"".join(Path(name).read_bytes() for name in answer.body["volumes"]) == full(two)


def test_without_a_key_it_says_so_loudly(two: Workshop, chain: list[Path]) -> None:
    answer = good(compact(two, "out", *chain, signed=False))
    assert "NOT SIGNED" in answer.text
    assert answer.body["signed"] is False
    path = answer.body["path"]
    assert two.run("sign", path, "--key", two.root / "release.key").code == 0
    assert Path(path).read_bytes() == full(two)


def test_another_key_does_not_sign_what_it_has_not_seen(two: Workshop, chain: list[Path]) -> None:
    other, _ = generate_key(b"secret")
    (two.root / "release.key").write_bytes(other)
    answer = compact(two, "out", *chain)
    assert answer.code == 5
    assert "not signed by this key" in answer.errors


def test_what_lacks_is_listed(two: Workshop, chain: list[Path]) -> None:
    answer = compact(two, "out", chain[2], chain[1])
    assert answer.code == 3
    for layer in (BASE, SIDE):
        assert layer.descriptor.digest in answer.errors
    assert ADDED.descriptor.digest not in answer.errors
    assert "shop 1.0.0" in answer.errors
    assert not list((two.root / "out").iterdir())
    answer = compact(two, "out", chain[0])
    assert answer.code == 2
    assert "no delta" in answer.errors


def test_a_delta_on_what_a_site_has(two: Workshop, chain: list[Path]) -> None:
    third, _ = delta(two, state(two, chain[0]), "third")
    assert Path(good(compact(two, "out", third, chain[0])).body["path"]).read_bytes() == full(two)


@pytest.mark.parametrize("which", [0, 2])
def test_damage_is_refused(two: Workshop, chain: list[Path], which: int) -> None:
    flip(chain[which], middle(chain[which], (BASE if which == 0 else MORE).descriptor.digest))
    answer = compact(two, "out", *chain)
    assert answer.code == 5
    assert not (two.root / "out" / "shop-3.0.0.airbundle").exists()


def test_an_output_that_is_an_input_is_refused(two: Workshop, chain: list[Path]) -> None:
    copy = two.root / "out" / "shop-3.0.0.airbundle"
    copy.parent.mkdir()
    shutil.copy(chain[2], copy)
    answer = compact(two, "out", copy, *chain[:2])
    assert answer.code == 2
    assert "one of the bundles to merge" in answer.errors
