from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from airbundle.cli.main import main
from tests.support.bundles import make_images, write_bundle
from tests.support.images import Artifact, layer, noise, tiny_image

BASE = layer({"base": noise("base", 30_000)})


def write(path: Path, version: str, images: Mapping[str, Artifact]) -> str:
    return str(write_bundle(path, make_images(images, name="messenger", version=version)).path)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    same, moved = tiny_image("same", shared=[BASE]), tiny_image("redis-7.2", shared=[BASE])
    old = {"quay.io/a/same:1": same, "docker.io/library/redis:7.2": moved, "quay.io/a/gone:1": tiny_image("gone")}
    new = {"quay.io/a/same:1": same, "docker.io/library/redis:7.4": tiny_image("redis-7.4", shared=[BASE])}
    return write(tmp_path / "old.airbundle", "1.3.0", old), write(tmp_path / "new.airbundle", "1.4.0", new)


def test_it_reads_like_a_change_log(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *two]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:5] == ["messenger", "1.3.0", "→", "messenger", "1.4.0:"]
    assert ["~", "image", "docker.io/library/redis:7.4", "was", "7.2"] in lines
    assert ["-", "image", "quay.io/a/gone:1"] in [line[:3] for line in lines]
    assert not any("quay.io/a/same:1" in line for line in lines)


def test_shared_layers_are_not_new(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *two, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [change["change"] for change in body["changes"]] == ["moved", "removed"]
    assert 0 < body["newBytes"] < 10_000


def test_the_exit_code_tells(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", two[0], two[0], "--exit-code"]) == 0
    assert "no differences" in capsys.readouterr().out
    assert main(["diff", *two, "--exit-code", "--json"]) == 3
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert {finding["message"] for finding in error["findings"]} == {"moved", "removed"}
