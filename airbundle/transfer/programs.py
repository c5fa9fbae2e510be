"""Other programs, run with bounds: time, output, and nothing of ours on their command line that is secret."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from airbundle.errors import AirbundleError, HostError

_NOBODY = "http://127.0.0.1:9"  # the discard port
NO_WAY_OUT: Mapping[str, str] = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOBODY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
}
"""Environment of a program that is to fetch nothing: behind a proxy that nobody is, that fails at once."""
_CHUNK = 64 * 1024
_COMPLAINT_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Done:
    """A program that ended: its exit code (negative: a signal), standard output, and the end of standard error."""

    code: int
    output: bytes = field(repr=False)
    complaint: str = ""

    @property
    def ending(self) -> str:
        """How it ended, in words: for programs that say nothing themselves, as when the system kills them."""
        try:
            return f"ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit code {self.code}"
        except ValueError:  # a signal without a name
            return f"ended by signal {-self.code}"


class TooLong(AirbundleError):
    """A program took more time, or said more, than it may. A subclass only for those who retry."""

    exit_code = 4


def run_program(
    command: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str],
    timeout: float,
    output_limit: int,
    stdin: bytes = b"",
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Done:
    """Run a program to its end.

    Args:
        command: the program and its arguments.
        what: thing and operation, for errors.
        env: its whole environment.
        timeout: seconds; then it is killed.
        output_limit: the most bytes it may write to standard output.
        stdin: what it reads; then its input ends.
        cwd: where it runs.
        pass_fds: descriptors that it holds as long as it lives, such as a lock's.

    Raises:
        TooLong: it took too long, or wrote too much.
        HostError: it can't be started.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaints:
        given.write(stdin)
        given.seek(0)
        try:
            process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=dict(env),
                cwd=cwd,
                pass_fds=tuple(pass_fds),
            )
        except OSError as error:
            raise HostError(f"{what}: {command[0]} can't be started: {error.strerror}") from None
        except ValueError as error:  # a NUL in its arguments, a `=` in the name of a variable
            raise HostError(f"{what}: {command[0]} can't be started: {error}") from None
        try:
            output, left = _read(process, output_limit, timeout)
            code = process.wait(left)
        except subprocess.TimeoutExpired:
            raise TooLong(
                f"{what}: {Path(command[0]).name} did not end within {timeout:.0f} s and was stopped"
            ) from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if output is None:
            raise TooLong(f"{what}: {Path(command[0]).name} wrote more than the {output_limit} bytes allowed")
        return Done(code, output, _end_of(complaints))


def _read(process: subprocess.Popen[bytes], limit: int, timeout: float) -> tuple[bytes | None, float]:
    """Return what a program writes, None when that is too much, and the seconds that are left; end when none is.

    What it has started may hold its output for longer than it lives, so that its end is not waited for.
    """
    output = bytearray()
    if process.stdout is None:
        return b"", timeout
    end = time.monotonic() + timeout
    poll = select.poll()
    with process.stdout as stream:
        poll.register(stream, select.POLLIN)
        while poll.poll(max(0.0, end - time.monotonic()) * 1000):
            data = os.read(stream.fileno(), _CHUNK)
            if not data:
                return bytes(output), max(0.0, end - time.monotonic())
            output += data
            if len(output) > limit:
                process.kill()
                return None, timeout
    raise subprocess.TimeoutExpired(process.args, timeout)


def _end_of(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _COMPLAINT_LIMIT))
    return file.read().decode("utf-8", "replace")
