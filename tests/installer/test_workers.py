from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from airbundle.errors import Interrupted
from airbundle.installer.workers import Stop, for_each


@pytest.mark.parametrize("jobs", [0, 1, 3, 50])
def test_every_task_is_done_once(jobs: int) -> None:
    done: list[int] = []
    for_each(range(20), done.append, jobs=jobs, stop=Stop())
    assert sorted(done) == list(range(20))


def test_one_at_a_time_keeps_the_order() -> None:
    done: list[int] = []
    for_each(iter([3, 1, 2]), done.append, jobs=1, stop=Stop())
    assert done == [3, 1, 2]


def test_nothing_to_do() -> None:
    for_each([], lambda task: None, jobs=3, stop=Stop())


def test_the_first_error_is_raised_and_no_more_is_begun() -> None:
    begun: list[int] = []
    failed = threading.Event()
    freed: list[bool] = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 0:
            failed.set()
            raise ValueError("first")
        failed.wait()
        stop.check() if stop else None

    stop = Stop(lambda: freed.append(True))
    with pytest.raises(ValueError, match="first"):
        for_each(range(1000), work, jobs=1, stop=stop)
    assert begun == [0] and freed == [True] and stop


def test_those_who_look_are_told_to_end() -> None:
    stop = Stop()
    stop.check()
    stop.set()
    with pytest.raises(Interrupted):
        stop.check()


HANGS = """
import signal, sys, threading
from airbundle.errors import Interrupted
from airbundle.installer import workers
workers._PATIENCE = 0.1

def ended(number, frame):
    raise Interrupted

signal.signal(signal.SIGTERM, ended)

def work(task):
    print("hangs", flush=True)
    threading.Event().wait()

try:
    workers.for_each([1], work, jobs=1, stop=workers.Stop())
except Interrupted:
    sys.exit(7)
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"hangs\n"
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode == 7
