"""`lock` against a real registry: what stays, what moves, what is told."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.lock import Lock, parse_lock
from airbundle.bundle.oci import DOCKER_MANIFEST, OCI_MANIFEST
from airbundle.cli.main import main
from airbundle.store.cache import Cache
from tests.builder.conftest import UPSTREAM, Workshop
from tests.support import images


def _lock(workshop: Workshop) -> Lock:
    return parse_lock((workshop.root / "inventory/airbundle.lock.json").read_bytes())


def test_tags_become_digests_and_stay(workshop: Workshop) -> None:
    first, second = images.tiny_image("one"), images.tiny_image("two")
    workshop.put(first, "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    assert workshop.lock().body["changed"] is True
    before = (workshop.root / "inventory/airbundle.lock.json").read_bytes()
    workshop.put(second, "app", "1.0")
    assert workshop.lock().body["changed"] is False
    assert (workshop.root / "inventory/airbundle.lock.json").read_bytes() == before
    assert _lock(workshop).roots[0].descriptor.digest == first.digest


def test_check_lists_moved_and_vanished_tags_with_old_and_new(workshop: Workshop) -> None:
    old, new = images.tiny_image("one"), images.tiny_image("two")
    workshop.put(old, "app", "1.0")
    workshop.put(old, "other", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/other:1.0"])
    workshop.lock()
    assert workshop.lock("--check").code == 0
    workshop.put(new, "app", "1.0")
    (workshop.registry.storage / "docker/registry/v2/repositories/other").rename(workshop.root / "gone")
    answer = workshop.lock("--check")
    assert answer.code == 3
    findings = answer.body["errors"][0]["findings"]
    assert (findings[0]["expected"], findings[0]["found"]) == (old.digest, new.digest)
    assert "no longer has it" in findings[1]["found"]
    words = shlex.split(findings[0]["hint"].split("`")[1])
    assert words[:3] == ["airbundle", "lock", str(workshop.root / "inventory")]
    assert main([*words[1:], "--no-installer", "--cache-dir", str(workshop.root / "cache")]) == 0
    assert _lock(workshop).roots[0].descriptor.digest == new.digest
    assert "images[1]" in findings[1]["where"]


def test_update_moves_what_it_names_and_the_serial_grows(workshop: Workshop) -> None:
    old, new = images.tiny_image("one"), images.tiny_image("two")
    for name in ("app", "other"):
        workshop.put(old, name, "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/other:1.0"])
    workshop.lock()
    before = _lock(workshop)
    for name in ("app", "other"):
        workshop.put(new, name, "1.0")
    assert workshop.lock("--update", f"{UPSTREAM}/app").code == 0
    after = _lock(workshop)
    assert [root.descriptor.digest for root in after.roots] == [new.digest, old.digest]
    assert after.serial > before.serial
    assert workshop.lock("--update", "images").code == 0
    assert {root.descriptor.digest for root in _lock(workshop).roots} == {new.digest}


def test_renew_changes_dates_only(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"], expires="30d")
    workshop.lock()
    before = _lock(workshop)
    assert workshop.lock("--renew").body["changed"] is True
    after = _lock(workshop)
    assert after.roots == before.roots
    assert after.serial > before.serial


def test_an_end_that_has_passed_is_no_end(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"], expires="2020-02-29")
    answer = workshop.lock()
    assert answer.code == 2
    assert "bundle.yaml: expires: 2020-02-29 has passed" in answer.errors
    assert not (workshop.root / "inventory/airbundle.lock.json").exists()
    # A lock that has grown old is told by everything that uses it; it is the operator's to renew.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"], expires="1d")
    assert workshop.lock().code == 0
    for answer in (workshop.lock(), workshop.build(workshop.root / "b.airbundle")):
        assert answer.code == 0
        assert "warning: shop 1.0.0 expired at 2017-07-15T02:40:00Z" in answer.text
        assert "airbundle lock --renew" in answer.text


def test_source_date_epoch_gives_the_dates(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"], expires="1d")
    workshop.lock()
    lock = _lock(workshop)
    assert (lock.serial, lock.created, lock.expires) == (1700000000, "2023-11-14T22:13:20Z", "2023-11-15T22:13:20Z")


def test_an_unknown_update_names_the_nearest(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    answer = workshop.lock("--update", f"{UPSTREAM}/ap:1.0")
    assert answer.code == 2
    assert f"{UPSTREAM}/app" in answer.text


@pytest.mark.parametrize("word", ["worker", "worker:1", "library/worker:1", "docker.io/library/worker"])
def test_update_takes_names_as_the_inventory_has_them(workshop: Workshop, word: str) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[{"ref": f"{UPSTREAM}/app:1.0", "as": "worker:1"}])
    assert workshop.lock().code == 0
    assert workshop.lock("--update", word).code == 0
    assert workshop.lock("--update", "other").code == 2


@pytest.mark.parametrize("more", [["--update", "all"], ["--renew"]])
def test_a_check_does_not_pretend_to_move_anything(workshop: Workshop, more: list[str]) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    assert workshop.lock().code == 0
    answer = workshop.lock("--check", *more)
    assert (answer.code, "--check changes nothing" in answer.text) == (2, True)


def test_all_missing_images_are_told_at_once(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/app:2.0", f"{UPSTREAM}/nothing:1"])
    answer = workshop.lock()
    assert answer.code == 4
    assert "app:2.0" in answer.errors
    assert "nothing:1" in answer.errors
    assert "Traceback" not in answer.text
    assert "resolve: stopped in" in answer.text and "resolve: done" not in answer.text
    assert not (workshop.root / "inventory/airbundle.lock.json").exists()


def test_an_index_without_the_platform_is_refused(workshop: Workshop) -> None:
    index = images.index([images.tiny_image("a", platform="linux/amd64")])
    workshop.put(index, "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"], platforms=["linux/arm64"])
    answer = workshop.lock()
    assert answer.code == 4
    assert "found linux/amd64" in answer.errors


def test_referrers_and_cosign_tags_travel_along(workshop: Workshop) -> None:
    image = images.tiny_image("signed")
    sbom = images.referrer(image.descriptor)
    workshop.put(image, "app", "1.0")
    workshop.put(sbom, "app")
    workshop.put(images.referrers_index([sbom]), "app", images.referrers_tag(image.digest))
    signature = images.cosign_signature(image.descriptor, f"{UPSTREAM}/app")
    workshop.put(signature, "app", f"sha256-{image.digest[7:]}.sig")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    assert workshop.lock().code == 0
    assert {r.digest for r in _lock(workshop).roots[0].referrers} == {sbom.digest, signature.digest}


def test_one_get_for_a_manifest_ever(workshop: Workshop) -> None:
    image = images.tiny_image("once")
    workshop.put(image, "app", "1.0", "1.1")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/app:1.1"])
    workshop.lock()
    workshop.lock("--update", "all")
    workshop.build(workshop.root)
    gets = [r for r in workshop.registry.requests() if r.method == "GET" and r.path.endswith(image.digest)]
    assert [r for r in gets if "/manifests/" in r.path][1:] == []


def test_a_lock_that_is_damaged_is_told_with_its_fields(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    workshop.lock()
    path = workshop.root / "inventory/airbundle.lock.json"
    body = json.loads(path.read_text())
    body["serial"] = "soon"
    body["roots"][0]["descriptor"]["digest"] = "sha256:../../etc"
    path.write_text(json.dumps(body))
    answer = workshop.lock()
    assert answer.code == 2
    assert "serial" in answer.errors
    assert "roots[0].descriptor" in answer.errors


def test_a_wrong_epoch_is_told(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    assert workshop.lock().code == 2


def test_lock_is_written_whole(workshop: Workshop, tmp_path: Path) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    workshop.lock()
    names = {path.name for path in (tmp_path / "inventory").iterdir()}
    assert names == {"bundle.yaml", "airbundle.lock.json"}


def test_another_spelling_of_an_image_keeps_what_is_locked(workshop: Workshop) -> None:
    old, new = images.tiny_image("one"), images.tiny_image("two")
    workshop.put(old, "app", "latest")
    workshop.inventory(images=[f"{UPSTREAM}/app"])
    workshop.lock()
    workshop.put(new, "app", "latest")
    workshop.inventory(images=[f"{UPSTREAM}/app:latest"])
    assert workshop.lock().code == 0
    assert _lock(workshop).roots[0].descriptor.digest == old.digest
    answer = workshop.lock("--check")
    assert answer.code == 3
    assert new.digest in answer.errors


def test_one_image_under_two_names_is_locked_twice(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    entries = [{"ref": f"{UPSTREAM}/app:1.0", "as": f"internal/{name}:1"} for name in ("a", "b")]
    workshop.inventory(images=entries)
    assert workshop.lock().code == 0
    assert [root.ref for root in _lock(workshop).roots] == ["docker.io/internal/a:1", "docker.io/internal/b:1"]
    assert workshop.lock().body["changed"] is False
    assert workshop.build(workshop.root).code == 0


def test_a_pin_that_is_what_is_locked_keeps_it_and_another_moves_it(workshop: Workshop) -> None:
    one, two = images.tiny_image("one"), images.tiny_image("two")
    workshop.put(one, "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    workshop.lock()
    workshop.put(two, "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0@{one.digest}"])
    assert workshop.lock().code == 0
    assert _lock(workshop).roots[0].descriptor.digest == one.digest
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0@{two.digest}"])
    assert "pinned to another digest" in workshop.build(workshop.root).errors
    assert workshop.lock().code == 0
    assert _lock(workshop).roots[0].descriptor.digest == two.digest
    # Without its pin the image is what its tag says.
    workshop.put(one, "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    assert workshop.lock().code == 0
    assert _lock(workshop).roots[0].descriptor.digest == one.digest


def test_an_entry_that_was_taken_out_of_the_lock_is_missed(workshop: Workshop) -> None:
    for name in ("app", "other"):
        workshop.put(images.tiny_image(name), name, "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/other:1.0"])
    workshop.lock()
    path = workshop.root / "inventory/airbundle.lock.json"
    body = json.loads(path.read_text())
    del body["roots"][0]  # as after a merge by hand
    path.write_text(json.dumps(body))
    answer = workshop.build(workshop.root)
    assert answer.code == 2
    assert f"the image {UPSTREAM}/app:1.0 is not in the lock" in answer.errors


@pytest.mark.parametrize("epoch", ["9" * 30, "²", "-1", "1.5"])
def test_an_epoch_that_is_no_time_is_told(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    answer = workshop.lock()
    assert answer.code == 2
    assert "SOURCE_DATE_EPOCH" in answer.errors


def test_an_index_that_lies_about_its_children_is_told_at_once(workshop: Workshop) -> None:
    for name, change in (("size", '"size": 5'), ("kind", f'"mediaType": "{DOCKER_MANIFEST}"')):
        child = images.tiny_image("child")
        index = images.index([child])
        field = f'"size": {child.descriptor.size}' if name == "size" else f'"mediaType": "{OCI_MANIFEST}"'
        raw = index.raw.decode().replace(field, change).encode()
        descriptor = replace(index.descriptor, digest=sha256(raw), size=len(raw))
        workshop.put(replace(index, raw=raw, descriptor=descriptor), name, "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/{name}:1.0" for name in ("size", "kind")])
    answer = workshop.lock()
    assert answer.code == 5
    assert "expected 5" in answer.errors
    assert f"expected '{DOCKER_MANIFEST}'" in answer.errors


def test_failures_come_in_the_order_of_the_inventory(workshop: Workshop) -> None:
    directory = workshop.inventory()
    names = "".join(f"  - {UPSTREAM}/none{number}:1\n" for number in range(12))
    head = "apiVersion: airbundle.dev/v1\nkind: Bundle\nmetadata: {name: shop, version: 1.0.0}\nimages:\n"
    (directory / "bundle.yaml").write_text(head + names)
    answer = workshop.lock()
    places = [int(finding["where"].split(":")[1].split()[0]) for finding in answer.body["errors"][0]["findings"]]
    assert answer.code == 4
    assert places == list(range(5, 17))


def test_what_nothing_uses_leaves_the_cache(workshop: Workshop) -> None:
    workshop.put(images.tiny_image("one"), "app", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    cache = Cache(workshop.root / "cache")
    old, kept = cache.add(b"x" * 2048, ""), cache.add(b"y", "")
    age = time.time() - 200 * 24 * 3600
    for path in (cache.path(old.digest), cache.root / "verified" / f"sha256-{old.digest[7:]}.json"):
        os.utime(path, (age, age))
    answer = workshop.lock()
    assert f"the cache {cache.root} let go of 2.0 KiB that nothing used for 180 days" in answer.text
    assert not cache.has(old.digest) and cache.has(kept.digest)
    # Once a day is enough, and building is the other time.
    again = cache.add(b"x" * 2048, "")
    for path in (cache.path(again.digest), cache.root / "verified" / f"sha256-{again.digest[7:]}.json"):
        os.utime(path, (age, age))
    assert "let go of" not in workshop.lock().text
    os.utime(cache.root / "tidied", (age, age))
    assert "let go of 2.0 KiB" in workshop.build(workshop.root / "b.airbundle").text
