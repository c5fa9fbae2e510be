"""A client that asks the shop every 100 ms, and counts what went wrong."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sealed import Site

_POLLER = """
import os, sys, time, urllib.request
count, wrong = 0, []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
end = time.monotonic() + 1800
while time.monotonic() < end:
    begun = time.monotonic()
    try:
        with opener.open("http://10.203.0.11:30080/", timeout=5) as answer:
            assert answer.status == 200
    except Exception as error:
        wrong.append(f"{time.time():.1f} {error!r}")
    count += 1
    with open(sys.argv[1] + ".new", "w") as stream:
        stream.write(f"{count} {len(wrong)} {wrong[:5]}")
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(max(0.0, 0.1 - (time.monotonic() - begun)))
"""


class Polled:
    """What the client has seen so far."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def count(self) -> int:
        """Return how often it asked; not one answer may be wrong."""
        count, wrong, first = self._file.read_text().split(" ", 2)
        assert int(wrong) == 0, first
        return int(count)


@contextmanager
def polled(site: Site, file: Path) -> Iterator[Polled]:
    """Ask the shop every 100 ms within the block."""
    client = site.start("python3", "-c", _POLLER, file)
    try:
        while not file.exists():
            assert client.poll() is None
            time.sleep(0.1)
        yield Polled(file)
    finally:
        client.send_signal(signal.SIGTERM)
        client.wait(30)
