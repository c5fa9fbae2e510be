from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli.main import main
from tests.installer.bundles import Key, make_key


@pytest.fixture
def keys(tmp_path: Path) -> list[Key]:
    return [make_key(tmp_path, name) for name in ("one", "two")]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code = main(["trust", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_nobody_is_trusted_at_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, body = run(capsys, "show", "--state-dir", tmp_path / "state")
    assert (code, body["keys"]) == (0, [])
    assert not (tmp_path / "state").exists()


def test_keys_are_added_and_removed(tmp_path: Path, keys: list[Key], capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state-dir", str(tmp_path / "state"), "--yes"]
    ids = [key.signer.public_key.key_id for key in keys]
    assert run(capsys, "add", keys[0].public, *state)[1]["keys"] == ids[:1]
    code, body = run(capsys, "add", keys[1].public, "--threshold", "2", *state)
    assert (code, sorted(body["keys"]), body["threshold"]) == (0, sorted(ids), 2)
    code, body = run(capsys, "remove", ids[0], *state)
    assert code == 5 and "can't give 2 signatures" in body["errors"][0]["message"]
    assert run(capsys, "add", keys[1].public, "--threshold", "1", *state)[0] == 0
    assert run(capsys, "remove", ids[0][7:19], *state)[1]["keys"] == [ids[1]]
    assert [entry for entry in (tmp_path / "state/journal.jsonl").read_text().splitlines() if "trust" in entry]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["add"], 2, "no key is named"),
        (["add", "none.pub"], 2, "there is no such file"),
        (["remove"], 2, "name one key"),
        (["remove", "sha256:00"], 2, "names 0 of the 0 keys"),
        (["forget"], 2, "invalid choice"),
        (["show", "release.pub"], 2, "takes no key; found release.pub"),
        (["show", "--threshold", "2"], 2, "goes with `trust add`"),
        (["remove", "sha256:00", "--threshold", "2"], 2, "goes with `trust add`"),
    ],
)
def test_what_is_refused_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    got, body = run(capsys, *arguments, "--state-dir", tmp_path / "state", "--yes")
    assert got == code and words in body["errors"][0]["message"]
    assert not (tmp_path / "state").exists()


def test_a_pipe_in_the_place_of_a_key_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.pub")
    code, body = run(capsys, "add", tmp_path / "pipe.pub", "--state-dir", tmp_path / "state", "--yes")
    assert code == 2 and "pipe.pub is no regular file" in body["errors"][0]["message"]


def test_it_asks(tmp_path: Path, keys: list[Key], capsys: pytest.CaptureFixture[str]) -> None:
    code, body = run(capsys, "add", keys[0].public, "--state-dir", tmp_path / "state")
    assert code == 2 and "add --yes" in body["errors"][0]["hint"]
    assert not (tmp_path / "state").exists()
