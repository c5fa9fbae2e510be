"""File systems of a few megabytes, to be run full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """Mount an empty tmpfs at `directory`, which is made. Needs root, as all mounts; scripts/test runs as root.

    Args:
        directory: where.
        options: tmpfs(5), such as `size=2m`.
    """
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
