"""Tests for airbundle.installer.files: a file is written whole or not at all."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from airbundle.installer.files import PRIVATE_FILE, write_file

THREADS = 8


def test_threads_that_write_one_file_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    # As releases that run side by side do, which keep equal values under the same digest.
    together = Barrier(THREADS)

    def write(number: int) -> bool:
        together.wait(30)
        return write_file(tmp_path / f"kept-{number // THREADS}", b"[]", PRIVATE_FILE)

    with ThreadPoolExecutor(THREADS) as pool:
        written = list(pool.map(write, range(THREADS * 25)))
    assert any(written)
    kept = sorted(tmp_path.iterdir())
    assert [path.name for path in kept] == sorted(f"kept-{number}" for number in range(25))
    assert {(path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in kept} == {(b"[]", PRIVATE_FILE)}
