from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.errors import Busy
from airbundle.installer import lock

HOLD = """
import sys, time
from pathlib import Path
from airbundle.installer import lock
with lock.exclusive(Path(sys.argv[1]), "airbundle install x"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        held = f"`airbundle install x`, process {holder.pid}, since 20"
        with pytest.raises(Busy, match=held) as caught:
            lock.check_free(path)
        assert caught.value.exit_code == 8
        with pytest.raises(Busy, match=held), lock.exclusive(path, "second"):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with lock.exclusive(path, "third"):  # a killed holder holds nothing
        pass


def test_looking_makes_nothing(tmp_path: Path) -> None:
    lock.check_free(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_has_not_written_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.exclusive(path, "first"):
        path.write_bytes(b"\0 no json")
        with pytest.raises(Busy, match="in use by another run"):
            lock.check_free(path)


def test_it_can_be_taken_again_and_again(tmp_path: Path) -> None:
    for name in ("a longer name for the first", "b"):
        with lock.exclusive(tmp_path / "lock", name):
            assert f'"{name}"' in (tmp_path / "lock").read_text()
