"""`build --cache` where the file system shares blocks between files (reflink): what has not changed takes no room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airbundle.builder import reuse
from airbundle.crypto.keys import generate_key
from airbundle.store.reader import open_bundle
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.support.disk import shared_bytes, used
from tests.support.images import layer, noise, tiny_image
from tests.support.storage import Storage

MIB = 1024 * 1024
# Of sizes that end within a block. One layer of the image changes; small blobs lie around all of it.
BASE = [layer({"base": noise(f"base {number}", 16 * MIB + 777 * number)}, level=0) for number in range(4)]
OLD = tiny_image("old", sizes=(100_000, 3_000), shared=BASE)
NEW = tiny_image("new", sizes=(120_000, 2_000), shared=BASE)
SAME = sum(blob.descriptor.size for blob in BASE)
ROOM = 8 * MIB
"""Bytes that a second bundle may take: its head, what is new, the ends of blobs, the file system's own."""


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release key."""
    private, _ = generate_key(b"secret")
    path = tmp_path / "release.key"
    path.write_bytes(private)
    path.chmod(0o600)
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "secret")
    return path


@pytest.fixture
def old(workshop: Workshop, key: Path, sharing_disk: Path) -> Path:
    """A bundle on a disk that shares; the next version has one layer changed."""
    workshop.put(OLD, "app", "1.0")
    workshop.put(NEW, "app", "2.0")
    return build(workshop, "1.0", sharing_disk / "old")


def build(workshop: Workshop, version: str, directory: Path, *words: str | Path) -> Path:
    start(workshop, version, directory)
    good(workshop.build(directory, "--key", workshop.root / "release.key", *words))
    return directory / f"shop-{version}.0.airbundle"


def start(workshop: Workshop, version: str, directory: Path) -> None:
    directory.mkdir()
    workshop.inventory(metadata={"name": "shop", "version": f"{version}.0"}, images=[f"{UPSTREAM}/app:{version}"])
    good(workshop.lock())


def good(answer: Answer) -> Answer:
    assert answer.code == 0, answer.errors
    return answer


def verified(path: Path) -> bool:
    with open_bundle([path]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
    return True


def test_what_has_not_changed_takes_no_room(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    before = used(sharing_disk)
    new = build(workshop, "2.0", sharing_disk / "new", "--cache", old)
    assert shared_bytes(new) >= SAME - 4096 * len(BASE), "all but the ends of blobs"
    assert used(sharing_disk) - before < ROOM
    assert verified(new)


def test_the_disk_needs_no_room_for_what_is_shared(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    status = os.statvfs(sharing_disk)
    with (sharing_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, status.f_bavail * status.f_frsize - 2 * ROOM)
    assert verified(build(workshop, "2.0", sharing_disk / "new", "--cache", old))


def test_a_bundle_is_the_same_shared_or_not(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    shared = build(workshop, "2.0", sharing_disk / "new", "--cache", old)
    assert shared.read_bytes() == build(workshop, "2.0", sharing_disk.parent / "elsewhere").read_bytes()


def test_a_build_that_was_cut_off_goes_on(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    out, storage, changed = sharing_disk / "new", Storage(workshop.registry.storage), NEW.blobs[-1]
    words = (out, "--key", workshop.root / "release.key", "--cache", old)
    assert changed.data is not None
    start(workshop, "2.0", out)
    before = used(sharing_disk)
    storage.delete_blob(changed.descriptor.digest)
    assert workshop.build(*words).code == 4
    storage.put_bytes(changed.data)
    assert good(workshop.build(*words)).body["resumed"] >= SAME
    new = out / "shop-2.0.0.airbundle"
    assert used(sharing_disk) - before < ROOM
    assert shared_bytes(new) >= SAME - 4096 * len(BASE)
    assert verified(new)


def test_what_compact_merges_takes_no_room(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    delta = build(workshop, "2.0", sharing_disk / "delta", "--base", old).with_name("shop-2.0.0-delta.airbundle")
    before = used(sharing_disk)
    (sharing_disk / "full").mkdir()
    good(workshop.run("compact", delta, old, "-o", sharing_disk / "full", "--key", workshop.root / "release.key"))
    full = sharing_disk / "full" / "shop-2.0.0.airbundle"
    assert shared_bytes(full) >= SAME - 4096 * len(BASE)
    assert used(sharing_disk) - before < ROOM
    assert verified(full)


def test_volumes_share_too(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    """With one file, and with volumes of another size, where both are cut at whole blocks."""
    key = workshop.root / "release.key"
    halves, thirds = sharing_disk / "halves", sharing_disk / "thirds"
    before = used(sharing_disk)
    start(workshop, "2.0", halves)
    good(workshop.build(halves, "--key", key, "--cache", old, "--split-size", "35MiB"))
    old.unlink()
    thirds.mkdir()
    good(workshop.build(thirds, "--key", key, "--cache", halves, "--split-size", "25MiB"))
    for directory, count in ((halves, 2), (thirds, 3)):
        volumes = sorted(directory.glob("*.airbundle.0??"))
        assert len(volumes) == count
        assert sum(map(shared_bytes, volumes)) >= SAME - 4096 * (len(BASE) + count)
        assert verified(volumes[0])
    assert used(sharing_disk) - before < 2 * ROOM


def test_volumes_cut_anywhere_are_copied(workshop: Workshop, old: Path, sharing_disk: Path) -> None:
    """Cut where blocks do not end, they hold no blob as blocks that could be shared."""
    out = sharing_disk / "new"
    start(workshop, "2.0", out)
    answer = good(
        workshop.build(out, "--key", workshop.root / "release.key", "--cache", old, "--split-size", "30000000")
    )
    assert answer.body["reused"] >= SAME
    assert verified(out / "shop-2.0.0.airbundle.001")


def test_where_sharing_fails_after_all_the_bytes_are_copied(
    workshop: Workshop, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.put(OLD, "app", "1.0")
    workshop.put(NEW, "app", "2.0")
    old = build(workshop, "1.0", tmp_path / "old")
    monkeypatch.setattr(reuse, "can_share", lambda *_: True)
    new = build(workshop, "2.0", tmp_path / "new", "--cache", old)
    assert new.stat().st_blocks * 512 >= SAME
    assert verified(new)
