from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.transfer.wire import BadUrl, Headers, Url


@pytest.mark.parametrize(
    ("text", "host", "target"),
    [
        ("https://quay.io", "quay.io", "/"),
        ("https://Quay.IO:443/v2", "quay.io", "/v2"),
        ("http://h:80/", "h", "/"),
        ("http://h:443/", "h:443", "/"),
        ("https://127.0.0.1:5000/a?b=c%2Fd", "127.0.0.1:5000", "/a?b=c%2Fd"),
        ("https://[::1]:5000/x", "[::1]:5000", "/x"),
        ("https://a.b./x", "a.b.", "/x"),
        ("https://h/a|b", "h", "/a%7Cb"),
    ],
)
def test_parse(text: str, host: str, target: str) -> None:
    url = Url.parse(text)
    assert (url.host, url.target) == (host, target)
    assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "quay.io",
        "//quay.io/x",
        "ftp://h/",
        "file:///etc/passwd",
        "https://",
        "https://user:pass@h/",
        "https://h:99999/",
        "https://h:x/",
        "https://h/a b",
        "https://h/a\r\nX: y",
        "https://h/ä",
        "https://-h/",
        "https://[::1/",
        "https://a..b/",
        f"https://{'a' * 64}.test/",
        "https://h/" + "a" * 20000,
        "",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(BadUrl):
        Url.parse(text)


@given(st.text(max_size=60))
def test_parse_returns_or_refuses(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://host/{text}"):
        try:
            url = Url.parse(candidate)
        except BadUrl:
            continue
        assert "\n" not in str(url)
        assert " " not in str(url)
        assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/v2/x?y=1", "https://h:5/v2/x?y=1"),
        ("z", "https://h:5/a/z"),
        ("https://other/q", "https://other/q"),
        ("//other/q", "https://other/q"),
        ("?n=2", "https://h:5/a/b?n=2"),
        ("/p#fragment", "https://h:5/p"),
    ],
)
def test_join(location: str, result: str) -> None:
    assert str(Url.parse("https://h:5/a/b?c=d").join(location)) == result


def test_join_refuses() -> None:
    for location in ("ftp://x/", "/a b", "https://u@h/", "\nx", "http://"):
        with pytest.raises(BadUrl):
            Url.parse("https://h/").join(location)


def test_with_query() -> None:
    url = Url.parse("https://h/x?_state=a%2Fb=")
    assert (
        str(url.with_query(("digest", "sha256:1"), ("a&", "b c")))
        == "https://h/x?_state=a%2Fb=&digest=sha256%3A1&a%26=b%20c"
    )
    assert str(Url.parse("https://h/x").with_query(("n", "1"))) == "https://h/x?n=1"
    assert url.with_query(("secret", "1")).shown == "https://h/x"


def test_headers() -> None:
    headers = Headers([("Link", "<a>"), ("LINK", "<b>"), ("Content-Length", "12"), ("Age", "-1")])
    assert headers["link"] == "<a>, <b>"
    assert headers.all("Link") == ["<a>", "<b>"]
    assert headers.number("content-length") == 12
    assert headers.number("age") is None
    assert headers.number("none") is None
    assert "LINK" in headers
    assert len(headers) == 3
