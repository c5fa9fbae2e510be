from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.installer.uploads import LONGEST, MOST, Uploads, parse_uploads, remembered_uploads
from airbundle.transfer.upload_session import UploadPlace

DIGEST = "sha256:" + "a" * 64
PLACE = UploadPlace("https://registry.site:5000", "team/app", DIGEST)
OTHER = PLACE._replace(origin="https://registry.site:5001")
TARGET = "/v2/team/app/blobs/uploads/1234?_state=5678%3D"


def place(number: int) -> UploadPlace:
    return PLACE._replace(repository=f"team/app{number}")


def document(*entries: object, **header: object) -> bytes:
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Uploads", "version": 1, "uploads": list(entries), **header}
    return json.dumps(body).encode()


def entry(**fields: object) -> dict[str, Any]:
    return {**PLACE._asdict(), "location": TARGET, **fields}


def test_a_later_run_finds_it_for_the_same_registry_only(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    Uploads(path).keep(PLACE, TARGET)
    later = Uploads(path)
    assert later.find(PLACE) == TARGET
    for place in (OTHER, PLACE._replace(repository="team/app2"), PLACE._replace(digest="sha256:" + "b" * 64)):
        assert later.find(place) is None


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    before = os.umask(0)
    try:
        Uploads(path).keep(PLACE, TARGET)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_has_ended_is_forgotten_and_the_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    with remembered_uploads(path) as uploads:
        uploads.keep(PLACE, TARGET)
        uploads.keep(OTHER, TARGET)
        uploads.forget(PLACE)
        assert uploads.find(PLACE) is None
    assert Uploads(path).find(OTHER) == TARGET
    assert Uploads(path).find(PLACE) is None
    with remembered_uploads(path) as uploads:
        uploads.forget(OTHER)
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_also_when_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    Uploads(path).keep(PLACE, TARGET)
    with pytest.raises(KeyError), remembered_uploads(path) as uploads:
        uploads.forget(PLACE)
        raise KeyError
    assert not path.exists()


def test_it_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    uploads = Uploads(path)
    for number in range(MOST + 5):
        uploads.keep(place(number), "/" + "x" * (LONGEST - 1))
    later = Uploads(path)
    assert len(json.loads(path.read_bytes())["uploads"]) == MOST
    assert later.find(place(4)) is None and later.find(place(5)) is not None


@pytest.mark.parametrize("target", ["/" + "x" * LONGEST, "", "x", "http://evil.test/", "/a b", "/a\n", "/\u00e9"])
def test_a_location_that_is_none_is_not_kept(tmp_path: Path, target: str) -> None:
    uploads = Uploads(tmp_path / "uploads.json")
    uploads.keep(PLACE, TARGET)
    uploads.keep(PLACE, target)
    assert uploads.find(PLACE) is None
    assert parse_uploads(document(entry(location=target))) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        entry(digest="sha256:../../x"),
        entry(digest=5),
        entry(origin=None),
        entry(repository=["x"]),
        entry(location={"x": 1}),
        {name: value for name, value in entry().items() if name != "repository"},
        [],
        None,
        "x",
    ],
)
def test_a_wrong_entry_is_left_out_and_the_others_count(wrong: object) -> None:
    good = entry(origin=OTHER.origin)
    assert parse_uploads(document(wrong, good)) == {OTHER: TARGET}


@pytest.mark.parametrize("header", [{"version": 2}, {"kind": "Journal"}, {"uploads": {}}, {"uploads": 1}])
def test_another_file_is_none(header: dict[str, object]) -> None:
    assert parse_uploads(document(entry(), **header)) == {}


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    assert parse_uploads(raw) == {}


leaves = st.none() | st.booleans() | st.integers() | st.text()
names = st.sampled_from(["origin", "repository", "digest", "location", "uploads"])


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=5))
def test_any_entries(value: object) -> None:
    parse_uploads(document(value, entry(location=value)))
    parse_uploads(json.dumps(value).encode())


def test_a_file_that_is_too_large_or_no_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    path.write_bytes(document(entry()) + b" " * 4 * MOST * LONGEST)
    assert Uploads(path).find(PLACE) is None
    path.unlink()
    path.mkdir()
    assert Uploads(path).find(PLACE) is None


def test_a_disk_that_takes_nothing_is_no_reason_to_stop(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "gone" / "uploads.json")
    uploads.keep(PLACE, TARGET)
    assert uploads.find(PLACE) == TARGET
    uploads.forget(PLACE)
    uploads.settle()


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "uploads.json"
    uploads = Uploads(path)
    uploads.keep(PLACE, TARGET)
    before = path.stat().st_ino
    uploads.keep(PLACE, TARGET)
    uploads.settle()
    assert path.stat().st_ino == before
