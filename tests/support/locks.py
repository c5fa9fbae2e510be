"""Work that is done once per machine, however many test processes want it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.corpus import cache_root


@contextmanager
def once_per_machine(name: str) -> Iterator[None]:
    """Hold a lock that only one process of this machine has at a time; what is cached is made inside it."""
    directory = cache_root()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
