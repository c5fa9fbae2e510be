"""Ranges and conditions: examples of RFC 9110, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.server.ranges import (
    Span,
    Unsatisfiable,
    http_date,
    not_modified,
    parse_http_date,
    parse_range,
    range_applies,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", Span(0, 500)),
        ("bytes=500-999", Span(500, 500)),
        ("bytes=-500", Span(9500, 500)),
        ("bytes=9500-", Span(9500, 500)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=9999-20000", Span(9999, 1)),
        ("bytes=-20000", Span(0, 10000)),
        ("Bytes=1-1", Span(1, 1)),
        # What may be ignored is ignored: the whole is sent.
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=+1-2", None),
        ("bytes=1 - 2", None),
        ("lines=1-2", None),
        ("bytes=1-2\n", None),
        ("bytes=٣-٤", None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_ranges_of_ten_thousand_bytes(header: str, expected: Span | None) -> None:
    assert parse_range(header, 10000) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10000-", 10000), ("bytes=-0", 5), ("bytes=0-", 0), ("bytes=-5", 0)]
)
def test_ranges_beyond_the_end(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), st.integers(0, 1000))
def test_every_range_lies_within(header: str, size: int) -> None:
    try:
        span = parse_range(header, size)
    except Unsatisfiable:
        return
    if span is not None:
        assert 0 <= span.start < span.start + span.length <= size
        assert span.content_range(size) == f"bytes {span.start}-{span.start + span.length - 1}/{size}"


@given(st.integers(0, 2**33))
def test_dates_are_read_back(seconds: int) -> None:
    assert parse_http_date(http_date(seconds)) == seconds


@given(st.text(max_size=40))
def test_any_date_is_a_number_or_nothing(text: str) -> None:
    assert parse_http_date(text) is None or isinstance(parse_http_date(text), int)


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False), ('"', False)],
)
def test_entity_tags_decide(header: str, expected: bool) -> None:
    # Also against a date that says otherwise.
    assert not_modified(header, http_date(0), etag='"a"', modified=5) is expected


@pytest.mark.parametrize(("since", "expected"), [(4, False), (5, True), (6, True)])
def test_dates_decide_without_tags(since: int, expected: bool) -> None:
    assert not_modified("", http_date(since), etag='"a"', modified=5) is expected
    assert not not_modified("", http_date(since), etag='"a"', modified=None)
    assert not not_modified("", "no date", etag='"a"', modified=5)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", True),
        ('"a"', True),
        ('"b"', False),
        ('W/"a"', False),
        (http_date(5), True),
        (http_date(6), False),
        ("x", False),
    ],
)
def test_if_range(header: str, expected: bool) -> None:
    assert range_applies(header, etag='"a"', modified=5) is expected
