"""`build --base`: deltas on a bundle, on a lock, and on what a site says it has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from airbundle.store.reader import BundleFile, open_bundle
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.builder.test_reuse import NAME, asked, build, count, good, key
from tests.support import images

__all__ = ["key"]

DELTA = "shop-2.0.0-delta.airbundle"
BASE = images.layer({"base": images.noise("base", 400_000)})
SIDE = images.layer({"side": images.noise("side", 200_000)})
OLD = images.image([BASE, SIDE], Cmd=["/old"])
ADDED = images.layer({"added": images.noise("added", 100_000)})
NEW = images.image([BASE, SIDE, ADDED], Cmd=["/new"])


@pytest.fixture
def two(workshop: Workshop, key: Path) -> Workshop:
    """A workshop whose version 1.0.0 lies in `old/` and whose version 2.0.0, with one layer more, is locked."""
    workshop.put(OLD, "app", "1.0")
    workshop.put(NEW, "app", "2.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    good(build(workshop, "old"))
    inventory = workshop.root / "inventory"
    shutil.copy(inventory / "airbundle.lock.json", workshop.root / "old.lock.json")
    workshop.inventory(metadata={"name": "shop", "version": "2.0.0"}, images=[f"{UPSTREAM}/app:2.0"])
    good(workshop.lock())
    return workshop


def state(two: Workshop, *paths: Path, **changed: Any) -> Path:
    """Write what a site that has these bundles says."""
    bundles: list[dict[str, Any]] = []
    blobs: dict[str, int] = {}
    for path in paths:
        with open_bundle([path]) as bundle:
            said = bundle.statement
            bundles.append({"name": said.name, "version": said.version, "serial": said.serial, "healthy": True})
            bundles[-1]["statement"] = sha256(bundle.statement_raw)
            blobs.update(bundle.toc.blobs)
    body = {"apiVersion": "airbundle.dev/v1", "kind": "StatusResult", "errors": [], "bundles": bundles}
    out = two.root / "site-state.json"
    out.write_text(json.dumps({**body, "blobs": [list(pair) for pair in blobs.items()], **changed}))
    return out


def carried(bundle: BundleFile) -> set[str]:
    return {digest for digest, _ in bundle.toc.blobs[bundle.toc.metadata :]}


def delta(two: Workshop, base: Path, directory: str = "delta", *words: str | Path) -> tuple[Path, Answer]:
    answer = good(build(two, directory, "--base", base, *words))
    return Path(answer.body["path"]), answer


def test_a_delta_carries_the_new_layer_manifests_and_configs_and_no_more(two: Workshop) -> None:
    requests = count(two)
    path, answer = delta(two, two.root / "old" / NAME)
    assert path.name == DELTA
    assert answer.body["leftOut"] == BASE.descriptor.size + SIDE.descriptor.size
    fetched = {where.rpartition("/")[2] for where in asked(two, requests)}
    assert fetched == {ADDED.descriptor.digest, NEW.blobs[0].descriptor.digest}
    full = Path(good(build(two, "full")).body["path"])
    with open_bundle([path]) as bundle, open_bundle([full]) as whole, open_bundle([two.root / "old" / NAME]) as old:
        bundle.verify_head()
        bundle.verify_blobs()
        assert bundle.index == whole.index
        assert bundle.toc.blobs[: bundle.toc.metadata] == whole.toc.blobs[: whole.toc.metadata]
        known = {payload for payload in carried(whole) if whole.blob_size(payload) < 1000}
        assert carried(bundle) - known == {ADDED.descriptor.digest}
        assert set(bundle.toc.external) == {(b.descriptor.digest, b.descriptor.size) for b in (BASE, SIDE)}
        base = bundle.statement.base
        assert base is not None
        assert (base.statement, base.lock) == (sha256(old.statement_raw), "")
        assert base.is_base(old.statement)
        assert answer.body["base"] == base.to_json()


def test_equal_lock_key_and_base_give_equal_bytes(two: Workshop) -> None:
    path, _ = delta(two, two.root / "old" / NAME)
    again, _ = delta(two, two.root / "old" / NAME, "again")
    assert path.read_bytes() == again.read_bytes()
    _, answer = delta(two, two.root / "old" / NAME)
    assert answer.body["changed"] is False
    _, answer = delta(two, two.root / "old", "parts", "--split-size", "100K", "--cache", two.root / "delta")
    assert len(answer.body["volumes"]) > 1
    assert answer.body["fetched"] == 0
    assert b"".join(Path(name).read_bytes() for name in answer.body["volumes"]) == path.read_bytes()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_lock_is_a_base(two: Workshop, fresh: bool) -> None:
    if fresh:
        shutil.rmtree(two.root / "cache")
    path, answer = delta(two, two.root / "old.lock.json")
    assert answer.body["leftOut"] == BASE.descriptor.size + SIDE.descriptor.size
    with open_bundle([path]) as bundle, open_bundle([two.root / "old" / NAME]) as old:
        bundle.verify_head()
        base = bundle.statement.base
        assert base is not None
        assert base.statement == ""
        raw = (two.root / "old.lock.json").read_bytes()
        assert base.lock == sha256(raw)
        # Without an installer the bundle's lock lists no parts of it; here there are none anyway.
        assert base.is_base(old.statement)
    assert two.run("inspect", path).body["base"] == base.to_json()
    assert two.run("verify", path).code == 0


def test_a_lock_whose_images_are_gone_names_what_lacks(two: Workshop) -> None:
    shutil.rmtree(two.root / "cache")
    store = two.registry.storage / "docker/registry/v2"
    shutil.rmtree(store / f"repositories/app/_manifests/revisions/sha256/{OLD.digest[7:]}")
    (two.root / "old" / NAME).rename(two.root / "old.airbundle")
    answer = build(two, "delta", "--base", two.root / "old.lock.json")
    assert answer.code == 4
    assert OLD.digest in answer.errors
    assert "--cache" in answer.errors
    good(build(two, "delta", "--base", two.root / "old.lock.json", "--cache", two.root / "old.airbundle"))


def test_a_lock_names_what_was_materialised_too(workshop: Workshop, key: Path) -> None:
    directory = workshop.inventory(files=[{"path": "notes.txt"}])
    (directory / "notes.txt").write_bytes(images.noise("notes", 90_000))
    good(workshop.lock())
    shutil.copy(directory / "airbundle.lock.json", workshop.root / "old.lock.json")
    workshop.inventory(metadata={"name": "shop", "version": "2.0.0"}, files=[{"path": "notes.txt"}, {"path": "b.txt"}])
    (directory / "b.txt").write_bytes(images.noise("b", 80_000))
    good(workshop.lock())
    path, answer = delta(workshop, workshop.root / "old.lock.json")
    assert answer.body["leftOut"] == 90_000
    with open_bundle([path]) as bundle:
        assert [size for _, size in bundle.toc.external] == [90_000]
    # What is left out need not be there, and is not made again.
    content = next(p for p in (workshop.root / "cache/blobs/sha256").iterdir() if p.stat().st_size == 90_000)
    content.unlink()
    again, _ = delta(workshop, workshop.root / "old.lock.json", "again")
    assert not content.exists()
    assert again.read_bytes() == path.read_bytes()


def test_what_a_site_has_is_a_base(two: Workshop) -> None:
    old = two.root / "old" / NAME
    path, answer = delta(two, state(two, old))
    with open_bundle([old]) as bundle:
        assert answer.body["base"]["statement"] == sha256(bundle.statement_raw)
    assert answer.body["leftOut"] == BASE.descriptor.size + SIDE.descriptor.size
    # The same base, told by the bundle itself.
    other, _ = delta(two, old, "other")
    assert path.read_bytes() == other.read_bytes()


def test_a_chain_of_deltas_leaves_out_what_the_whole_chain_has(two: Workshop) -> None:
    first, _ = delta(two, two.root / "old" / NAME)
    more = images.layer({"more": images.noise("more", 50_000)})
    two.put(images.image([BASE, ADDED, more], Cmd=["/more"]), "app", "3.0")
    two.inventory(metadata={"name": "shop", "version": "3.0.0"}, images=[f"{UPSTREAM}/app:3.0"])
    good(two.lock())
    path, answer = delta(two, first, "second")
    assert answer.body["leftOut"] == BASE.descriptor.size + ADDED.descriptor.size
    with open_bundle([path]) as bundle:
        assert bundle.statement.base is not None
        assert bundle.statement.base.version == "2.0.0"


def test_a_base_with_nothing_in_common_is_told(two: Workshop) -> None:
    two.put(images.tiny_image("alien"), "alien", "1")
    two.inventory(metadata={"name": "alien", "version": "1"}, images=[f"{UPSTREAM}/alien:1"])
    good(two.lock())
    answer = good(build(two, "delta", "--base", two.root / "old" / NAME))
    assert "has nothing that this delta could leave out" in answer.text
    assert answer.body["leftOut"] == 0


def test_a_site_that_has_nothing_gets_a_full_bundle(two: Workshop) -> None:
    answer = good(build(two, "delta", "--base", state(two)))
    assert "the site has no bundle yet" in answer.text
    assert answer.body["base"] is None
    full = good(build(two, "full"))
    assert Path(answer.body["path"]).read_bytes() == Path(full.body["path"]).read_bytes()


def test_what_is_no_base_is_refused(two: Workshop) -> None:
    junk = two.root / "junk.json"
    junk.write_text('{"kind": "Pod"}')
    broken = two.root / "broken.airbundle"
    broken.write_bytes((two.root / "old" / NAME).read_bytes()[:5000])
    for path, code, words in (
        (two.root / "nothing", 2, "there is no such file"),
        (junk, 2, "expected Lock or StatusResult"),
        (state(two, kind="StatusResult", bundles=[], blobs=[["x", 1]]), 2, "status --json"),
        (broken, 5, "broken.airbundle"),
        (two.root / "inventory", 2, "there is no bundle"),
    ):
        answer = build(two, "delta", "--base", path)
        assert answer.code == code, answer.text
        assert words in answer.errors
    (two.root / "delta").rmdir()


def test_a_delta_does_not_replace_its_base(two: Workshop) -> None:
    old = two.root / "old" / NAME
    answer = two.build(old, "--base", old)
    assert answer.code == 2
    assert "would replace it" in answer.errors
