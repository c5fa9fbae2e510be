"""installer.process_mark: marks of processes that live, that have ended, and of which nothing can be told."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from airbundle.installer.process_mark import lives, own_mark, started

_TELL = "from airbundle.installer.process_mark import own_mark; print(own_mark(), flush=True); input()"


def test_a_process_lives_until_it_has_ended() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdout is not None
    mark = child.stdout.readline().strip()
    assert (mark.split(".")[0], lives(mark)) == (str(child.pid), True)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert lives(mark) is False, "a zombie has ended"
    child.communicate()
    assert lives(mark) is False


def test_this_process_lives_and_its_mark_is_the_value_of_a_label() -> None:
    assert lives(own_mark()) is True
    assert own_mark() == own_mark()
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", own_mark())


def test_another_process_with_the_same_pid_is_another() -> None:
    pid, start, boot, namespace = own_mark().split(".")
    assert lives(".".join([pid, str(int(start) - 1), boot, namespace])) is False


def test_a_process_of_an_earlier_boot_has_ended_and_one_of_another_namespace_is_not_seen() -> None:
    pid, start, boot, namespace = own_mark().split(".")
    assert lives(".".join([pid, start, "0" * 12, namespace])) is False
    assert lives(".".join([pid, start, boot, str(int(namespace) + 1)])) is None


@pytest.mark.parametrize("mark", ["", "1", "0.1.2.3", "-1.0.000000000000.0", "x.y.z.w"])
def test_of_what_is_no_mark_nothing_is_known(mark: str) -> None:
    assert lives(mark) is None


def test_a_pid_that_cannot_be() -> None:
    _, start, boot, namespace = own_mark().split(".")
    assert lives(".".join(["9999999999", start, boot, namespace])) is False


def test_a_process_of_another_user() -> None:
    mark = own_mark()
    if os.geteuid() != 0:
        _, _, boot, namespace = mark.split(".")
        mark = f"1.{started(1)}.{boot}.{namespace}"
    child = os.fork()
    if not child:
        if os.geteuid() == 0:
            os.setuid(65534)
        os._exit(0 if lives(mark) else 1)
    assert os.waitpid(child, 0)[1] == 0
