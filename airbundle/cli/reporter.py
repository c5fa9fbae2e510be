"""Progress for people: tqdm bars on a terminal, one plain line per event otherwise."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Protocol, TextIO

from airbundle.bundle.sizes import human
from airbundle.cli.console import plain
from airbundle.progress import Item, Phase, Reporter

_SHOWN_ITEMS = 4
_LINE_SECONDS = 10.0
_MIB = 1024 * 1024


class ClosingReporter(Reporter, Protocol):
    """A reporter that holds the terminal until it is closed."""

    def close(self) -> None:
        """Give the terminal back."""


def make_reporter(stream: TextIO) -> ClosingReporter:
    """Return bars when `stream` is a terminal that can move its cursor, else lines."""
    able = stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
    return BarReporter(stream) if able else LineReporter(stream)


class _Context(ABC):
    """What phases and items share: leaving ends them."""

    @abstractmethod
    def _end(self, failed: bool) -> None:
        """End the display."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(kind is not None)


class LineReporter:
    """One line per event, for logs: begin and end of phases, slow progress every ten seconds, warnings."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write one line."""
        with self._lock:
            self._stream.write(plain(text, line=True) + "\n")
            self._stream.flush()

    def phase(self, name: str, *, total: int = 0) -> Phase:
        """Begin a phase."""
        return _LinePhase(self, name, total)

    def event(self, message: str) -> None:
        """Tell one event."""
        self.line(message)

    def warn(self, message: str) -> None:
        """Tell a warning."""
        self.line(f"warning: {message}")

    def close(self) -> None:
        """Nothing is held."""


class _LinePhase(_Context):
    def __init__(self, reporter: LineReporter, name: str, total: int) -> None:
        self._reporter, self._name, self._total = reporter, name, total
        self._lock = threading.Lock()
        self._done = self._skipped = 0
        self._begun = self._told = time.monotonic()
        reporter.line(f"{name}: begins" + (f", {human(total)}" if total else ""))

    def __enter__(self) -> Phase:
        return self

    def item(self, label: str, size: int) -> Item:
        return _LineItem(self, label, size)

    def skip(self, label: str, size: int, reason: str) -> None:  # noqa: ARG002 - a line for each would be too many
        with self._lock:
            self._skipped += size

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told < _LINE_SECONDS:
                return
            self._told = now
        whole = f" of {human(self._total)}" if self._total else ""
        rate = human(self._done / max(now - self._begun, 1e-3))
        self._reporter.line(f"{self._name}: {human(self._done + self._skipped)}{whole}, {rate}/s")

    def finished(self, label: str, size: int) -> None:
        self._reporter.line(f"{self._name}: {label} {human(size)}")

    def _end(self, failed: bool) -> None:
        seconds = time.monotonic() - self._begun
        kept = f", {human(self._skipped)} were there" if self._skipped else ""
        word = "stopped" if failed else "done"
        moved = f", {human(self._done)}" if self._done else ""
        self._reporter.line(f"{self._name}: {word} in {seconds:.1f} s{moved}{kept}")


class _LineItem(_Context):
    def __init__(self, phase: _LinePhase, label: str, size: int) -> None:
        self._phase, self._label, self._size = phase, label, size

    def __enter__(self) -> Item:
        return self

    def advance(self, count: int) -> None:
        self._phase.advance(count)

    def _end(self, failed: bool) -> None:
        if not failed and self._size >= _MIB:
            self._phase.finished(self._label, self._size)


class BarReporter:
    """An overall bar of bytes, rate and remaining time, and a bar for each of the largest items under way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lock = threading.RLock()
        self.slots: list[bool] = [False] * _SHOWN_ITEMS
        self._bars: dict[int, Any] = {}  # by identity: bars at one line are equal to tqdm
        self._used = self._closed = False

    def phase(self, name: str, *, total: int = 0) -> Phase:
        """Begin a phase with a bar of its own."""
        return _BarPhase(self, name, total)

    def event(self, message: str) -> None:
        """Write a line above the bars."""
        from tqdm import tqdm

        with self.lock:
            tqdm.write(plain(message, line=True), file=self._stream)

    def warn(self, message: str) -> None:
        """Write a warning above the bars."""
        self.event(f"warning: {message}")

    def bar(self, label: str, total: int, position: int) -> Any:
        """Return a tqdm bar of bytes at a line below the first; give it to `end`."""
        from tqdm import tqdm

        with self.lock:
            self._used = True
            made = tqdm(
                total=total or None,
                desc=label,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                file=self._stream,
                position=position,
                leave=position == 0,
                dynamic_ncols=True,
                mininterval=0.2,
                disable=self._closed,
            )
            self._bars[id(made)] = made
            return made

    def end(self, bar: Any) -> None:
        """Take a bar away, or leave it at its end when it is the first line's."""
        with self.lock:
            bar.close()
            self._bars.pop(id(bar), None)

    def close(self) -> None:
        """End what is still drawn: threads that were interrupted may hold bars, and draw nothing from now on."""
        with self.lock:
            self._closed = True
            for bar in sorted(self._bars.values(), key=lambda bar: -abs(getattr(bar, "pos", 0))):
                bar.close()
            if self._used:
                # An interruption may have come while a bar was being made, which nobody has then.
                self._stream.write("\r\x1b[K")
                self._stream.flush()


class _BarPhase(_Context):
    def __init__(self, reporter: BarReporter, name: str, total: int) -> None:
        self._reporter = reporter
        self._bar = reporter.bar(name, total, 0)

    def __enter__(self) -> Phase:
        return self

    def item(self, label: str, size: int) -> Item:
        return _BarItem(self._reporter, self, label, size)

    def skip(self, label: str, size: int, reason: str) -> None:  # noqa: ARG002 - the bar only counts
        self.advance(size)

    def advance(self, count: int) -> None:
        with self._reporter.lock:
            self._bar.update(count)

    def _end(self, failed: bool) -> None:  # noqa: ARG002 - a bar that stops short says it
        self._reporter.end(self._bar)


class _BarItem(_Context):
    def __init__(self, reporter: BarReporter, phase: _BarPhase, label: str, size: int) -> None:
        self._reporter, self._phase = reporter, phase
        self._bar = None
        self._slot = -1
        with reporter.lock:
            if size >= 4 * _MIB and False in reporter.slots:
                self._slot = reporter.slots.index(False)
                reporter.slots[self._slot] = True
                self._bar = reporter.bar(f"  {label}", size, self._slot + 1)

    def __enter__(self) -> Item:
        return self

    def advance(self, count: int) -> None:
        with self._reporter.lock:
            if self._bar is not None:
                self._bar.update(count)
        self._phase.advance(count)

    def _end(self, failed: bool) -> None:  # noqa: ARG002 - the phase tells
        with self._reporter.lock:
            if self._bar is not None:
                self._reporter.end(self._bar)
                self._reporter.slots[self._slot] = False
