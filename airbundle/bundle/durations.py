"""Times as people write them: `90d`, `1h30m`, an RFC 3339 date, or `never`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from airbundle.errors import UsageError

DURATION_PATTERN = r"(?:[0-9]{1,6}[wdhms])+"
DATE_PATTERN = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
EXPIRES_PATTERN = rf"never|{DURATION_PATTERN}|{DATE_PATTERN}"
NEVER = "never"

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LONGEST = 100 * 366 * 86_400


def parse_duration(text: str) -> timedelta:
    """Return the duration of `90d`, `12h` or `1h30m`; units are w, d, h, m and s.

    Raises:
        UsageError: it is none, is nothing, or is over a hundred years.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise UsageError(f"{text!r} is no duration", hint="write numbers with w, d, h, m or s, such as 90d or 1h30m")
    parts = re.findall(r"([0-9]+)([wdhms])", text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= _LONGEST:
        raise UsageError(f"{text!r} is no useful duration", hint="it must be more than nothing, at most 100 years")
    return timedelta(seconds=seconds)


def parse_instant(text: str) -> datetime:
    """Return the instant of an RFC 3339 date (its end, UTC) or date and time.

    Raises:
        UsageError: it is neither.
    """
    if not re.fullmatch(DATE_PATTERN, text):
        raise UsageError(f"{text!r} is no date", hint="write it as RFC 3339 does, such as 2027-01-31")
    try:
        if len(text) == len("2027-01-31"):
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
            return day + timedelta(days=1, seconds=-1)
        # datetime.fromisoformat of Python 3.9 knows neither Z nor fractions of any length.
        plain = re.sub(r"\.[0-9]+", "", text.upper().replace(" ", "T").replace("Z", "+00:00"))
        return datetime.fromisoformat(plain).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no date of the calendar") from None


def check_expires(text: str) -> None:
    """Raise UsageError unless `text` is what `expires` may hold."""
    if text == NEVER:
        return
    if text[-1] in _UNITS:
        parse_duration(text)
    else:
        parse_instant(text)


def expires_at(text: str, created: datetime) -> datetime | None:
    """Return when something created at `created` (with a time zone) expires; None for never.

    Raises:
        UsageError: `text` is none of the forms that `expires` may have.
    """
    check_expires(text or NEVER)
    if not text or text == NEVER:
        return None
    return created + parse_duration(text) if text[-1] in _UNITS else parse_instant(text)
