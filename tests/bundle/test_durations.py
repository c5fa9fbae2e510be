from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.durations import check_expires, expires_at, parse_duration, parse_instant
from airbundle.errors import UsageError

CREATED = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 90 * 86400), ("12h", 43200), ("1h30m", 5400), ("2w", 1209600), ("5s", 5)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1 d", "0d", "999999w", "1y", "90D", "٣d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31", "2027-01-31T23:59:59+00:00"),
        ("2027-01-31T10:00:00Z", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31t10:00:00.25z", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31 10:00:00+02:00", "2027-01-31T08:00:00+00:00"),
    ],
)
def test_instants(text: str, moment: str) -> None:
    assert parse_instant(text) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "text", ["2027-02-30", "2027-1-1", "27-01-01", "2027-01-31T10:00:00", "0000-01-01", "tomorrow"]
)
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(UsageError):
        parse_instant(text)


def test_expiry() -> None:
    assert expires_at("90d", CREATED) == CREATED + timedelta(days=90)
    assert expires_at("2027-01-31", CREATED) == datetime(2027, 1, 31, 23, 59, 59, tzinfo=timezone.utc)
    assert expires_at("never", CREATED) is None
    assert expires_at("", CREATED) is None


@given(st.text(st.sampled_from("0123456789wdhms-:TZ+. nevr"), min_size=1, max_size=30))
def test_any_text_is_an_expiry_or_refused(text: str) -> None:
    try:
        check_expires(text)
    except UsageError:
        return
    expires_at(text, CREATED)
