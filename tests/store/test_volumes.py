from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import DigestMismatch, HostError, UsageError, VerificationError
from airbundle.progress import SILENT
from airbundle.store.delta import base_bundles
from airbundle.store.plan import plan_bundle
from airbundle.store.reader import open_bundle
from airbundle.store.split import split_bundle
from airbundle.store.volumes import ByteFile, bundle_path, check_sizes, cut, find_parts, volume_name
from airbundle.store.writer import BuiltBundle, BundleWriter
from tests.support.bundles import Made, fill, make_images, write_bundle
from tests.support.images import tiny_image

SIZE = 40_000
ZIP = b"PK" + b"the zip" * 3000


def some(seed: str = "redis") -> Made:
    return make_images({"docker.io/library/redis:7.2": tiny_image(seed, sizes=(90_000, 50_000, 100))})


def write_volumes(directory: Path, made: Made | None = None) -> BuiltBundle:
    directory.mkdir(exist_ok=True)
    return write_bundle(directory / "x.airbundle", made or some(), installer=ZIP, volume_size=SIZE)


def verify(*paths: Path) -> None:
    with open_bundle(paths) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_cuts_cover_everything_and_keep_the_zip_whole(total: int, size: int, tail: int) -> None:
    tail = min(tail, total)
    if tail > size:
        with pytest.raises(UsageError, match="too small"):
            cut(total, size, tail)
        return
    size = max(size, total // 500 + 1, tail)
    sizes = cut(total, size, tail)
    assert sum(sizes) == total
    assert all(0 < length <= size for length in sizes)
    assert sizes[-1] >= tail
    assert len(sizes) <= total // size + 2
    assert all(length == size for length in sizes[:-2]), "only the last two are shorter"


def test_volumes_of_no_size_are_refused() -> None:
    with pytest.raises(UsageError):
        cut(100, 0, 0)


def test_volumes_are_byte_ranges_of_the_bundle(tmp_path: Path) -> None:
    whole = write_bundle(tmp_path / "x.airbundle", some(), installer=ZIP).path.read_bytes()
    built = write_volumes(tmp_path / "volumes")
    assert b"".join(path.read_bytes() for path in built.files) == whole
    assert [path.name for path in built.files][:2] == ["x.airbundle.001", "x.airbundle.002"]
    assert built.files[-1].read_bytes().endswith(ZIP)
    assert built.sha256 is None
    done = subprocess.run(
        ["sha256sum", "-c", "x.airbundle.sha256"], cwd=tmp_path / "volumes", capture_output=True, check=True
    )
    assert done.stdout.count(b"OK") == len(built.files)


def test_splitting_a_bundle_gives_the_same_volumes(tmp_path: Path) -> None:
    built = write_volumes(tmp_path / "built")
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=ZIP).path
    with open_bundle([path]) as bundle:
        split = split_bundle(bundle, SIZE, tmp_path / "new" / "split", reporter=SILENT)
    names = sorted(entry.name for entry in (tmp_path / "built").iterdir())
    assert sorted(entry.name for entry in (tmp_path / "new" / "split").iterdir()) == names
    assert split.sums == built.sums
    for name in names:
        assert (tmp_path / "built" / name).read_bytes() == (tmp_path / "new" / "split" / name).read_bytes()


def test_volumes_are_split_again(tmp_path: Path) -> None:
    write_volumes(tmp_path / "built")
    with open_bundle([tmp_path / "built"]) as bundle:
        split = split_bundle(bundle, 2 * SIZE, tmp_path / "larger", reporter=SILENT)
    verify(*split.files[:1])


def test_splitting_again_leaves_no_volume_of_the_earlier_split(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=ZIP).path
    with open_bundle([path]) as bundle:
        many = split_bundle(bundle, SIZE, tmp_path / "split", reporter=SILENT)
        few = split_bundle(bundle, 3 * SIZE, tmp_path / "split", reporter=SILENT)
    assert len(few.files) < len(many.files)
    assert sorted((tmp_path / "split").iterdir()) == sorted([*few.files, tmp_path / "split" / "x.airbundle.sha256"])
    verify(tmp_path / "split")


