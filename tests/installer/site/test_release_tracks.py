"""Tests for airbundle.installer.site.release_tracks."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.release_tracks import Track, Tracks
from airbundle.installer.site.rollback_plan import FROM
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory


@pytest.fixture
def tracks(tmp_path: Path) -> Tracks:
    (tmp_path / "state").mkdir()
    return Tracks(SiteState(StateDirectory(tmp_path / "state"), "berlin"), "app")


def test_nothing_is_known_at_first(tracks: Tracks) -> None:
    assert tracks.read() == Track()
    tracks.forget()


def test_objects_of_all_attempts_are_known_until_one_is_well(tracks: Tracks) -> None:
    tracks.begin(["a"], "one", 0)
    tracks.begin(["b"], "two", 1)
    tracks.taken("two", 2)
    assert tracks.read() == Track(frozenset({"a", "b"}), "two", 2, begun=True)
    tracks.settle(["b"])
    assert tracks.read() == Track(frozenset({"b"}), begun=True)


def test_an_attempt_is_known_by_its_inputs_and_its_revision(tracks: Tracks) -> None:
    tracks.begin([], "one", 3)
    # Its end was not seen: helm's next revision is its own.
    assert [number for number in range(6) if tracks.read().took("one", number)] == [4]
    assert not tracks.read().took("two", 4)
    tracks.taken("one", 4)
    assert [number for number in range(6) if tracks.read().took("one", number)] == [4]
    tracks.settle([])
    assert not tracks.read().took("one", 4)


def test_that_a_backup_was_made_and_not_yet_restored_is_known_until_one_is_well(tracks: Tracks) -> None:
    tracks.begin(["a"], "one", 0, saved=True)
    tracks.taken("one", 1)
    tracks.restore()
    assert tracks.read() == Track(frozenset({"a"}), "one", 1, begun=True, saved=True, restoring=True)
    tracks.begin([], "two", 1, saved=True)
    assert tracks.read() == Track(frozenset({"a"}), trying="two", base=1, begun=True, saved=True, restoring=True)
    tracks.settle([])
    assert tracks.read() == Track(begun=True)


def test_data_that_are_yet_to_be_restored_are_for_nothing_older(tracks: Tracks, tmp_path: Path) -> None:
    state = SiteState(StateDirectory(tmp_path / "state"), "berlin")
    assert tracks.read().takes("shop", 1)
    for number, serial in ((1, 10), (2, 20)):
        state.write(Deployment(number, "shop", f"{number}.0.0", serial, f"sha256:{number}", "2026-01-01T00:00:00Z"))
    tracks.restore()  # by the run of the newer one, which failed
    wanted = [(10, False), (20, True), (30, True)]
    assert [(serial, tracks.read().takes("shop", serial)) for serial, _ in wanted] == wanted
    assert not tracks.read().takes("chat", 30)
    back = Deployment(3, "shop", "1.0.0", 10, "sha256:1", "2026-01-01T00:00:00Z", who={FROM: 2})
    state.write(back)
    tracks.restore()  # by a rollback, which says what was up before it
    tracks.begin([], "one", 3)
    assert [(serial, tracks.read().takes("shop", serial)) for serial, _ in wanted] == wanted
    tracks.settle(["a"], restored=False)  # a later version failed, which knows nothing of that
    assert [(serial, tracks.read().takes("shop", serial)) for serial, _ in wanted] == wanted
    assert tracks.read().objects == {"a"}
    tracks.settle([])
    assert tracks.read().takes("shop", 1)
    tracks.settle([], restored=False)
    assert not tracks.read().restoring


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"objects": 1}', b'{"revision": "x"}', b'{"base": 1e999}', b'"text"']
)
def test_a_file_that_is_damaged_is_as_none(tracks: Tracks, tmp_path: Path, raw: bytes) -> None:
    tracks.begin(["a"], "one", 0)
    path = tmp_path / "state/sites/berlin/releases/app.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(raw)
    assert tracks.read() == Track()
