"""Where the state lies that a command works on."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from airbundle.cli.site import state_of
from airbundle.installer import program
from airbundle.installer.state import default_path


def _root(directory: Path | None = None) -> Path:
    return state_of(argparse.Namespace(state_dir=None if directory is None else str(directory))).root


@pytest.mark.parametrize(("archive", "own"), [("bin/airbundle.pyz", True), ("bin/x.airbundle", False), ("", False)])
def test_what_an_install_left_behind_knows_its_place(
    archive: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setattr(program, "running_archive", lambda: tmp_path / archive if archive else None)
    assert _root() == (tmp_path if own else default_path())
    assert _root(tmp_path / "other") == tmp_path / "other"


def test_a_program_without_a_state_beside_it_has_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "running_archive", lambda: tmp_path / "bin/airbundle.pyz")
    assert _root() == default_path()