def test_a_bundle_that_is_cut_while_it_is_split_ends_the_split(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=ZIP).path
    with open_bundle([path]) as bundle:
        assert bundle.installer_range[1]
        os.truncate(path, SIZE + 1)
        with pytest.raises(VerificationError, match=r"x\.airbundle: the file became shorter while it was read"):
            split_bundle(bundle, SIZE, tmp_path / "split", reporter=SILENT)
    assert not list((tmp_path / "split").iterdir())


def test_a_volume_too_small_for_the_zip_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=ZIP).path
    with open_bundle([path]) as bundle, pytest.raises(UsageError, match=str(len(ZIP))):
        split_bundle(bundle, len(ZIP) - 1, tmp_path / "split", reporter=SILENT)
    assert not (tmp_path / "split").exists()
    with pytest.raises(UsageError, match="too small"):
        BundleWriter.create(plan_bundle(some().content, installer=ZIP), tmp_path / "y.airbundle", volume_size=100)


def test_any_volume_or_their_directory_names_the_bundle(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    verify(files[0])
    verify(files[-1])
    verify(tmp_path / "v")
    verify(files[1], files[0])


def test_volumes_are_read_across_directories(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    for number, path in enumerate(files):
        target = tmp_path / f"disk{number % 3}"
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    verify(tmp_path / "disk0", tmp_path / "disk1", tmp_path / "disk2")
    verify(tmp_path / "disk1" / "x.airbundle.002", tmp_path / "disk0", tmp_path / "disk2")
    with pytest.raises(VerificationError, match=r"missing x\.airbundle\.001, x\.airbundle\.004") as caught:
        verify(tmp_path / "disk1", tmp_path / "disk2")
    assert "--volumes" in caught.value.hint


def test_blobs_are_read_across_volumes(tmp_path: Path) -> None:
    made = some()
    write_volumes(tmp_path / "v", made)
    with open_bundle([tmp_path / "v"]) as bundle:
        for digest, data in made.bytes.items():
            assert bundle.read_small(digest, len(data)) == data
            pieces = bundle.segments(digest)
            assert b"".join(os.pread(fd, length, offset) for fd, offset, length in pieces) == data
        assert any(len(bundle.segments(digest)) > 2 for digest in made.bytes)


def test_a_split_build_goes_on(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content, installer=ZIP)
    expected = write_bundle(tmp_path / "x.airbundle", made, installer=ZIP).path.read_bytes()
    out = tmp_path / "v" / "x.airbundle"
    out.parent.mkdir()
    with BundleWriter.create(plan, out, volume_size=SIZE) as writer:
        fill(writer, plan, made, count=2)
        assert {path.suffix for path in out.parent.iterdir()} == {".partial", ".journal"}
    with BundleWriter.create(plan, out, volume_size=SIZE) as writer:
        assert writer.resumed
        fill(writer, plan, made)
        built = writer.finish()
    assert b"".join(path.read_bytes() for path in built.files) == expected
    assert not [path for path in out.parent.iterdir() if "partial" in path.name]


def test_another_volume_size_starts_anew_and_leaves_nothing_behind(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content, installer=ZIP)
    out = tmp_path / "x.airbundle"
    with BundleWriter.create(plan, out, volume_size=SIZE) as writer:
        fill(writer, plan, made, count=2)
    with BundleWriter.create(plan, out) as writer:
        assert not writer.resumed
        fill(writer, plan, made)
        writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.airbundle", "x.airbundle.sha256"]


# Damage: what is wrong with which volume


def test_a_missing_volume_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    for lost, rest in ((files[0], files[1]), (files[2], files[0]), (files[-1], files[0])):
        away = tmp_path / "away"
        lost.rename(away)
        with pytest.raises(VerificationError, match=lost.name):
            verify(rest)
        away.rename(lost)
    verify(files[0])


def test_the_names_of_volumes_that_lack_are_bounded(tmp_path: Path) -> None:
    built = write_volumes(tmp_path)
    (tmp_path / "x.airbundle.9999").touch()
    with pytest.raises(VerificationError, match=r"missing x\.airbundle\.0[0-9]{2}, ") as caught:
        find_parts([built.files[0]])
    assert len(caught.value.problem) < 1000


def test_an_absurd_size_in_the_toc_costs_nothing(tmp_path: Path) -> None:
    paths = [tmp_path / volume_name("x.airbundle", number) for number in range(1, 5)]
    for path in paths:
        path.write_bytes(bytes(1000))
    with (
        ByteFile.open(paths) as file,
        pytest.raises(VerificationError, match=r"^x\.airbundle\.005, .*missing") as caught,
    ):
        check_sizes(file, 10**15)
    assert len(caught.value.problem) < 1000


def test_a_number_alone_makes_no_volume(tmp_path: Path) -> None:
    whole = write_bundle(tmp_path / "x.airbundle", some()).path
    other = tmp_path / "notes.001"
    other.touch()
    with pytest.raises(UsageError, match="there are 2 bundles"):
        find_parts([whole, other])


def test_a_volume_that_is_cut_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    for number in range(len(files)):
        raw = files[number].read_bytes()
        files[number].write_bytes(raw[:-3])
        with pytest.raises(VerificationError, match=files[number].name):
            verify(tmp_path / "v")
        files[number].write_bytes(raw)


def test_a_volume_that_grew_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    for path in (files[1], files[-1]):
        raw = path.read_bytes()
        path.write_bytes(raw + b"more")
        with pytest.raises(VerificationError, match=path.name):
            verify(tmp_path / "v")
        path.write_bytes(raw)


def test_a_damaged_volume_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    raw = bytearray(files[3].read_bytes())
    raw[len(raw) // 2] ^= 1
    files[3].write_bytes(raw)
    with open_bundle([tmp_path / "v"]) as bundle, pytest.raises(DigestMismatch, match=r"x\.airbundle\.004") as caught:
        bundle.verify_blobs()
    assert caught.value.hint == "carry this volume again"


def test_a_volume_of_another_bundle_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    others = write_volumes(tmp_path / "w", some("other")).files
    assert [path.stat().st_size for path in files] == [path.stat().st_size for path in others]
    shutil.copy(others[3], files[3])
    with pytest.raises(VerificationError, match=r"x\.airbundle\.004"):
        verify(tmp_path / "v")


def test_the_first_of_two_volumes_may_be_the_shorter_one(tmp_path: Path) -> None:
    made = make_images({})
    installer = bytes(200_000)
    built = write_bundle(tmp_path / "x.airbundle", made, installer=installer, volume_size=len(installer))
    sizes = [path.stat().st_size for path in built.files]
    assert sizes == [built.size - len(installer), len(installer)]
    verify(built.files[1])
    for path in built.files:
        raw = path.read_bytes()
        path.write_bytes(raw[:-1])
        with pytest.raises(VerificationError):
            verify(path)
        path.write_bytes(raw)


def test_without_checksums_every_suspect_is_named(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "v").files
    (tmp_path / "v" / "x.airbundle.sha256").unlink()
    raw = bytearray(files[3].read_bytes())
    raw[len(raw) // 2] ^= 1
    files[3].write_bytes(raw)
    with open_bundle([tmp_path / "v"]) as bundle, pytest.raises(DigestMismatch) as caught:
        bundle.verify_blobs()
    (finding,) = caught.value.findings
    assert "x.airbundle.004" in caught.value.problem
    assert "x.airbundle.004" in finding.where


def test_two_bundles_in_one_directory_are_not_mixed(tmp_path: Path) -> None:
    write_volumes(tmp_path / "v")
    write_bundle(tmp_path / "v" / "y.airbundle", some("other"), installer=ZIP, volume_size=SIZE)
    with pytest.raises(UsageError, match="2 bundles"):
        verify(tmp_path / "v")
    verify(tmp_path / "v" / "y.airbundle.002")


def names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_directory_with_one_bundle_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle"):
        find_parts([tmp_path])
    (tmp_path / "README").write_text("hello")
    (tmp_path / "x.airbundle").write_bytes(b"")
    assert names(find_parts([tmp_path])) == ["x.airbundle"]
    assert names(find_parts([tmp_path / "x.airbundle", tmp_path])) == ["x.airbundle"]
    assert names(find_parts([tmp_path / "any-name"])) == ["any-name"]


def test_more_than_a_thousand_volumes_are_in_order(tmp_path: Path) -> None:
    for number in range(1, 1003):
        (tmp_path / volume_name("x.airbundle", number)).touch()
    found = find_parts([tmp_path / "x.airbundle.001"])
    assert [int(path.suffix[1:]) for path in found] == list(range(1, 1003))


def test_a_copy_that_is_named_by_a_date_is_no_volume_and_stays(tmp_path: Path) -> None:
    built = write_volumes(tmp_path / "v")
    copy, year = tmp_path / "v/x.airbundle.20261121154700", tmp_path / "v/x.airbundle.2026"
    for number, part in enumerate(built.files):
        with copy.open("ab" if number else "wb") as file:
            file.write(part.read_bytes())
    verify(built.files[0])
    verify(tmp_path / "v")
    verify(copy)
    year.write_bytes(b"mine")
    write_volumes(tmp_path / "v")
    assert year.exists()
    assert copy.exists()


def test_surplus_volumes_are_removed_up_to_the_first_gap(tmp_path: Path) -> None:
    count = len(write_volumes(tmp_path / "v").files)
    for number in (count + 1, count + 2, count + 4):
        (tmp_path / "v" / volume_name("x.airbundle", number)).write_bytes(b"old")
    write_volumes(tmp_path / "v")
    numbers = sorted(int(path.suffix[1:]) for path in (tmp_path / "v").glob("x.airbundle.[0-9]*"))
    assert numbers == [*range(1, count + 1), count + 4]


def test_more_volumes_than_can_be_are_refused_before_they_are_counted() -> None:
    with pytest.raises(UsageError, match="too small"):
        cut(10**15, 1, 0)


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop.airbundle"
    loop.symlink_to(loop.name)
    for named in (tmp_path, loop):
        with pytest.raises((UsageError, HostError), match=r"loop\.airbundle"):
            open_bundle([named])
    assert base_bundles([tmp_path]) == [[loop]]


def test_names() -> None:
    assert bundle_path(Path("/a/x.airbundle.003")) == Path("/a/x.airbundle")
    assert bundle_path(Path("/a/x.airbundle")) == Path("/a/x.airbundle")
    assert bundle_path(Path("/a/x.tar.003")) == Path("/a/x.tar.003")


@given(st.data())
def test_many_files_are_one_range(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("files")
    lengths = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=5))
    paths = [directory / str(number) for number in range(len(lengths))]
    for path, length in zip(paths, lengths):
        path.write_bytes(bytes(length))
    model = bytearray(sum(lengths))
    with ByteFile.open(paths, writable=True) as file:
        assert file.size == len(model)
        for _ in range(data.draw(st.integers(0, 5))):
            start = data.draw(st.integers(0, len(model)))
            piece = data.draw(st.binary(max_size=len(model) - start))
            file.write(start, piece)
            model[start : start + len(piece)] = piece
        start, length = data.draw(st.integers(0, len(model) + 3)), data.draw(st.integers(0, 40))
        assert file.read(start, length) == bytes(model[start : start + length])
        pieces = file.segments(start, length)
        assert b"".join(os.pread(fd, count, offset) for fd, offset, count in pieces) == model[start : start + length]
        with pytest.raises(ValueError, match="do not lie"):
            file.write(len(model), b"x")
    assert b"".join(path.read_bytes() for path in paths) == model
