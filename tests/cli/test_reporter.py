"""Progress: lines for logs, bars for terminals."""

from __future__ import annotations

import io

import pytest

from airbundle.bundle.sizes import human
from airbundle.cli.reporter import BarReporter, LineReporter, make_reporter

MIB = 1024 * 1024


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_is_one_line_per_event() -> None:
    stream = io.StringIO()
    reporter = make_reporter(stream)
    with reporter.phase("fetch", total=5 * MIB) as phase:
        with phase.item("layer", 3 * MIB) as item:
            item.advance(3 * MIB)
        with phase.item("config", 10) as item:
            item.advance(10)
        phase.skip("other", 2 * MIB, "cached")
    reporter.warn("old")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "fetch: begins, 5.0 MiB"
    assert lines[1] == "fetch: layer 3.0 MiB"
    assert lines[2].startswith("fetch: done in")
    assert lines[2].endswith("3.0 MiB, 2.0 MiB were there")
    assert lines[3] == "warning: old"
    assert "\r" not in stream.getvalue()


def test_a_phase_that_fails_is_not_called_done() -> None:
    stream = io.StringIO()
    try:
        with LineReporter(stream).phase("fetch"):
            raise ValueError
    except ValueError:
        pass
    assert "fetch: stopped" in stream.getvalue()


def test_on_a_terminal_there_are_bars_with_names_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    reporter = make_reporter(stream)
    assert isinstance(reporter, BarReporter)
    with reporter.phase("fetch", total=30 * MIB) as phase:
        for label in ("one", "two", "three", "four", "five", "six"):
            item = phase.item(label, 5 * MIB)
            with item:
                item.advance(5 * MIB)
    reporter.event("hello")
    text = stream.getvalue()
    assert "fetch: 100%" in text
    assert "30.0M/30.0M" in text
    assert "hello" in text
    assert reporter.slots == [False] * len(reporter.slots)


def test_more_items_than_lines_are_counted_all_the_same() -> None:
    reporter = BarReporter(_Terminal())
    with reporter.phase("fetch", total=50 * MIB) as phase:
        items = [phase.item(str(n), 5 * MIB) for n in range(10)]
        for item in items:
            item.advance(5 * MIB)
        for item in items:
            item.__exit__(None, None, None)
    assert reporter.slots == [False] * len(reporter.slots)


def test_human() -> None:
    assert [human(size) for size in (0, 1023, 1024, 1536 * MIB, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "3.0 TiB",
    ]
