"""Passphrases, questions and tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from airbundle.cli.console import PASSPHRASE_VARIABLE, Console
from airbundle.errors import UsageError


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)


def test_a_file_is_asked_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "from the environment")
    file = tmp_path / "passphrase"
    file.write_bytes(b"from the file\r\nsecond line\n")
    assert Console().passphrase("the key", file=str(file)) == b"from the file"
    assert Console().passphrase("the key") == b"from the environment"


def test_without_any_source_the_three_are_named() -> None:
    with pytest.raises(UsageError) as raised:
        Console().passphrase("the key k")
    assert "the key k" in raised.value.problem
    assert PASSPHRASE_VARIABLE in raised.value.hint
    assert "--passphrase-file" in raised.value.hint


def test_without_a_terminal_nothing_is_asked() -> None:
    console = Console()
    with pytest.raises(UsageError, match="no terminal"):
        console.confirm("Remove all?")
    console.configure(yes=True)
    assert console.confirm("Remove all?")


def test_json_and_quiet_silence_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ({"json": True}, {"quiet": True}):
        console = Console()
        console.configure(**mode)
        console.say("answer")
    assert capsys.readouterr().out == ""


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table([["a", "bb"], ["ccc", "d"]])
    Console().table([])
    assert capsys.readouterr().out == "a    bb\nccc  d\n"
