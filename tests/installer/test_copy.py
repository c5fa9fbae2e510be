from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.bundle.serving import fingerprint
from airbundle.errors import HostError, NoSpace, VerificationError
from airbundle.installer import copy as copy_module
from airbundle.installer import filler as filler_module
from airbundle.installer.copy import Copy, copy_bundle, copy_name, space_needed, wanted_blobs
from airbundle.progress import SILENT
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.volumes import cut
from tests.installer.bundles import Key, chart, content, sign_and_write
from tests.support.disk import shared_bytes, used
from tests.support.images import layer, noise, tiny_image

BASE = layer({"base": noise("base", 3_000_000)})
REDIS = tiny_image("redis", shared=[BASE])
APP = chart("app", "1.0.0")
DATABASE = tiny_image("main.cvd", sizes=(100_000,))
INSTALLER = noise("installer", 300_000)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, release_key: Key) -> Path:
    made = content(
        {"docker.io/library/redis:7.2": REDIS},
        charts={"charts.example.org/app:1.0.0": APP},
        others={("clamav", "clamav/main.cvd:62"): DATABASE},
    )
    directory = tmp_path_factory.mktemp("bundle")
    return sign_and_write(directory / "test-1.0.0.airbundle", made, release_key, installer=INSTALLER)


@pytest.fixture
def bundle(path: Path) -> Iterator[BundleFile]:
    with open_bundle([path]) as opened:
        yield opened


def copy(bundle: BundleFile, directory: Path, *, whole: bool = True, known: Copy | None = None) -> Copy:
    return copy_bundle(bundle, directory, whole=whole, verified=known.verified if known else None, reporter=SILENT)


def test_a_whole_copy_is_the_same_bytes(bundle: BundleFile, path: Path, tmp_path: Path) -> None:
    made = copy(bundle, tmp_path)
    assert made.path.read_bytes() == path.read_bytes()
    assert made.path.name.startswith("test-1.0.0-") and made.path.name.endswith(".airbundle")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o640
    assert made.verified == fingerprint(made.path.stat()) and made.made and made.whole
    assert list(tmp_path.iterdir()) == [made.path]


