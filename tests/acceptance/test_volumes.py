"""A bundle on volumes of 64 MiB: a damaged one is named, and only that one is carried again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import Workshop
from tests.support.process import free_port

VOLUME = 64 * 1024 * 1024


def flip(path: Path, position: int) -> None:
    """Flip one bit."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def test_a_bit_in_volume_3(workshop: Workshop, built: BuiltCorpus, tmp_path: Path) -> None:
    disks = tmp_path / "disks"
    disks.mkdir()
    workshop.do("split", built.path, "--split-size", "64MiB", "-o", disks)
    volumes = sorted(path for path in disks.iterdir() if path.suffix[1:].isdigit())
    assert len(volumes) == -(-built.path.stat().st_size // VOLUME)
    third = volumes[2]
    assert third.name == f"{built.path.name}.003"
    flip(third, VOLUME // 2)

    def on_site(*words: str | Path) -> tuple[int, dict[str, Any]]:
        """Run what the last volume carries."""
        command = [sys.executable, volumes[-1], *words, "--json"]
        done = subprocess.run(list(map(str, command)), env=workshop.env, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, said = on_site("verify", "--key", workshop.public_key)
    assert code == 5
    assert said["errors"][0]["message"].endswith(f"; damaged: {third.name}")
    assert said["errors"][0]["hint"] == "carry this volume again"

    state: list[str | Path] = ["--state-dir", tmp_path / "state", "--yes"]
    install: list[str | Path] = [
        "install",
        "--key",
        workshop.public_key,
        *state,
        "--listen",
        f"127.0.0.1:{free_port()}",
    ]
    try:
        code, said = on_site(*install)
        assert code == 5
        assert third.name in json.dumps(said)
        flip(third, VOLUME // 2)
        code, said = on_site(*install)
        assert code == 0, said
        assert said["changed"] is True
    finally:
        on_site("uninstall", *state)
    shutil.rmtree(disks)
