"""Zones in Corefiles: put in, taken out byte for byte, and served by the real CoreDNS as RFC 4592 has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.site import SiteDns
from airbundle.deploy.corefile import server_blocks, with_zones, without_zones
from airbundle.deploy.corefile_text import blocks_of, root_of
from airbundle.deploy.zone import Zone, hosts_file, zone_file, zones_of
from airbundle.errors import SiteError, UsageError
from airbundle.transfer.dns import AAAA, NXDOMAIN, A, ask_dns
from tests.support.coredns import run_coredns
from tests.support.process import free_port, program, running

KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready # "not a quotation {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    reload
}
"""
BARE = (
    '# ours\n(log) {\n    log\n}\n.:53 {\n    import log\n    template ANY ANY x. {\n        rcode "NXDOMAIN"\n    }\n}'
)
RECORDS = {
    "registry": ("10.0.0.5",),
    "both": ("10.0.0.6", "fd00::6"),
    "www": ("both.shop.internal",),
    "*.apps": ("10.0.0.7",),
    "mail.apps": ("fd00::8",),
    "a.deep.name": ("10.0.0.9", "10.0.0.10"),
    "*.alias": ("www.shop.internal",),
    "@": ("10.0.0.1",),
}
SITE = SiteDns("shop.internal", RECORDS, ("10.9.9.9",))
ZONES = zones_of(SITE, "registry.other.internal", ("10.0.0.4",))
QUESTIONS = {
    "registry": "registry",
    "REGISTRY": "registry",
    "both": "both",
    "www": "both",
    "x.apps": "*.apps",
    "x.y.apps": "*.apps",
    "mail.apps": "mail.apps",
    "x.mail.apps": "",
    "apps": None,
    "deep.name": None,
    "name": None,
    "b.deep.name": "",
    "nothing": "",
    "x.alias": "both",
    "xregistry": "",
}


@pytest.mark.parametrize("corefile", [KUBEADM, BARE, KUBEADM.replace("\n", "\r\n")], ids=["kubeadm", "bare", "crlf"])
def test_in_and_out_again(corefile: str) -> None:
    changed = with_zones(corefile, "berlin-1", ZONES, SITE.forward)
    assert with_zones(changed, "berlin-1", ZONES, SITE.forward) == changed
    assert changed.count("shop.internal:53 {") == 1
    assert changed.count("forward . 10.9.9.9") == 1
    root, _ = root_of(blocks_of(changed))
    assert [each.words for each in root.directives if each.words[0] == "forward"] == [("forward", ".", "10.9.9.9")]
    assert without_zones(changed, "berlin-1") == corefile
    assert without_zones(changed, "other") == changed
    assert with_zones(changed, "berlin-1", (), ()) == corefile


words = st.text(st.sampled_from('ab.:{}"#\\ \t\n\r\x0b\u2028'), max_size=40)


@given(words, st.booleans(), st.sampled_from([(), ("10.0.0.2", "fd00::2")]))
def test_whatever_it_is_it_comes_out_as_it_went_in(text: str, before: bool, forward: tuple[str, ...]) -> None:
    corefile = f"{text}\n.:53 {{\n  errors\n}}" if before else f".:53 {{\n  forward . 9.9.9.9\n}}\n{text}"
    try:
        changed = with_zones(corefile, "site", ZONES, forward)
    except SiteError:
        return
    assert without_zones(changed, "site") == corefile
    with_zones(changed, "site", ZONES, forward)


