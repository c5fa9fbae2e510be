"""Programs that run beside a test: started with a log file, awaited by what they say, ended for certain."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

START_LIMIT = 60.0
"""Seconds that a server may take to start on a busy machine. Not a performance bar."""


class NotStarted(RuntimeError):
    """A program ended, or never said that it is ready; carries the end of its log."""


def program(name: str, package: str) -> str:
    """Return the path of a system program. A test never skips for want of one.

    Raises:
        NotStarted: it is missing; says which Debian package has it.
    """
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise NotStarted(f"{name} is missing: run scripts/test, or apt-get install {package}")
    return path


def free_port() -> int:
    """Return a loopback port that is free now, for programs that can't choose one and tell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A program under way.

    Attributes:
        pid: its process id.
        log: its standard output and error.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path, begin: int) -> None:
        self._process = process
        self._begin = begin
        self.pid = process.pid
        self.log = log

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended: its exit code, or minus the signal; None while it runs."""
        return self._process.poll()

    def text(self) -> str:
        """Return what it has printed; an earlier one's lines in the same log are left out."""
        return self.log.read_bytes()[self._begin :].decode(errors="replace")

    def wait_for(self, ready: Callable[[], T | None], *, what: str, limit: float = START_LIMIT) -> T:
        """Call `ready` until it returns something else than None, and return that.

        Raises:
            NotStarted: the program ended, or `limit` seconds went by.
        """
        end = time.monotonic() + limit
        while True:
            found = ready()
            if found is not None:
                return found
            if not self.alive:
                raise NotStarted(f"{what}: ended with {self._process.returncode}\n{self.text()[-4000:]}")
            if time.monotonic() > end:
                raise NotStarted(f"{what}: not ready after {limit:.0f} s\n{self.text()[-4000:]}")
            time.sleep(0.01)

    def wait_for_line(self, pattern: str, *, what: str) -> re.Match[str]:
        """Wait until the log matches `pattern` and return the match."""
        return self.wait_for(lambda: re.search(pattern, self.text(), re.MULTILINE), what=what)

    def stop(self, limit: float = 15.0) -> None:
        """Ask it to end; after `limit` seconds, make it."""
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: str = "KILL",
    errors: int = subprocess.STDOUT,
) -> Running:
    """Start `command`, its output appended to `log`; it gets `death_signal` from the kernel when this process dies.

    `errors` is a descriptor for its standard error, which goes to the log with the rest by default.
    """
    guarded = [program("setpriv", "util-linux"), "--pdeathsig", death_signal, "--", *map(str, command)]
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(guarded, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=env, cwd=cwd)
    return Running(process, log, begin)


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    errors: int = subprocess.STDOUT,
) -> Iterator[Running]:
    """Run `command` for the length of a `with` block."""
    server = start(command, log, env=env, cwd=cwd, errors=errors)
    try:
        yield server
    finally:
        server.stop()