def test_a_second_time_nothing_is_read(bundle: BundleFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = copy(bundle, tmp_path)
    monkeypatch.setattr(copy_module, "_verify", lambda *_: pytest.fail("it is read"))
    again = copy(bundle, tmp_path, known=made)
    assert not again.made and again.verified == made.verified


def test_a_copy_of_which_nothing_is_known_is_verified(bundle: BundleFile, tmp_path: Path) -> None:
    made = copy(bundle, tmp_path)
    assert not copy(bundle, tmp_path).made
    with made.path.open("r+b") as stream:
        stream.seek(bundle.table[BASE.descriptor.digest].offset + 5)
        stream.write(b"\0\1\2\3")
    again = copy(bundle, tmp_path, known=made)  # its mtime has changed: the fingerprint no longer holds
    assert again.made
    assert again.path.read_bytes() == bundle.path.read_bytes()


def test_what_is_no_file_in_the_place_of_a_copy_is_replaced(bundle: BundleFile, tmp_path: Path) -> None:
    made = copy(bundle, tmp_path)
    made.path.unlink()
    os.mkfifo(made.path)
    assert copy(bundle, tmp_path, known=made).made
    assert made.path.is_file()
    made.path.unlink()
    made.path.mkdir()
    with pytest.raises(HostError, match="Is a directory"):
        copy(bundle, tmp_path, known=made)


def test_a_partial_copy_has_charts_and_databases_but_no_layers(bundle: BundleFile, tmp_path: Path) -> None:
    made = copy(bundle, tmp_path, whole=False)
    assert made.path.stat().st_size == bundle.size
    assert made.path.stat().st_blocks * 512 < 1_000_000
    with open_bundle([made.path]) as partial:
        partial.verify_head()
        for artifact in (APP, DATABASE):
            for blob in artifact.blobs:
                partial.copy_blob(blob.descriptor, lambda offset, data: None)
        with pytest.raises(VerificationError):
            partial.copy_blob(BASE.descriptor, lambda offset, data: None)
    assert BASE.descriptor.digest not in wanted_blobs(bundle, whole=False)


def test_whole_and_partial_copies_have_names_of_their_own(bundle: BundleFile) -> None:
    assert copy_name(bundle, whole=True) != copy_name(bundle, whole=False)


@pytest.mark.parametrize("place", ["head", "blob", "installer", "padding"])
def test_a_damaged_bundle_leaves_nothing(path: Path, tmp_path: Path, place: str) -> None:
    damaged = tmp_path / "d.airbundle"
    shutil.copyfile(path, damaged)
    with open_bundle([damaged]) as bundle:
        member = bundle.table[BASE.descriptor.digest]
        where = {
            "head": bundle.head["index.json"].offset + 3,
            "blob": member.offset + member.size - 1,
            "installer": bundle.installer_range[0] + 1000,
            "padding": member.start + 20,
        }[place]
        _ = bundle.index, bundle.toc, bundle.lock
    raw = bytearray(damaged.read_bytes())
    raw[where] ^= 1
    damaged.write_bytes(raw)
    target = tmp_path / "bundles"
    target.mkdir()
    with pytest.raises(VerificationError), open_bundle([damaged]) as bundle:
        bundle.verify_head()  # as open_trusted does: what is no blob is refused before anything is copied
        copy(bundle, target)
    assert list(target.iterdir()) == []


def test_a_bundle_that_is_exchanged_meanwhile_is_refused(
    bundle: BundleFile, path: Path, tmp_path: Path, release_key: Key
) -> None:
    other = sign_and_write(tmp_path / "o.airbundle", content({"docker.io/library/x:1": tiny_image("x")}), release_key)
    with open_bundle([other]) as exchanged:
        exchanged.statement_raw = bundle.statement_raw  # what was trusted before
        target = tmp_path / "bundles"
        target.mkdir()
        with pytest.raises(VerificationError, match="changed while it was copied"):
            copy(exchanged, target)
        assert list(target.iterdir()) == []


def test_a_copy_that_was_cut_off_goes_on(
    bundle: BundleFile, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / copy_name(bundle, whole=True)
    partial = target.with_name(target.name + ".partial")
    member = bundle.table[BASE.descriptor.digest]
    raw = path.read_bytes()
    with partial.open("wb") as stream:
        stream.truncate(len(raw))
        stream.seek(member.offset)
        stream.write(raw[member.offset : member.offset + member.size])
    read: list[str] = []
    original = BundleFile.copy_blob

    def spy(self: BundleFile, blob: object, write: object, **more: object) -> None:
        read.append(blob.digest)  # type: ignore[attr-defined]  # a descriptor
        original(self, blob, write, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(BundleFile, "copy_blob", spy)
    monkeypatch.setattr(copy_module, "_share", lambda *_: False)
    made = copy(bundle, tmp_path)
    assert made.path.read_bytes() == raw
    assert BASE.descriptor.digest not in read and len(read) == len(bundle.toc.blobs) - 1


def test_wrong_bytes_of_an_earlier_attempt_are_written_over(bundle: BundleFile, path: Path, tmp_path: Path) -> None:
    target = tmp_path / copy_name(bundle, whole=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(os.urandom(bundle.size + 100_000))
    assert copy(bundle, tmp_path).path.read_bytes() == path.read_bytes()


def test_volumes_become_one_file(path: Path, tmp_path: Path) -> None:
    raw = path.read_bytes()
    start = 0
    for number, size in enumerate(cut(len(raw), 1_000_000, len(INSTALLER)), 1):
        (tmp_path / f"x.airbundle.{number:03}").write_bytes(raw[start : start + size])
        start += size
    target = tmp_path / "bundles"
    target.mkdir()
    with open_bundle([tmp_path / "x.airbundle.001"]) as volumes:
        assert copy(volumes, target).path.read_bytes() == raw


def test_space_is_told_beforehand(bundle: BundleFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_module, "_share", lambda *_: False)
    whole, part = (space_needed(bundle, tmp_path, whole=whole) for whole in (True, False))
    assert bundle.size - 2048 <= whole <= bundle.size
    assert part < bundle.size - 2_500_000
    copy(bundle, tmp_path)
    assert space_needed(bundle, tmp_path, whole=True) == 0


def test_a_full_disk_leaves_nothing(bundle: BundleFile, small_disk: Path) -> None:
    with pytest.raises(NoSpace, match=r"needs \d+ bytes .* are free") as caught:
        copy(bundle, small_disk)
    assert caught.value.exit_code == 7
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    bundle: BundleFile, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler_module, "check_room", lambda *_, **__: None)
    monkeypatch.setattr(filler_module, "allocate", lambda descriptor, size, path: os.ftruncate(descriptor, size))
    with pytest.raises(NoSpace, match="No space left"):
        copy(bundle, small_disk)
    assert list(small_disk.iterdir()) == []


def test_a_copy_on_a_disk_that_shares_takes_no_room(path: Path, sharing_disk: Path) -> None:
    there, kept = sharing_disk / path.name, sharing_disk / "kept"
    shutil.copyfile(path, there)
    kept.mkdir()
    before = used(sharing_disk)
    with open_bundle([there]) as bundle:
        assert space_needed(bundle, kept, whole=True) == 0
        made = copy(bundle, kept)
        assert made.path.read_bytes() == path.read_bytes()
    assert shared_bytes(made.path) >= path.stat().st_size
    assert used(sharing_disk) - before < 1_000_000


def test_shared_bytes_are_verified_by_reading(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def share(bundle: BundleFile, descriptor: int) -> bool:
        os.pwrite(descriptor, bundle.path.read_bytes(), 0)
        return True

    # What FICLONE does on xfs and btrfs, which this machine's file systems need not be.
    monkeypatch.setattr(copy_module, "_share", share)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    with open_bundle([path]) as bundle:
        assert space_needed(bundle, good, whole=True) == 0
        assert copy(bundle, good).path.read_bytes() == path.read_bytes()
        where = bundle.table[BASE.descriptor.digest].offset
    raw = bytearray(path.read_bytes())
    raw[where] ^= 1
    (tmp_path / "d.airbundle").write_bytes(raw)
    with open_bundle([tmp_path / "d.airbundle"]) as bundle, pytest.raises(VerificationError):
        copy(bundle, bad)
    assert list(bad.iterdir()) == []
