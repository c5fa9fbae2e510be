"""A line on which next to nothing moves, though each single read succeeds, counts as dead."""

from __future__ import annotations

import time

from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Fault


class Pace:
    """Watches one body: at least `stall_bytes` in each `stall_timeout`."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._since = time.monotonic()
        self._bytes = 0

    def moved(self, count: int) -> None:
        """Count bytes that came. Raises Fault when they are too few."""
        self._bytes += count
        if self._bytes >= self._settings.stall_bytes:
            self._since, self._bytes = time.monotonic(), 0
        elif time.monotonic() - self._since > self._settings.stall_timeout:
            raise Fault(f"only {self._bytes} bytes came in {self._settings.stall_timeout:g} s")
