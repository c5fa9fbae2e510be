from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import UsageError
from airbundle.transfer.proxies import Proxies
from airbundle.transfer.wire import Url

PROXY = {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://plain:8080"}


def proxied(url: str, no_proxy: str) -> bool:
    return Proxies.from_environment({**PROXY, "NO_PROXY": no_proxy}).of(Url.parse(url)) is not None


def test_schemes_and_precedence() -> None:
    proxies = Proxies.from_environment({**PROXY, "https_proxy": "http://lower:1"})
    https, http = proxies.of(Url.parse("https://h/")), proxies.of(Url.parse("http://h/"))
    assert https is not None
    assert https.url.host == "lower:1"
    assert http is not None
    assert http.url.host == "plain:8080"


def test_all_proxy_and_none() -> None:
    both = Proxies.from_environment({"ALL_PROXY": "proxy:3128"})
    assert both.of(Url.parse("https://h/")) == both.of(Url.parse("http://h/")) is not None
    assert Proxies.from_environment({"HTTPS_PROXY": " "}).of(Url.parse("https://h/")) is None


def test_credentials_are_parted_and_hidden() -> None:
    proxy = Proxies.from_environment({"HTTPS_PROXY": "http://us%40er:p%3Ass@proxy:3128"}).https
    assert proxy is not None
    assert (proxy.username, proxy.password) == ("us@er", "p:ss")
    assert "p:ss" not in repr(proxy)


@pytest.mark.parametrize("text", ["socks5://h:1", "http://", "http://u:topsecret@", "ftp://u:topsecret@h"])
def test_bad_proxies(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Proxies.from_environment({"HTTPS_PROXY": text})
    assert "topsecret" not in str(caught.value)
    assert "HTTPS_PROXY" in caught.value.problem


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("https://h.example.com/", "example.com", False),
        ("https://example.com/", "example.com", False),
        ("https://badexample.com/", "example.com", True),
        ("https://example.com/", ".example.com", True),
        ("https://a.example.com/", ".example.com", False),
        ("https://a.example.com/", "*.example.com", False),
        ("https://a.EXAMPLE.com/", "Example.com", False),
        ("https://h/", "*", False),
        ("https://h:5000/", "h:5000", False),
        ("https://h:5001/", "h:5000", True),
        ("https://h/", "h:443", False),
        ("https://10.1.2.3/", "10.0.0.0/8", False),
        ("https://11.1.2.3/", "10.0.0.0/8", True),
        ("https://10.1.2.3:5000/", "10.1.2.3", False),
        ("https://10.1.2.3:5000/", "10.1.2.3:5000", False),
        ("https://10.1.2.3:5001/", "10.1.2.3:5000", True),
        ("https://[fd00::1]/", "fd00::/8", False),
        ("https://[fd00::1]:5000/", "[fd00::1]:5000", False),
        ("https://h/", "x, y ,h", False),
        ("https://h/", "x y h", False),
        ("https://h/", "", True),
        ("https://h/", ",,", True),
        ("https://h/", "10.0.0.0/99", True),
        ("https://localhost:1/", "", False),
        ("https://127.9.9.9/", "", False),
        ("https://[::1]/", "", False),
    ],
)
def test_no_proxy(url: str, no_proxy: str, expected: bool) -> None:
    assert proxied(url, no_proxy) is expected


@given(st.text(max_size=80))
def test_no_proxy_never_fails(text: str) -> None:
    Proxies.from_environment({**PROXY, "NO_PROXY": text}).of(Url.parse("https://h.example:5000/"))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_networks(address: ipaddress.IPv4Address, bits: int) -> None:
    network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    assert not proxied(f"https://{address}/", str(network))
    host = ipaddress.ip_address("8.8.8.8")
    assert proxied(f"https://{host}/", str(network)) is (host not in network)


LABEL = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(st.lists(LABEL, min_size=2, max_size=4), st.data())
def test_a_domain_covers_its_subdomains(labels: list[str], data: st.DataObject) -> None:
    host = ".".join(labels)
    suffix = ".".join(labels[data.draw(st.integers(0, len(labels) - 1)) :])
    assert not proxied(f"https://{host}/", suffix)
    assert proxied(f"https://x{suffix}/", suffix)
