from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbundle.cli.main import main
from tests.support.bundles import make_images, write_bundle
from tests.support.images import tiny_image
from tests.support.registries import Registry


def test_publish_and_pull(basic_registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_images({"docker.io/library/redis:7.2": tiny_image("redis")})
    path = write_bundle(tmp_path / "x.airbundle", made).path
    registries = tmp_path / "registries.yaml"
    registries.write_text(json.dumps(basic_registry.registries_yaml()))
    ref = f"{basic_registry.host}/cli/bundles:1"
    assert main(["publish", str(path), ref, "--registries", str(registries), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ref"], told["size"]) == (ref, path.stat().st_size)
    pinned = f"{ref}@{told['digest']}"
    assert main(["pull", pinned, "--registries", str(registries), "-o", str(tmp_path / "o"), "--json", "-q"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["path"]).read_bytes() == path.read_bytes()
    assert main(["pull", ref, "--registries", str(registries), "-o", str(tmp_path / "o"), "-q"]) == 2
    assert main(["pull", f"{ref}2", "--registries", str(registries), "-q"]) == 4


def test_a_bundle_is_published_under_a_tag(tmp_path: Path) -> None:
    assert main(["publish", "x", "a.test/b@sha256:" + "0" * 64]) == 2
    assert main(["publish", "x", "a.test/b"]) == 2
