"""`install --phases` and `--handoff`: what can be asked for, and what is told to who asks for something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from airbundle.cli.main import main
from tests.installer.bundles import Key, content, sign_and_write
from tests.support.images import tiny_image

SITE = {
    "apiVersion": "airbundle.dev/v1",
    "kind": "Site",
    "metadata": {"name": "berlin"},
    "domain": "berlin.internal",
}
NOWHERE = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a site file, in which commands run."""
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE))
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(NOWHERE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """Run `install` for what is wrong usage, and return the error that it tells."""
    code = main(["install", "shop.airbundle", "--state-dir", "state", *map(str, words), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 2, document
    assert not Path("state").exists() and not Path("handoff").exists(), "nothing was changed"
    error: dict[str, Any] = document["errors"][0]
    return error


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--handoff", "handoff"], "--handoff goes with --site", ""),
        (["--phases", "registry"], "--phases goes with --site", "--site site.yaml"),
        (["--site", "site.yaml", "--phases", "registry,node"], "found node", "registry, nodes, dns, trust, secrets"),
        (["--site", "site.yaml", "--phases", ","], "found nothing", "registry, nodes"),
        (["--patience", "0"], "--patience goes with --site", "--site site.yaml"),
        (["--site", "site.yaml", "-o", "plan.json"], "--output goes with --dry-run", "add --dry-run"),
        (["--site", "site.yaml", "--plan", "p", "-o", "plan.json"], "--output goes with --dry-run", "add --dry-run"),
        *(
            (["--site", "site.yaml", f"--{option}", ""], f"--{option} is given, and empty", "leave it out")
            for option in ("plan", "handoff", "output", "phases", "kubeconfig", "context", "state-dir")
        ),
        (["--site", "site.yaml", "--handoff", "handoff", "--dry-run"], "--dry-run does not go with --handoff", ""),
        (["--site", "site.yaml", "--handoff", "handoff", "--plan", "p"], "--plan does not go with --handoff", ""),
        (["--site", "site.yaml", "--handoff", "handoff", "-o", "p"], "--output does not go with --handoff", ""),
        (
            ["--site", "site.yaml", "--handoff", "handoff", "--phases", "registry,nodes,secrets"],
            "registry, secrets is the operator's own",
            "nodes, dns, trust, releases",
        ),
    ],
)
def test_what_can_not_be_meant(
    words: Sequence[str], message: str, hint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    error = refused(capsys, *words)
    assert message in error["message"] and hint in error.get("hint", "")


@pytest.fixture
def bundle(here: Path, key: Key) -> Path:
    """A bundle, where `refused` looks for it."""
    return sign_and_write(here / "shop.airbundle", content({"docker.io/library/redis:7.2": tiny_image("redis")}), key)


def test_the_registry_comes_before_the_handoff(bundle: Path, key: Key, capsys: pytest.CaptureFixture[str]) -> None:
    """What nodes get holds the registry's CA; no cluster needs to be asked for that."""
    assert bundle.exists()
    words = ("--key", key.public, "--site", "site.yaml", "--kubeconfig", "kubeconfig", "--patience", "0")
    assert "install" in refused(capsys, *words, "--handoff", "handoff")["hint"]


def test_a_directory_of_others_is_left_alone(
    bundle: Path, here: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "notes").mkdir()
    (here / "notes" / "mine.txt").write_text("mine")
    assert bundle.exists()
    words = ("--key", key.public, "--site", "site.yaml", "--kubeconfig", "kubeconfig", "--patience", "0")
    error = refused(capsys, *words, "--handoff", "notes")
    assert "notes" in error["message"]
    assert [path.name for path in (here / "notes").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("words", [["--to", ""], ["--bundle", ""], ["--context", ""], ["--kubeconfig", ""]])
def test_a_rollback_with_a_variable_that_is_not_set(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["rollback", "--state-dir", "state", *words, "--yes"])
    assert code == 2
    assert f"{words[0]} is given, and empty" in capsys.readouterr().err
