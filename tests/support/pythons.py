"""The Pythons of this machine: those that airbundle must run on without any installed package, and older ones."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path

NEEDED = (3, 9, 2)


@lru_cache(maxsize=1)
def _found() -> dict[tuple[int, ...], Path]:
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    places += [Path("/usr/bin"), *sorted((Path.home() / ".pyenv" / "versions").glob("*/bin"))]
    found: dict[tuple[int, ...], Path] = {}
    for place in places:
        for minor in range(6, 16):
            path = place / f"python3.{minor}"
            if minor and path.exists() and "shims" not in path.parts:
                version = _version(path)
                if version and version[:2] not in {known[:2] for known in found}:
                    found[version] = path
    return found


def _version(python: Path) -> tuple[int, ...] | None:
    code = "import sys; print(*sys.version_info[:3])"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def pythons() -> list[Path]:
    """Return one Python of each minor version that airbundle supports, oldest first."""
    return [path for version, path in sorted(_found().items()) if NEEDED <= version < (3, 15)]


def old_pythons() -> list[Path]:
    """Return Pythons that are too old."""
    return [path for version, path in sorted(_found().items()) if version < NEEDED]
