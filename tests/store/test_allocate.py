"""Room for a file, asked for before the first byte."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from airbundle.errors import NoSpace
from airbundle.store.allocate import allocate, allocate_around

KIB = 1024


@pytest.mark.parametrize("holes", [[], [(0, 256)], [(256, 256), (768, 128)], [(512, 512)], [(0, 1024)]], ids=str)
def test_all_but_the_holes_has_blocks(holes: list[tuple[int, int]]) -> None:
    """In KiB of a file of 1 MiB, on a file system that preallocates."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        ranges = [(start * KIB, length * KIB) for start, length in holes]
        assert allocate_around(file.fileno(), 1024 * KIB, Path("x"), ranges)
        status = os.fstat(file.fileno())
        assert status.st_size == 1024 * KIB
        assert status.st_blocks * 512 == 1024 * KIB - sum(length for _, length in ranges)


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 100_000)
    with path.open("r+b") as file:
        allocate_around(file.fileno(), 100_000, path, [(4096, 8192)])
        allocate(file.fileno(), 100_000, path)
    assert path.read_bytes() == b"x" * 100_000


def test_a_hole_needs_no_room(small_disk: Path) -> None:
    with (small_disk / "x").open("wb") as file:
        with pytest.raises(NoSpace):
            allocate(file.fileno(), 10_000 * KIB, small_disk / "x")
        file.truncate(0)
        assert allocate_around(file.fileno(), 10_000 * KIB, small_disk / "x", [(100 * KIB, 9_000 * KIB)])
