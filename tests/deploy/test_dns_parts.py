"""deploy.dns_parts: the parts of several sites in CoreDNS's ConfigMap come and go by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.bundle.site import SiteDns
from airbundle.deploy.corefile import owners_of, with_owner, with_zones
from airbundle.deploy.dns_parts import custom_key, given_part, other_parts, sites_in, without_part
from airbundle.deploy.zone import zones_of
from airbundle.errors import SiteError

PLAIN = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n}\n"
BERLIN = zones_of(SiteDns("berlin.internal", {"www": ("10.0.0.1",)}), "", ())
OSLO = zones_of(SiteDns("oslo.internal", {"www": ("10.0.0.2",)}), "", ())


def config(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "coredns"}, "data": data}


def test_each_site_takes_out_its_own() -> None:
    both = with_zones(with_zones(PLAIN, "berlin", BERLIN), "oslo", OSLO)
    body = config(Corefile=both, other="stays")
    assert sites_in(body) == {"berlin", "oslo"}
    one = without_part(body, "berlin")
    assert one["data"] == {"Corefile": with_zones(PLAIN, "oslo", OSLO), "other": "stays"}
    assert without_part(one, "oslo")["data"]["Corefile"] == PLAIN


@pytest.mark.parametrize("text", [PLAIN, PLAIN[:-1]])
def test_a_part_that_is_given_is_the_others_byte_for_byte(text: str) -> None:
    ours = with_zones(text, "berlin", BERLIN, ["10.9.9.9"])
    given = given_part(config(Corefile=ours), "berlin", "oslo")
    assert given["data"]["Corefile"] == with_zones(text, "oslo", BERLIN, ["10.9.9.9"])
    assert without_part(given, "oslo")["data"]["Corefile"] == text


def test_in_the_form_of_k3s() -> None:
    body = config(**{custom_key("berlin"): "a", custom_key("oslo"): "b", "mine.server": "c"})
    assert sites_in(body) == {"berlin", "oslo"}
    assert other_parts(body, "oslo") == {custom_key("berlin"): "a"}
    assert other_parts(None, "oslo") == {}
    assert without_part(body, "oslo")["data"] == {custom_key("berlin"): "a", "mine.server": "c"}
    alone = config(**{custom_key("berlin"): "a"})
    assert given_part(alone, "berlin", "oslo")["data"] == {custom_key("oslo"): "a"}


@pytest.mark.parametrize("body", [None, {}, {"data": None}, {"data": {"Corefile": 1, "x": "y"}}])
def test_where_nobody_has_a_part(body: dict[str, Any] | None) -> None:
    assert sites_in(body) == set()
    assert without_part(body or {}, "berlin")["data"] == ((body or {}).get("data") or {})


def test_comments_that_only_look_alike_are_nobodys() -> None:
    text = "# airbundle begin berlin zones and more\n  x # airbundle end oslo zones\n" + PLAIN
    assert owners_of(text) == set()
    assert with_owner(text, "berlin", "oslo") == text


def test_two_sites_do_not_serve_one_zone_or_forward_for_each_other() -> None:
    text = with_zones(PLAIN, "berlin", BERLIN, ["10.9.9.9"])
    with pytest.raises(SiteError, match="forwarders of the site berlin"):
        with_zones(text, "oslo", OSLO, ["10.9.9.8"])
    with pytest.raises(SiteError, match="has a block for berlin"):
        with_zones(text, "oslo", BERLIN)
    assert with_zones(text, "berlin", BERLIN, ["10.9.9.9"]) == text
    assert sites_in(config(Corefile=with_zones(text, "oslo", OSLO))) == {"berlin", "oslo"}
