"""A workshop: an inventory directory, an upstream registry, and the command line to work on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli.main import main
from tests.support.images import Artifact
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage

UPSTREAM = "upstream.test"


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    body: dict[str, Any]
    text: str

    @property
    def errors(self) -> str:
        """The errors of the JSON document, as text."""
        return json.dumps(self.body.get("errors", []))


@dataclass
class Workshop:
    """An inventory and its upstream."""

    root: Path
    registry: Registry
    capsys: pytest.CaptureFixture[str]

    def put(self, image: Artifact, repository: str, *tags: str) -> None:
        """Put an image into upstream."""
        image.put(Storage(self.registry.storage), repository, *tags)

    def inventory(self, **fields: Any) -> Path:
        """Write `bundle.yaml`; what is not given is the least there can be."""
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": "shop", "version": "1.0.0"},
            **fields,
        }
        directory = self.root / "inventory"
        directory.mkdir(exist_ok=True)
        (directory / "bundle.yaml").write_text(json.dumps(document))
        return directory

    def run(self, *words: str | Path) -> Answer:
        """Run a command with `--json`."""
        self.capsys.readouterr()
        code = main([*map(str, words), "--json", "--cache-dir", str(self.root / "cache")])
        output = self.capsys.readouterr()
        return Answer(code, json.loads(output.out), output.err)

    def connected(self, command: str, *words: str | Path) -> Answer:
        """Run a command of the connected side on the inventory."""
        registries = self.root / "registries.yaml"
        document = self.registry.registries_yaml(UPSTREAM, plain=True)
        document["mirrors"][UPSTREAM]["default_endpoint"] = False
        registries.write_text(json.dumps(document))
        return self.run(command, self.root / "inventory", "--registries", registries, *words)

    def lock(self, *words: str | Path) -> Answer:
        """Run `lock` without the installer, which has tests of its own."""
        return self.connected("lock", "--no-installer", *words)

    def build(self, output: Path, *words: str | Path) -> Answer:
        """Run `build`."""
        return self.connected("build", "--no-installer", "-o", output, *words)


@pytest.fixture
def workshop(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop with an upstream registry of its own."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with run_registry(tmp_path / "upstream") as registry:
        yield Workshop(tmp_path, registry, capsys)
