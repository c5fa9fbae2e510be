from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.transfer.links import next_link
from airbundle.transfer.wire import Headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('</v2/x/tags/list?last=b&n=2>; rel="next"', "/v2/x/tags/list?last=b&n=2"),
        ("<https://h/a,b;c>; rel=next", "https://h/a,b;c"),
        ('</p>; rel="prev", </n>; rel="next"', "/n"),
        ('</n>; title="a, b"; rel="last next"', "/n"),
        ('</n>;REL="NEXT"', "/n"),
        ("</n>", None),
        ('</n>; rel="nextish"', None),
        ("/n; rel=next", None),
        ("<a b>; rel=next", None),
        ("", None),
        ("<", None),
    ],
)
def test_next(value: str, expected: str | None) -> None:
    assert next_link(Headers([("Link", value)])) == expected


def test_none() -> None:
    assert next_link(Headers()) is None


def test_several_headers() -> None:
    assert next_link(Headers([("Link", '<a>; rel="first"'), ("Link", '<b>; rel="next"')])) == "b"


@given(st.text(max_size=200))
def test_never_fails(text: str) -> None:
    link = next_link(Headers([("Link", text)]))
    assert link is None or f"<{link}>" in text


def test_quick_on_hostile_input() -> None:
    for text in (";a" * 30_000, " ;  a " * 10_000 + "!", ", <b>" * 10_000, " " * 100_000, ';a="' * 10_000):
        next_link(Headers([("Link", "<a>" + text)]))
