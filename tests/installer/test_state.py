from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from airbundle.errors import Busy, DocumentError, HostError, UsageError
from airbundle.installer import state as state_module
from airbundle.installer.files import write_file
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory, default_path

FULL = Installed(
    mode="embedded",
    registry="https://registry.x:5443",
    server="https://registry.x:5443",
    program="1.0",
    bundles=(
        InstalledBundle(
            "m", "1.4.0", 7, "sha256:" + "1" * 64, verified=(1, 2, 3, 4), images=3, sparse={"a/b:1": "sha256:…"}
        ),
    ),
)


def test_nothing_is_installed_where_there_is_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "none")
    assert state.read() == Installed()
    state.check_free()
    assert not state.root.exists()


def test_state_survives_a_round(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        state.write(FULL)
    assert state.read() == FULL


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_are_explicit_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        state = StateDirectory(tmp_path / "state")
        with state.locked("test"):
            state.write(FULL)
            for name in state_module.LAYOUT:
                state.directory(name)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state.root, *state.root.iterdir()]}
    assert modes == {
        "state": 0o755,
        "lock": 0o640,
        "state.json": 0o640,
        "certs": 0o755,
        "bin": 0o755,
        "bundles": 0o750,
        "server": 0o750,
        "run": 0o750,
        "log": 0o750,
        "ca": 0o700,
        "sites": 0o700,
    }


def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UsageError, match="holds files that are not airbundle's"):
        StateDirectory(tmp_path).locked("test").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_an_empty_directory_is_begun_by_the_first_run_that_changes_something(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.check_ours()
    assert not state.is_begun
    with state.locked("test"):
        pass
    assert state.is_begun


def test_a_file_at_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    with pytest.raises(UsageError, match="is no directory"):
        StateDirectory(tmp_path / "state").locked("test").__enter__()


def test_two_runs_at_once(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.locked("airbundle install"):
        with pytest.raises(Busy, match="`airbundle install`"):
            StateDirectory(tmp_path / "state").check_free()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        FULL.to_bytes().replace(b'"serial": 7', b'"serial": "7"'),
        FULL.to_bytes().replace(b'"bundles": [', b'"bundles": [3, '),
        FULL.to_bytes().replace(b'"mode": "embedded"', b'"mode": null'),
        FULL.to_bytes().replace(b'"verified": [', b'"verified": [null,'),
    ],
)
def test_a_broken_state_is_told_and_not_repaired(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "state.json").write_bytes(raw)
    with pytest.raises(DocumentError, match=r"state\.json: does not parse"):
        StateDirectory(tmp_path).read()
    assert (tmp_path / "state.json").read_bytes() == raw


def test_an_older_airbundle_refuses_newer_state(tmp_path: Path) -> None:
    body = {**json.loads(FULL.to_bytes()), "version": 2}
    (tmp_path / "state.json").write_text(json.dumps(body))
    with pytest.raises(DocumentError, match="has version 2, expected 1 at most"):
        StateDirectory(tmp_path).read()


def test_fields_of_a_later_minor_version_are_passed_over(tmp_path: Path) -> None:
    body = {**json.loads(FULL.to_bytes()), "later": {"x": 1}}
    (tmp_path / "state.json").write_text(json.dumps(body))
    assert StateDirectory(tmp_path).read() == FULL


def test_the_same_bundle_is_listed_once_and_the_newest_first() -> None:
    newer = InstalledBundle("m", "1.5.0", 8, "sha256:" + "2" * 64)
    both = FULL.with_bundle(newer)
    assert [bundle.version for bundle in both.bundles] == ["1.5.0", "1.4.0"]
    assert [bundle.version for bundle in both.with_bundle(FULL.bundles[0]).bundles] == ["1.4.0", "1.5.0"]


def test_a_bundle_that_goes_back_takes_no_place_of_another() -> None:
    older, newer, tools = (
        InstalledBundle(name, version, 1, f"sha256:{name}{version}")
        for name, version in (("shop", "1.0"), ("shop", "1.1"), ("tools", "9"))
    )
    installed = Installed(mode="embedded", bundles=(tools, newer, older))
    assert installed.with_bundle_back(older).bundles == (tools, older, newer)
    assert installed.with_bundle_back(tools).bundles == (tools, newer, older)


def test_default_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_path() == Path("/var/lib/airbundle")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "airbundle"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_path() == Path("/home/x/.local/state/airbundle")


def test_the_default_place_is_the_default_however_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert StateDirectory().is_default
    assert StateDirectory(Path("/var/lib/airbundle")).is_default
    assert not StateDirectory(tmp_path).is_default


def test_an_equal_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert write_file(path, b"1", 0o600)
    before = path.stat().st_ino
    assert not write_file(path, b"1", 0o640)
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (before, 0o640)
    assert write_file(path, b"12")
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_errors_of_the_host_are_ours(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot write: .*/none/.*: No such file"):
        write_file(tmp_path / "none" / "x", b"1")


def test_an_empty_file_system_that_is_mounted_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    with StateDirectory(tmp_path).locked("test"):
        assert StateDirectory(tmp_path).is_begun
