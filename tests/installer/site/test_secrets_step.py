"""Sources of values: what can't be had is told at once, and no value is told at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airbundle.bundle.site import SiteSecret
from airbundle.errors import CheckFailed
from airbundle.installer.site.secrets_step import SecretValues

VALUE = "hush-hush"


def secret(source: str) -> SiteSecret:
    return SiteSecret("db", "shop", {"key": source}, where="site.yaml:7 secrets[0]")


def test_values_come_from_their_sources(tmp_path: Path) -> None:
    (tmp_path / "key.bin").write_bytes(b"\x00\xff\n")
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return VALUE

    values = SecretValues(tmp_path, ask, {"DB": VALUE})
    assert values.get(secret("env:DB"), "key") == VALUE.encode()
    for each, expected in [("file:key.bin", b"\x00\xff\n"), (f"file:{tmp_path}/key.bin", b"\x00\xff\n")]:
        assert SecretValues(tmp_path).get(secret(each), "key") == expected
    prompted = SecretValues(tmp_path, ask)
    assert prompted.get(secret("prompt"), "key") == prompted.get(secret("prompt"), "key") == VALUE.encode()
    assert asked == ["key of Secret shop/db"]


def test_a_random_value_is_made_once(tmp_path: Path) -> None:
    values = SecretValues(tmp_path)
    first = values.get(secret("random"), "key")
    assert values.get(secret("random"), "key") == first
    assert SecretValues(tmp_path).get(secret("random"), "key") != first
    assert len(values.get(SiteSecret("other", "shop", {"key": "random:7"}), "key")) == 7


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("env:NOT_THERE", "the environment has no NOT_THERE"),
        ("env:EMPTY", "the environment has no EMPTY"),
        ("file:none.pem", "none.pem"),
        ("file:empty", "empty is empty"),
        ("file:pipe", "pipe: found a pipe, expected a regular file"),
        ("prompt", "nobody can be asked"),
    ],
)
def test_what_cannot_be_had_is_told_with_its_place(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    values = SecretValues(tmp_path, None, {"EMPTY": "", "OTHER": VALUE})
    finding = values.problem(secret(source), "key")
    assert finding is not None
    assert words in finding.message
    assert finding.where == "site.yaml:7 secrets[0] key"
    with pytest.raises(CheckFailed) as failed:
        values.get(secret(source), "key")
    assert VALUE not in str(failed.value) + str(failed.value.findings)


def test_an_empty_answer_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="left empty"):
        SecretValues(tmp_path, lambda _: "").get(secret("prompt"), "key")
