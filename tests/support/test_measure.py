"""The measures measure."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.measure import run_measured, watch_disk

MIB = 1024 * 1024


def test_memory_and_output() -> None:
    small = run_measured([sys.executable, "-c", "print('x' * 200000); import time; time.sleep(0.1)"])
    inner = "b = b'1' * (64 << 20); import time; time.sleep(0.2)"
    big = run_measured(
        [
            sys.executable,
            "-c",
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}]); sys.exit(3)",
        ]
    )
    assert (small.code, len(small.stdout)) == (0, 200001)
    assert big.code == 3
    assert 60 * MIB < big.peak_memory - small.peak_memory < 100 * MIB


def test_disk_peak_of_what_is_gone_again(tmp_path: Path) -> None:
    program = "import os, sys, time; f = open(sys.argv[1], 'wb'); f.write(b'1' * (8 << 20)); f.flush(); time.sleep(0.3)"
    with watch_disk(tmp_path) as seen:
        run_measured([sys.executable, "-c", f"{program}; os.unlink(sys.argv[1])", str(tmp_path / "x")])
    assert 8 * MIB <= seen.peak < 9 * MIB
