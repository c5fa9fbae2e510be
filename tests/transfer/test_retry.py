from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import AirbundleError, Interrupted, Unreachable
from airbundle.transfer.retry import Attempts, HostHealth, Pause, parse_retry_after
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Fault


class Clock(Pause):
    """A pause that takes no time: it moves the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits: list[float] = []
        monkeypatch.setattr("airbundle.transfer.retry.time.monotonic", lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def final(fault: Fault, tries: int) -> AirbundleError:
    return Unreachable(f"{fault.reason} {tries}")


def exhaust(attempts: Attempts, fault: Fault) -> int:
    """Fail until given up; return how often."""
    for count in range(1, 10_000):
        try:
            attempts.failed(fault, final)
        except Unreachable:
            return count
    raise AssertionError("never given up")


def test_the_budget_is_time(clock: Clock) -> None:
    health = HostHealth("h", reached=True)
    count = exhaust(Attempts(health, HttpSettings(), clock), Fault("503"))
    assert count > 10
    assert sum(clock.waits) <= 180
    assert max(clock.waits) <= 20


def test_a_success_fills_the_budget_again(clock: Clock) -> None:
    attempts = Attempts(HostHealth("h"), HttpSettings(), clock)
    for _ in range(1000):
        attempts.failed(Fault("504"), final)
        attempts.succeeded()
    assert max(clock.waits) <= 0.5


def test_one_bad_thing_at_a_good_host_is_given_up(clock: Clock) -> None:
    health = HostHealth("h")
    bad, good = Attempts(health, HttpSettings(), clock), Attempts(health, HttpSettings(), clock)
    with pytest.raises(Unreachable):
        for _ in range(10_000):
            bad.failed(Fault("500"), final)
            good.succeeded()
    assert sum(clock.waits) <= 180


def test_a_host_that_was_given_up_fails_the_next_at_once(clock: Clock) -> None:
    health = HostHealth("h", reached=True)
    exhaust(Attempts(health, HttpSettings(), clock), Fault("503"))
    clock.now += 1
    assert exhaust(Attempts(health, HttpSettings(), clock), Fault("503")) == 1


def test_first_contact_is_short_and_mirrors_shorter(clock: Clock) -> None:
    exhaust(Attempts(HostHealth("typo"), HttpSettings(), clock), Fault("unknown", contact=False))
    assert sum(clock.waits) <= 15
    clock.waits.clear()
    exhaust(Attempts(HostHealth("m", reached=True), HttpSettings(), clock, budget=3), Fault("refused", contact=False))
    assert sum(clock.waits) <= 3
    clock.waits.clear()
    exhaust(Attempts(HostHealth("m"), HttpSettings(), clock, budget=3), Fault("503"))
    assert sum(clock.waits) > 3


def test_what_cannot_pass_is_not_tried_again(clock: Clock) -> None:
    assert exhaust(Attempts(HostHealth("h"), HttpSettings(), clock), Fault("bad CA", passing=False)) == 1
    assert clock.waits == []


def test_retry_after_holds_for_everybody(clock: Clock) -> None:
    health, told = HostHealth("h"), list[str]()
    one = Attempts(health, HttpSettings(), clock, tell=told.append)
    other = Attempts(health, HttpSettings(), clock)
    one.failed(Fault("answered 429", wait=30.0), final)
    assert 30 <= clock.waits[0] <= 31
    assert "h: answered 429; trying again in 30 s" in told[0]
    clock.now -= 10
    other.begin()
    assert 8 < clock.waits[1] <= 10


def test_many_short_waits_are_told_once_when_they_come_to_a_long_one(clock: Clock) -> None:
    health, told = HostHealth("h", reached=True), list[str]()
    settings = HttpSettings(retry_time=100, backoff_limit=2)
    for _ in range(2):
        one = Attempts(health, settings, clock, tell=told.append)
        with pytest.raises(Unreachable):
            while True:
                one.failed(Fault("connection refused"), final)
        assert len(told) == 1
        assert told[0].startswith("h: connection refused; not giving up for another ")
        assert 70 < float(told.pop().split()[-2]) <= 90
        one.succeeded()


def test_a_wait_longer_than_the_budget_is_not_begun(clock: Clock) -> None:
    assert exhaust(Attempts(HostHealth("h", reached=True), HttpSettings(), clock), Fault("429", wait=3600)) == 1
    assert clock.waits == []


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.01, 100))
def test_jitter_stays_below_its_ceiling(outcomes: list[bool], base: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        settings = HttpSettings(backoff_base=base, retry_time=1e9)
        attempts = Attempts(HostHealth("h", reached=True), settings, clock)
        failures = 0
        for good in outcomes:
            if good:
                attempts.succeeded()
                failures = 0
            else:
                attempts.failed(Fault("x"), final)
                assert 0 <= clock.waits[-1] <= min(settings.backoff_limit, base * 2**failures)
                failures += 1


def test_closing_ends_waits() -> None:
    pause = Pause()
    pause.close()
    with pytest.raises(Interrupted):
        pause.wait(3600)


NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Sat, 21 Nov 2026 12:00:10 -0000", 10.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 30, None),
        ("٣", None),
    ],
)
def test_retry_after(text: str, expected: float | None) -> None:
    assert parse_retry_after(text, NOW) == expected


@given(st.text(max_size=40))
def test_retry_after_never_fails(text: str) -> None:
    seconds = parse_retry_after(text)
    assert seconds is None or 0 <= seconds <= 1e9
