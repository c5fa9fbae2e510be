"""skopeo for tests: copies between registries, layouts and archives."""

from __future__ import annotations

import subprocess

from tests.support.process import program


def skopeo(*arguments: str) -> str:
    """Run skopeo without policy and TLS checks, and return its output.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [program("skopeo", "skopeo"), "--insecure-policy", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout
