"""Work on many things at once, in threads, that ends soon when one fails or someone interrupts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Optional, TypeVar

from airbundle.errors import Interrupted

T = TypeVar("T")

_PATIENCE = 3.0
"""Seconds that threads get to end once it is time to. One that hangs on a dead line dies with the process."""


_MOST_JOBS = 4


def cpu_jobs() -> int:
    """Return how many threads to hash and copy with: one for each processor, and few enough for one disk."""
    return min(_MOST_JOBS, len(os.sched_getaffinity(0)))


class Stop:
    """Tells threads to end. `on_stop` frees those that wait for the network."""

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        self._event = threading.Event()
        self._on_stop = on_stop

    def set(self) -> None:
        """Ask all to end."""
        if not self._event.is_set():
            self._event.set()
            if self._on_stop is not None:
                self._on_stop()

    def check(self) -> None:
        """Raise Interrupted when it is time to end."""
        if self._event.is_set():
            raise Interrupted

    def __bool__(self) -> bool:
        return self._event.is_set()


def for_each(tasks: Iterable[T], work: Callable[[T], None], *, jobs: int, stop: Stop) -> None:
    """Call `work` with each of `tasks`, in their order, `jobs` at a time.

    Args:
        tasks: may be many; they are taken one by one.
        work: called in several threads; when it fails no further task is begun.
        jobs: threads, at least 1.
        stop: set when one fails and when this thread is interrupted.

    Raises:
        The error of the task that failed first.
    """
    source = _Shared(tasks)
    ended: SimpleQueue[Optional[BaseException]] = SimpleQueue()

    def worker() -> None:
        error: BaseException | None = None
        try:
            for task in source:
                if stop:
                    break
                work(task)
        except BaseException as raised:  # noqa: BLE001 - raised again where the threads were begun
            error = raised
        ended.put(error)

    threads = [threading.Thread(target=worker, name="airbundle", daemon=True) for _ in range(max(1, jobs))]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            failure = ended.get()
            if failure is not None:
                raise failure
    except BaseException:
        stop.set()
        end = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        raise


class _Shared(Iterator[T]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)
