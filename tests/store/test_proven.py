"""The record of verified bundles: it holds for untouched files, and for nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from airbundle.store import proven
from airbundle.store.plan import plan_bundle
from airbundle.store.reader import open_bundle
from airbundle.store.verified import VerifiedRecords
from airbundle.store.writer import BundleWriter
from tests.support.bundles import fill, make_images, write_bundle
from tests.support.images import tiny_image

REF = "docker.io/library/redis:7.2"


@pytest.fixture
def records(tmp_path: Path) -> VerifiedRecords:
    return VerifiedRecords(tmp_path / "records")


@pytest.fixture(params=[None, 4096], ids=["file", "volumes"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle, or the last of its volumes."""
    built = write_bundle(tmp_path / "x.airbundle", make_images({REF: tiny_image("redis")}), volume_size=request.param)
    return built.files[-1]


def known(records: VerifiedRecords, path: Path) -> bool:
    with open_bundle([path]) as bundle:
        return proven.proof(records, bundle) is not None


def verified(records: VerifiedRecords, path: Path) -> bool:
    with open_bundle([path]) as bundle:
        before = proven.statuses(bundle.file)
        bundle.verify_head()
        bundle.verify_blobs()
        return proven.record(records, bundle.file, before, bundle.statement_raw, ["0" * 64] * len(bundle.file.parts))


def test_what_was_verified_is_known(records: VerifiedRecords, path: Path) -> None:
    assert not known(records, path)
    assert verified(records, path)
    assert known(records, path)
    with open_bundle([path]) as bundle:
        found = proven.proof(records, bundle)
        assert found is not None
        assert set(found.sums) == {"0" * 64}
        assert found.holds(bundle.file)


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def test_a_file_that_was_written_to_is_not_known(records: VerifiedRecords, path: Path) -> None:
    assert verified(records, path)
    with open_bundle([path]) as bundle:
        found = proven.proof(records, bundle)
        assert found is not None
        before = path.stat()
        _flip(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the ctime tells
        assert not found.holds(bundle.file)
    assert not known(records, path)


def test_a_file_that_changes_while_it_is_verified_is_not_recorded(records: VerifiedRecords, path: Path) -> None:
    with open_bundle([path]) as bundle:
        before = proven.statuses(bundle.file)
        os.utime(path)
        assert not proven.record(records, bundle.file, before, bundle.statement_raw)
    assert not known(records, path)


def test_a_copy_is_another_file(records: VerifiedRecords, tmp_path: Path) -> None:
    built = write_bundle(tmp_path / "x.airbundle", make_images({REF: tiny_image("redis")}))
    assert verified(records, built.path)
    copy = tmp_path / "copy.airbundle"
    copy.write_bytes(built.path.read_bytes())
    assert not known(records, copy)


def test_records_that_can_not_be_written_only_cost_time(tmp_path: Path, path: Path) -> None:
    (tmp_path / "records").write_text("no directory")
    assert not verified(VerifiedRecords(tmp_path / "records"), path)


def _built(out: Path, records: VerifiedRecords, *, cut_off: bool = False) -> None:
    made = make_images({REF: tiny_image("redis")})
    plan = plan_bundle(made.content)
    if cut_off:
        with BundleWriter.create(plan, out, signatures=[]) as writer:
            fill(writer, plan, made, count=1)
    with BundleWriter.create(plan, out, signatures=[], records=records) as writer:
        fill(writer, plan, made)
        writer.finish()


def test_a_build_records_its_output(tmp_path: Path, records: VerifiedRecords) -> None:
    out = tmp_path / "x.airbundle"
    _built(out, records)
    with open_bundle([out]) as bundle:
        found = proven.proof(records, bundle)
    assert found is not None
    assert found.sums == (hashlib.sha256(out.read_bytes()).hexdigest(),)


def test_a_build_that_went_on_records_nothing(tmp_path: Path, records: VerifiedRecords) -> None:
    """Between two runs anyone may have written to the partial file."""
    _built(tmp_path / "x.airbundle", records, cut_off=True)
    assert not known(records, tmp_path / "x.airbundle")
