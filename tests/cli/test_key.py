from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keys import load_public_key, load_signer


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "correct horse")
    return tmp_path


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_generate(here: Path, umask: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(umask)
    try:
        assert main(["key", "generate", "-o", "mine.key", "--json"]) == 0
    finally:
        os.umask(before)
    body = json.loads(capsys.readouterr().out)
    assert (body["private"], body["public"]) == ("mine.key", "mine.pub")
    assert stat.S_IMODE((here / "mine.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((here / "mine.pub").stat().st_mode) == 0o644
    signer = load_signer("mine.key", lambda: b"correct horse")
    assert body["keyId"] == signer.public_key.key_id == load_public_key((here / "mine.pub").read_bytes()).key_id


@pytest.mark.parametrize("present", ["release.key", "release.pub"])
def test_nothing_is_overwritten(here: Path, present: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / present).write_text("precious")
    assert main(["key", "generate"]) == 2
    assert f"{present} is there already" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == [present]
    assert (here / present).read_text() == "precious"


def test_a_name_that_is_the_public_halfs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "generate", "-o", "x.pub"]) == 2
    assert "name of the public half" in capsys.readouterr().err


def test_public_of_both_halves(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["key", "generate", "--quiet"])
    pem = (here / "release.pub").read_text()
    for name in ("release.key", "release.pub"):
        assert main(["key", "public", name]) == 0
        assert capsys.readouterr().out == pem
    assert main(["key", "public", "release.key", "-o", "out.pub"]) == 0
    assert (here / "out.pub").read_text() == pem


def test_passphrase_from_a_file_and_a_wrong_one(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRBUNDLE_KEY_PASSPHRASE")
    (here / "word").write_text("from a file\n")
    assert main(["key", "generate", "--passphrase-file", "word"]) == 0
    assert main(["key", "public", "release.key", "--passphrase-file", "word"]) == 0
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "hunter2")
    capsys.readouterr()
    assert main(["key", "public", "release.key"]) == 2
    error = capsys.readouterr().err
    assert "passphrase does not open the key" in error and "hunter2" not in error


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key"]) == 2
    assert "ACTION" in capsys.readouterr().err
    assert main(["key", "public", "missing"]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["key", "--help"]) == 0
    assert "airbundle key generate" in capsys.readouterr().out
