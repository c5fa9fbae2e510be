from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import airbundle
from airbundle.errors import UsageError, VerificationError
from airbundle.installer import program as program_module
from airbundle.installer.program import check_not_older, files_outside, install_program, running_archive
from airbundle.installer.state import StateDirectory

HELLO = "import sys\nprint('hello', *sys.argv[1:])\n"


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        pass
    return state


def make_zip(path: Path, text: str = HELLO, before: bytes = b"") -> Path:
    """Write a zip application; `before` stands for the tar of a bundle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", text)
        archive.writestr("more.txt", "x" * 5000)
    path.write_bytes(before + buffer.getvalue())
    return path


def output(command: list[str | Path]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout


@pytest.mark.parametrize("before", [b"", os.urandom(300_000)], ids=["a zip alone", "a zip after a tar"])
def test_the_zip_is_installed_alone(state: StateDirectory, tmp_path: Path, before: bytes) -> None:
    archive = make_zip(tmp_path / "x.airbundle", before=before)
    made = install_program(state, archive)
    assert made.changed
    target = state.path("bin", "airbundle.pyz")
    assert target.read_bytes() == archive.read_bytes()[len(before) :]
    assert made.command == (sys.executable, str(target))
    assert output([*made.command, "a b"]) == "hello a b\n"
    assert output([state.path("bin", "airbundle"), "a b"]) == "hello a b\n"
    assert sorted(path.name for path in target.parent.iterdir()) == ["airbundle", "airbundle.pyz"]


def test_the_same_program_is_not_written_again(state: StateDirectory, tmp_path: Path) -> None:
    first = install_program(state, make_zip(tmp_path / "x.pyz"))
    inode = state.path("bin", "airbundle.pyz").stat().st_ino
    again = install_program(state, make_zip(tmp_path / "y.pyz"))
    assert (again.changed, again.digest) == (False, first.digest)
    assert state.path("bin", "airbundle.pyz").stat().st_ino == inode
    other = install_program(state, make_zip(tmp_path / "z.pyz", HELLO + "#"))
    assert other.changed and other.digest != first.digest


def test_a_package_is_used_where_it_is(state: StateDirectory) -> None:
    made = install_program(state)
    assert running_archive() is None and not made.changed
    text = output(["env", "-i", str(state.path("bin", "airbundle")), "--version"])
    assert text == f"airbundle {airbundle.__version__}\n"
    assert files_outside(state) == []


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes(state: StateDirectory, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        install_program(state, make_zip(tmp_path / "x.pyz"))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path("bin").iterdir()}
    assert modes == {"airbundle": 0o755, "airbundle.pyz": 0o644}


def test_what_is_no_zip_any_more(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "x.pyz").write_bytes(b"gone")
    with pytest.raises(VerificationError, match="holds no zip application"):
        install_program(state, tmp_path / "x.pyz")


def test_the_link_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "usr/local/bin/airbundle"
    link.parent.mkdir(parents=True)
    monkeypatch.setattr(program_module, "LINK", link)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        install_program(state)
        assert not link.exists()  # --state-dir was given
        state.is_default = True
        assert link in files_outside(state)
        install_program(state)
        install_program(state)
        assert link.readlink() == state.path("bin", "airbundle") and link in files_outside(state)
        link.unlink()
        link.write_text("somebody else's")
        install_program(state)
        assert link.read_text() == "somebody else's" and link not in files_outside(state)


def test_an_older_program_refuses_newer_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airbundle, "__version__", "1.4.0")
    for fine in ("", "0.9", "1.4.0", "1.4.0rc1", "1.3.99"):
        check_not_older(fine)
    with pytest.raises(UsageError, match=r"airbundle 1\.10\.0 manages this site"):
        check_not_older("1.10.0")
