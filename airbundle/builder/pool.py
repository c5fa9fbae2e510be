"""Threads that end soon when the person at the terminal has had enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from airbundle.errors import AirbundleError, Finding, Interrupted


def raise_joined(failures: Sequence[BaseException]) -> None:
    """Raise the first of what threads ended with, if anything; the others become findings of it."""
    if not failures:
        return
    first = failures[0]
    if isinstance(first, AirbundleError):
        first.findings = (*first.findings, *(Finding(str(error)) for error in failures[1:]))
    raise first


@contextmanager
def worker_pool(count: int, name: str, abort: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; leaving the context waits for them.

    Args:
        count: how many at most.
        name: of the threads.
        abort: called when the block is interrupted (Ctrl-C, SIGTERM): ends what the threads wait for.
    """
    with ThreadPoolExecutor(max(count, 1), name) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, Interrupted):
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun never does
            abort()
            raise
