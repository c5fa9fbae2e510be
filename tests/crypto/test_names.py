from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.crypto.names import (
    CLUSTER,
    PRIVATE_NETWORKS,
    NameConstraints,
    first_refused,
    parse_name,
    parse_names,
    permitted_names,
)
from airbundle.errors import UsageError

labels: st.SearchStrategy[str] = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.isdigit()
)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Registry.Messenger.Internal", "registry.messenger.internal"),
        ("registry.internal.", "registry.internal"),
        ("*.x.y", "*.x.y"),
        ("localhost", "localhost"),
        ("10.0.0.1", ipaddress.ip_address("10.0.0.1")),
        ("[::1]", ipaddress.ip_address("::1")),
        ("fd00::5", ipaddress.ip_address("fd00::5")),
    ],
)
def test_names(text: str, parsed: object) -> None:
    assert parse_name(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "*",
        "a.*.b",
        "**.a",
        "a b",
        "1.2.3",
        "300.1.1.1",
        "x" * 64,
        "a." * 130 + "a",
        "a\n",
    ],
)
def test_no_names(text: str) -> None:
    with pytest.raises(UsageError, match=r"no name|neither"):
        parse_name(text)


def test_names_in_other_scripts_are_told_the_way() -> None:
    with pytest.raises(UsageError) as caught:
        parse_name("bücher.example")
    assert "xn--" in caught.value.hint


@given(text=st.text(max_size=40))
def test_any_text_parses_or_is_our_error(text: str) -> None:
    try:
        name = parse_name(text)
    except UsageError:
        return
    assert parse_name(str(name)) == name


def test_each_name_once_and_not_none() -> None:
    assert parse_names(["a.b", "A.B", "10.0.0.1"]) == ("a.b", ipaddress.ip_address("10.0.0.1"))
    with pytest.raises(UsageError, match="found 0 names"):
        parse_names([])
    with pytest.raises(UsageError, match="found 101 names"):
        parse_names([f"n{i}" for i in range(101)])


def test_loopback_is_always_permitted_so_both_kinds_are_closed() -> None:
    only_dns = permitted_names(["messenger.internal"])
    assert only_dns.allows(parse_name("registry.messenger.internal"))
    assert only_dns.allows(parse_name("127.0.0.1"))
    assert not only_dns.allows(parse_name("10.0.0.1"))
    only_networks = permitted_names(["10.0.0.0/8", "fd00::/8"])
    assert only_networks.allows(parse_name("10.9.8.7"))
    assert only_networks.allows(parse_name("fd00::1"))
    assert not only_networks.allows(parse_name("example.org"))
    assert not only_networks.allows(parse_name("2001:db8::1"))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("messenger.internal", True),
        ("a.b.messenger.internal", True),
        ("*.messenger.internal", True),
        ("evilmessenger.internal", False),
        ("internal", False),
        ("*.internal", False),
        ("registry.airbundle.svc", True),
        ("registry.airbundle.svc.cluster.local", True),
        ("messenger.internal.example.org", False),
        ("192.168.3.4", True),
        ("8.8.8.8", False),
    ],
)
def test_what_a_site_permits(name: str, allowed: bool) -> None:
    constraints = permitted_names(["messenger.internal", *CLUSTER, *PRIVATE_NETWORKS])
    assert constraints.allows(parse_name(name)) is allowed


@pytest.mark.parametrize("text", ["*.a.b", ".a.b", "10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0.0/40", "a_b", "[::1]"])
def test_constraints_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        permitted_names([text])


@given(host=hosts, below=hosts, other=hosts)
def test_a_name_permits_itself_and_all_below_and_nothing_else(host: str, below: str, other: str) -> None:
    constraints = NameConstraints(dns=(host,))
    assert constraints.allows(host)
    assert constraints.allows(f"{below}.{host}")
    assert constraints.allows(other) is (other == host or other.endswith("." + host))
    assert not NameConstraints(excluded_dns=(host,)).allows(f"{below}.{host}")


@given(address=st.ip_addresses(), length=st.integers(min_value=1, max_value=32))
def test_networks(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> None:
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    constraints = NameConstraints(networks=(network,))
    assert constraints.allows(address)
    flipped = type(address)(int(address) ^ 1 << (address.max_prefixlen - 1))
    assert not constraints.allows(flipped)
    assert not NameConstraints(excluded_networks=(network,)).allows(address)


def test_a_wildcard_over_an_excluded_name_is_refused() -> None:
    assert not NameConstraints(excluded_dns=("secret.x.y",)).allows("*.x.y")
    assert NameConstraints(dns=(".x.y",)).allows("a.x.y")
    assert not NameConstraints(dns=(".x.y",)).allows("x.y")


def test_every_ca_of_the_chain_has_a_say() -> None:
    upper, lower = permitted_names(["corp.internal"]), permitted_names(["site.corp.internal", "other.org"])
    assert first_refused(["a.site.corp.internal"], [lower, upper]) is None
    assert first_refused(["a.site.corp.internal", "other.org"], [lower, upper]) == ("other.org", upper)
