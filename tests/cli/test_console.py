"""Passphrases, questions and tables."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from airbundle.cli.console import PASSPHRASE_VARIABLE, Console
from airbundle.cli.reporter import LineReporter
from airbundle.errors import Finding, UsageError


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
    assert console.prompt() is None
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


def test_names_of_others_do_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "amd64\n\x1b[2Jairbundle: all is well\x9b"
    Console().error(UsageError(f"found {hostile}", hint=hostile, findings=[Finding(hostile)]))
    Console().say(hostile)
    LineReporter(sys.stderr).event(hostile)
    output = capsys.readouterr()
    assert not set(output.err + output.out) & {"\x1b", "\x9b"}
    assert [line for line in output.err.splitlines() if line.startswith("airbundle: all")] == []
    assert "\\x1b[2J" in output.err


def test_text_of_others_does_not_turn_a_line_round(capsys: pytest.CaptureFixture[str]) -> None:
    turning = "\u061c\u200e\u200f\u202a\u202d\u202e\u2066\u2069\u2028\u2029"
    Console().say(f"found {turning} \u05e9\u05dc\u05d5\u05dd")
    Console().error(UsageError(f"found {turning}"))
    output = capsys.readouterr()
    assert not set(output.out + output.err) & set(turning)
    assert "\\u202e" in output.out and "\\u2028" in output.err
    assert "\u05e9\u05dc\u05d5\u05dd" in output.out  # letters that run from the right stay


def test_of_many_findings_alike_the_first_are_told_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lost = [Finding("a blob is gone", where=f"x/app:{number}") for number in range(1000)]
    others = [Finding("the disk is full"), Finding("it is late", severity="warning")]
    Console().error(UsageError("no", findings=[others[0], *lost, others[1]], hint="go home"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["airbundle: no", "  the disk is full", "  x/app:0: a blob is gone"]
    assert lines[21:] == [
        "  x/app:19: a blob is gone",
        "  warning: it is late",
        "  and 980 more: a blob is gone (--json lists all)",
        "  next: go home",
    ]