@given(st.text(st.sampled_from('ab.:{}"#\\ \n'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for block in blocks_of(text):
            assert text[block.close :].lstrip().startswith("}")
    except SiteError:
        pass


def test_two_sites_in_one_cluster() -> None:
    first = with_zones(KUBEADM, "one", (Zone("a.internal"),))
    both = with_zones(first, "two", (Zone("b.internal"),))
    assert without_zones(both, "one") == with_zones(KUBEADM, "two", (Zone("b.internal"),))


@pytest.mark.parametrize(
    ("corefile", "zone", "said"),
    [
        (KUBEADM, "local", "hide the cluster's own names"),
        (KUBEADM, "cluster.local", "hide the cluster's own names"),
        (KUBEADM + "dns://Shop.internal.:53 {\n}\n", "shop.internal", "not airbundle's"),
        (KUBEADM.replace("cache 30", "forward . 10.0.0.3"), "shop.internal", "forwards all names twice"),
        (KUBEADM + "# airbundle begin site zones\n", "shop.internal", "expected one each"),
        ("a:53 {\n}\n", "shop.internal", "no block serves"),
        (".:53 {\n", "shop.internal", "not closed"),
        ("#" * (1 << 20) + "#", "shop.internal", "more than"),
    ],
)
def test_what_is_refused(corefile: str, zone: str, said: str) -> None:
    with pytest.raises(SiteError, match=said) as caught:
        with_zones(corefile, "site", (Zone(zone),), ("10.0.0.2",))
    assert caught.value.outcome == "unchanged"


def test_records_that_cannot_be() -> None:
    for records in ({"a": ("b.c", "10.0.0.1")}, {"a b": ("10.0.0.1",)}, {"@": ("b.c",)}, {"a": ('x"',)}):
        with pytest.raises(UsageError):
            zones_of(SiteDns("shop.internal", records))


def test_the_registry_is_always_known() -> None:
    inside = zones_of(SiteDns("shop.internal", {"registry": ("10.0.0.99",)}), "registry.shop.internal", ("10.0.0.5",))
    assert inside == (Zone("shop.internal", {"registry.shop.internal": ("10.0.0.99",)}),)
    assert zones_of(SiteDns(), "registry.shop.internal", ("10.0.0.5",))[0].name == "registry.shop.internal"
    assert zones_of(SiteDns(), "", ()) == ()


def expected(zone: Zone, name: str, version: int) -> tuple[str, ...]:
    return tuple(sorted(zone.addresses(name, version=version)))


def check_answers(zone: Zone, port: int) -> None:
    """Ask a server for names of all sorts."""
    for asked, record in QUESTIONS.items():
        name = f"{asked}.{zone.name}"
        for kind, version in ((A, 4), (AAAA, 6)):
            answer = ask_dns("127.0.0.1", name, kind, port=port)
            assert answer.addresses == expected(zone, name.lower(), version), name
            assert answer.code == (NXDOMAIN if record == "" else 0), name
        if record:
            assert zone.addresses(name.lower()) == zone.addresses(f"{record}.{zone.name}")


def test_coredns_answers(tmp_path: Path) -> None:
    plain = KUBEADM.replace(":9153", "127.0.0.1:0")
    local = "\n".join(line for line in plain.splitlines() if "ready" not in line) + "\n"
    start, end = local.index("    health"), local.index("    prometheus")
    corefile = with_zones(local[:start] + local[end:], "berlin-1", ZONES, SITE.forward)
    with run_coredns(corefile, tmp_path) as port:
        check_answers(ZONES[0], port)
        assert ask_dns("127.0.0.1", "shop.internal", port=port).addresses == ("10.0.0.1",)
        assert ask_dns("127.0.0.1", "registry.other.internal", port=port).addresses == ("10.0.0.4",)
        assert ask_dns("127.0.0.1", "x.registry.other.internal", port=port).code == NXDOMAIN


def test_coredns_takes_the_form_of_k3s(tmp_path: Path) -> None:
    (tmp_path / "custom").mkdir()
    with run_coredns(f".:53 {{\n    errors\n}}\n{server_blocks(ZONES)}", tmp_path) as port:
        check_answers(ZONES[0], port)


def test_a_zone_file_says_the_same_to_bind(tmp_path: Path) -> None:
    (tmp_path / "zone").write_text(zone_file(ZONES[0], 7))
    port = free_port()
    (tmp_path / "named.conf").write_text(
        f'options {{ directory "{tmp_path}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; '
        "pid-file none; session-keyfile none; recursion no; dnssec-validation no; }; controls { };\n"
        'zone "shop.internal" { type primary; file "zone"; };\n'
    )
    command: list[str | Path] = [program("named", "bind9"), "-g", "-c", tmp_path / "named.conf", "-n", "1"]
    with running(command, tmp_path / "named.log") as server:
        server.wait_for_line(" running$", what="named")
        check_answers(ZONES[0], port)


def test_a_hosts_file_says_the_same_but_for_wildcards(tmp_path: Path) -> None:
    text = hosts_file(ZONES)
    (tmp_path / "hosts").write_text(text)
    with run_coredns(".:53 {\n    hosts hosts\n}\n", tmp_path) as port:
        assert ask_dns("127.0.0.1", "registry.other.internal", port=port).addresses == ("10.0.0.4",)
        assert ask_dns("127.0.0.1", "www.shop.internal", AAAA, port=port).addresses == ("fd00::6",)
    assert "# *.apps.shop.internal: a hosts file has no wildcards" in text.splitlines()
