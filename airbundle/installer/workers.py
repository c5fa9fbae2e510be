"""Work on many things at once, in threads, that ends soon when one fails or someone interrupts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from airbundle.errors import Interrupted

T = TypeVar("T")


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

    def worker() -> None:
        for task in source:
            if stop:
                return
            work(task)

    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="airbundle") as pool:
        futures = [pool.submit(worker) for _ in range(max(1, jobs))]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = _failure(done)
        except BaseException:
            stop.set()
            raise
        if failed is not None:
            stop.set()
            raise failed


def _failure(done: Iterable[Future[None]]) -> BaseException | None:
    errors = [error for error in (future.exception() for future in done) if error is not None]
    # What was only told to end says so; the reason for that is another one's error.
    errors.sort(key=lambda error: isinstance(error, Interrupted))
    return errors[0] if errors else None


class _Shared(Iterator[T]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)
