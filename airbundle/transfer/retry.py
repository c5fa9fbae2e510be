"""When to try again: exponential backoff with full jitter, Retry-After, and a budget of time for each host.

Not a count: 942 images through a proxy that fails once in a hundred requests must arrive. A host's budget begins to
run with its first failure and is full again with its next success; so does an operation's own with each progress.
A host that was given up fails every further operation at once, instead of keeping each of a thousand waiting.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from airbundle.errors import AirbundleError, Interrupted
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Fault

logger = logging.getLogger(__name__)

TELL_AFTER = 10.0
"""Waits of this many seconds and more, in one or in all, are told to the person who watches."""


@dataclass
class HostHealth:
    """What is known of one host. Times are of `time.monotonic()`; None: not failing.

    `told`: that it has been failing for a while was told.
    """

    name: str
    reached: bool = False
    failing_since: float | None = None
    given_up: bool = False
    given_up_at: float = 0.0
    not_before: float = 0.0
    told: bool = False


class Pause:
    """Waiting that ends at once when the client is closed."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait. Raises Interrupted when the client is closed meanwhile."""
        if self._closed.wait(max(0.0, seconds)):
            raise Interrupted

    def close(self) -> None:
        """End all waits."""
        self._closed.set()


class Attempts:
    """The attempts of one operation at one host.

    Args:
        health: of the host; shared by all operations, its fields are only ever set.
        budget: seconds, instead of the settings' own (mirrors); None for those.
        tell: gets one line when a long wait begins.
    """

    def __init__(
        self,
        health: HostHealth,
        settings: HttpSettings,
        pause: Pause,
        *,
        budget: float | None = None,
        tell: Callable[[str], None] = logger.warning,
    ) -> None:
        self._health = health
        self._settings = settings
        self._pause = pause
        self._budget = budget
        self._tell = tell
        self._failing_since: float | None = None
        self._failures = 0

    def begin(self) -> None:
        """Wait as long as the host asked all of us to (Retry-After)."""
        remaining = self._health.not_before - time.monotonic()
        if remaining > 0:
            self._pause.wait(remaining)

    def succeeded(self) -> None:
        """The host answered, or bytes came: budgets are full again."""
        self._health.reached = True
        self._health.failing_since = None
        self._health.given_up = False
        self._health.told = False
        self._failing_since = None
        self._failures = 0

    def failed(self, fault: Fault, final: Callable[[Fault, int], AirbundleError]) -> None:
        """Wait before the next attempt, or raise what `final(fault, attempts made)` gives when there is none."""
        now = time.monotonic()
        health = self._health
        health.reached = health.reached or fault.contact
        if health.failing_since is None:
            health.failing_since = now
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        if not fault.passing or health.given_up:
            raise final(fault, self._failures)
        wait = self._delay(fault)
        left = self._allowed(fault) - wait
        if now - min(self._failing_since, health.failing_since) > left:
            if now - health.failing_since > left:
                health.given_up, health.given_up_at = True, now
            raise final(fault, self._failures)
        logger.info("%s: %s; trying again in %.1f s", health.name, fault.reason, wait)
        if fault.wait is not None:
            health.not_before = max(health.not_before, now + fault.wait)
        failing = now - health.failing_since
        if not health.told and failing >= TELL_AFTER:
            health.told = True
            self._tell(f"{health.name}: {fault.reason}; not giving up for another {max(left - failing, 0):.0f} s")
        elif wait >= TELL_AFTER:
            self._tell(f"{health.name}: {fault.reason}; trying again in {wait:.0f} s")
        self._pause.wait(wait)

    def _allowed(self, fault: Fault) -> float:
        settings = self._settings
        allowed = settings.retry_time if self._health.reached else min(settings.first_contact_time, settings.retry_time)
        if self._budget is not None and not fault.contact:
            allowed = min(allowed, self._budget)
        return allowed

    def _delay(self, fault: Fault) -> float:
        settings = self._settings
        ceiling = min(settings.backoff_limit, settings.backoff_base * 2.0 ** min(self._failures - 1, 32))
        jitter = random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing
        return jitter if fault.wait is None else fault.wait + min(jitter, 1.0)


def parse_retry_after(text: str, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 §10.2.3: a number or a date), or None."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    seconds = (date - (now or datetime.now(timezone.utc))).total_seconds()
    return min(max(0.0, seconds), 1e9)
