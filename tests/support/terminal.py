"""A terminal for tests: a program runs on a pseudo-terminal, and what it writes is drawn as a real one would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CONTROL = re.compile(rb"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|[\r\n\x08\x07]")
PATIENCE = 60.0
"""Seconds until a test gives up waiting; no performance bar."""


@dataclass
class Screen:
    """What stands on a terminal: lines, where the cursor is, whether it is shown, whether a line was too long."""

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    visible: bool = True
    overflowed: bool = False
    coloured: bool = False

    def draw(self, data: bytes) -> None:
        """Draw all that was written."""
        position = 0
        for match in _CONTROL.finditer(data):
            self._text(data[position : match.start()].decode("utf-8", "replace"))
            position = match.end()
            self._control(match)
        self._text(data[position:].decode("utf-8", "replace"))

    def _text(self, text: str) -> None:
        if not text:
            return
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)
        self.overflowed = self.overflowed or self.column > self.columns

    def _control(self, match: re.Match[bytes]) -> None:
        if match[0] == b"\r":
            self.column = 0
        elif match[0] == b"\n":
            self._move(1)
        elif match[2] in (b"A", b"B"):
            self._move((-1 if match[2] == b"A" else 1) * int(match[1] or 1))
        elif match[2] == b"K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif match[2] == b"m":
            self.coloured = True
        elif match[2] in (b"h", b"l") and match[1] == b"?25":
            self.visible = match[2] == b"h"

    def _move(self, rows: int) -> None:
        self.row = max(0, self.row + rows)
        while len(self.lines) <= self.row:
            self.lines.append("")

    @property
    def clean(self) -> bool:
        """Whether a shell's prompt would come onto an empty line, below all that is there, with a cursor."""
        return self.visible and self.column == 0 and not any(line.strip() for line in self.lines[self.row :])


class OnTerminal:
    """A program that runs on a terminal of its own, which is its controlling one: a typed Ctrl-C interrupts it."""

    def __init__(
        self, command: Sequence[str | Path], *, columns: int = 80, env: Mapping[str, str] | None = None
    ) -> None:
        self.columns = columns
        self.written = b""
        words = [str(word) for word in command]
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            # The size is there before the program starts.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.execvpe(words[0], words, dict(os.environ if env is None else env))
        self.before = termios.tcgetattr(self._master)

    def wait_for(self, pattern: bytes, *, patience: float = PATIENCE) -> None:
        """Wait until it has written what matches."""
        end = time.monotonic() + patience
        while not re.search(pattern, self.written):
            assert time.monotonic() < end, self.written
            assert self._read(), self.written

    def type(self, text: bytes) -> None:
        """Type at it."""
        os.write(self._master, text)

    def attributes(self) -> list[object]:
        """Return how the terminal is set now; `before` is how it was."""
        return list(termios.tcgetattr(self._master))

    def finish(self, *, patience: float = PATIENCE) -> int:
        """Wait for its end and return its exit code."""
        end = time.monotonic() + patience
        while self._read():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(self.written)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux's word for: nobody has the other end any more
            return False
        self.written += data
        return bool(data)

    @property
    def screen(self) -> Screen:
        """What the terminal shows."""
        screen = Screen(self.columns or 80)
        screen.draw(self.written)
        return screen
