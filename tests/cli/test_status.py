"""`airbundle status`: watching, and what goes with it. What it finds is tested with what it looks at."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.cli.main import main
from airbundle.installer.journal import Journal
from airbundle.installer.state import StateDirectory


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--watch", "--json"], "contradict"),
        (["--watch", "0"], "at least 1"),
        (["--watch", "nan"], "at least 1"),
        (["--patience", "-1"], "at most a day"),
        (["--site", "none"], "no such site"),
        (["--site", "site.yaml"], "--site takes a site's name here, no file"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state-dir", str(tmp_path / "state"), *words]) == 2
    out = capsys.readouterr()
    assert says in out.out + out.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_tells_what_comes_and_goes_until_it_is_stopped(tmp_path: Path, number: int) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        pass
    command = [sys.executable, "-m", "airbundle", "status", "--watch", "1", "--state-dir", str(state.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "nothing is installed" in process.stdout.readline()
        assert "all is well" in process.stdout.readline()
        Journal(state.journal).note("install")
        assert "error: step install: the last install did not come to its end" in process.stdout.readline()
        state.journal.unlink()
        line = process.stdout.readline()
        assert "over: error: step install" in line
        assert "all is well" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == "airbundle: stopped watching\n"
