"""`airbundle scan` of what is ours in the inventory: complete, and without a finding that is an error.

With everybody's charts it is run by hand (README.md of the inventory): they are not in this repository.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.messenger.conftest import HOME, SITES


def _ours(tmp_path: Path) -> Path:
    """Return a copy of the inventory without the charts that have to be fetched."""
    copy = tmp_path / "messenger"
    shutil.copytree(HOME, copy)
    body = yaml.safe_load((copy / "bundle.yaml").read_text())
    body["charts"] = [chart for chart in body["charts"] if "path" in chart]
    entries = [entry for entry in (*body["charts"], *body["manifests"]) if "release" in entry]
    kept = {entry["release"]["name"] for entry in entries}
    for entry in entries:
        release = entry["release"]
        release["needs"] = [need for need in release.get("needs", []) if need in kept]
    (copy / "bundle.yaml").write_text(yaml.safe_dump(body))
    for name in SITES:
        path = copy / "sites" / f"{name}.yaml"
        site = yaml.safe_load(path.read_text())
        site["values"] = {release: files for release, files in site["values"].items() if release in kept}
        path.write_text(yaml.safe_dump(site))
    return copy


def test_what_is_ours_is_complete_and_well(tmp_path: Path) -> None:
    copy = _ours(tmp_path)
    command = [sys.executable, "-m", "airbundle", "scan", str(copy), "--offline", "--json"]
    command += [word for name in SITES for word in ("--site", str(copy / "sites" / f"{name}.yaml"))]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    answer = json.loads(done.stdout)
    certain = [image["image"] for image in answer["images"] if image["certainty"] == "certain"]
    assert {"docker.io/coturn/coturn:4.8.0", "docker.io/pgsty/mc:RELEASE.2026-03-13T08-57-32Z"} <= set(certain)
    assert done.returncode == 0, json.dumps(answer, indent=1)
    errors = [finding for finding in answer["findings"] if finding["severity"] == "error"]
    # Synapse's chart makes the volume that is copied.
    assert [finding["message"].partition(" is needed")[0] for finding in errors] == [
        "the PersistentVolumeClaim messenger/ess-synapse-media"
    ]
