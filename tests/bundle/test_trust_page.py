"""The page on the CA: what people need stands in it, and nothing from outside is taken for HTML."""

from __future__ import annotations

from datetime import datetime, timezone
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.trust_page import Root, trust_page

ENDS = datetime(2036, 11, 22, tzinfo=timezone.utc)
ROOT = Root("CN=site CA", "ab" * 32, ENDS, "site.test, 10.0.0.0/8")


class Shape(HTMLParser):
    """Notes tags, links and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def shape(page: bytes) -> Shape:
    found = Shape()
    found.feed(page.decode())
    return found


def test_what_people_need() -> None:
    page = shape(trust_page([ROOT], site="berlin-1"))
    for words in ("Trust the CA of berlin-1", ":".join(["AB"] * 32), "2036-11-22", "site.test, 10.0.0.0/8"):
        assert words in page.text
    for system in ("Windows", "macOS", "iPhone", "Android", "Debian", "RHEL", "SUSE", "Firefox", "Chrome", "Java"):
        assert system in page.text
    assert page.links == ["ca.crt"]
    assert "script" not in page.tags


def test_both_cas_of_a_change_over() -> None:
    page = shape(trust_page([ROOT, Root("CN=site CA 2", "cd" * 32, ENDS, "")]))
    assert page.text.count("SHA-256 fingerprint") == 2
    assert "everything" in page.text


@given(st.text(max_size=30), st.text(max_size=30))
def test_names_are_text(subject: str, permitted: str) -> None:
    plain = shape(trust_page([ROOT], site="x"))
    odd = shape(trust_page([Root(subject, "ab" * 32, ENDS, permitted)], site=permitted or "x"))
    assert (odd.tags, odd.links) == (plain.tags, plain.links)
