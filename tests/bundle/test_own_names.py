"""Names of a bundle's own: how they are declared, carried, and told by a site."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.lock import Lock, parse_lock
from airbundle.bundle.own_names import OwnName, declared, names_at, own_name_findings, samples
from airbundle.bundle.site import Site, parse_site
from airbundle.errors import DocumentError
from tests.bundle.documents import DIGEST, minimal, to_yaml

REPLICAS = OwnName("replicas", 2, required=False, description="pods of each web server")
TURN = OwnName("turn_address", "192.0.2.7", required=True, description="address of the TURN server")
RATIO = OwnName("ratio", 0.5, required=False)
TLS = OwnName("tls", True, required=False)
OWN = (REPLICAS, TURN, RATIO, TLS)


def _read(site: dict[str, Any]) -> tuple[OwnName, ...]:
    return parse_inventory(minimal(site=site)).site


def _site(**names: Any) -> Site:
    body = {"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": "berlin"}, "names": names}
    return parse_site(to_yaml(body))


def _findings(**names: Any) -> list[str]:
    return sorted(str(finding) for finding in own_name_findings(_site(**names), OWN))


def test_what_is_declared_comes_back() -> None:
    assert set(_read(declared(OWN))) == set(OWN)


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"domain": {"default": "x"}}, "site.domain is known to every bundle"),
        ({"storageClass": {"default": "x"}}, "site.storageClass is known to every bundle"),
        ({"a.b": {"default": "x"}}, "expected a name: a letter"),
        ({"a": {}}, "takes exactly one of default, example; found none of them"),
        ({"a": {"default": 1, "example": 2}}, "found default and example"),
        ({"a": {"default": None}}, "found nothing; expected text of one line"),
        ({"a": {"default": [1]}}, "found a list"),
        ({"a": {"default": "one\ntwo"}}, "expected text of one line"),
        ({"a": {"default": "bell\a"}}, "expected text of one line"),
        ({"a": {"default": "line\u2028two"}}, "expected text of one line"),
        ({"a": {"default": float("nan")}}, "a number, true or false"),
        ({"a": {"default": "x" * 5000}}, "expected text of one line"),
        ({"a": {"default": 1, "description": "one\ntwo"}}, "expected text of one line"),
        ({"a": {"default": 1, "descripton": "x"}}, "did you mean 'description'?"),
        ({"a": 1}, "expected a mapping with the fields default, example, description"),
    ],
)
def test_declarations_that_cannot_be_meant_are_refused(site: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError) as refused:
        _read(site)
    found = "\n".join(map(str, refused.value.findings))
    assert words in found
    assert "bundle.yaml:" in found


def test_a_declaration_counts_for_the_lock_and_its_absence_does_not() -> None:
    plain, with_names = parse_inventory(minimal()), parse_inventory(minimal(site=declared(OWN)))
    assert plain.digest({}) == parse_inventory(minimal(site={})).digest({})
    assert plain.digest({}) != with_names.digest({})
    other = declared([OwnName("replicas", 3, required=False)])
    assert parse_inventory(minimal(site=other)).digest({}) != with_names.digest({})


def test_the_lock_carries_the_declaration() -> None:
    lock = Lock("m", "1", DIGEST, 5, "1970-01-01T00:00:05Z", "", (), site=OWN)
    assert set(parse_lock(lock.to_bytes()).site) == set(OWN)
    assert parse_lock(lock.to_bytes()).to_bytes() == lock.to_bytes()
    assert b'"site"' not in Lock("m", "1", DIGEST, 5, "", "", ()).to_bytes()


@pytest.mark.parametrize("body", [{}, {"default": 1, "example": 1}, {"default": "a\nb"}, {"default": []}, 5, None])
def test_a_lock_with_a_malformed_declaration_is_refused(body: object) -> None:
    raw = Lock("m", "1", DIGEST, 5, "", "", (), site=(REPLICAS,)).to_json()
    raw["site"]["replicas"] = body
    with pytest.raises(DocumentError) as refused:
        parse_lock(to_json(raw))
    assert "site.replicas" in str(refused.value.findings[0])


def to_json(body: object) -> bytes:
    import json

    return json.dumps(body).encode()


def test_a_scan_fills_in_defaults_and_examples_and_never_over_what_every_bundle_knows() -> None:
    names = samples(OWN)
    assert (names["replicas"], names["turn_address"], names["domain"]) == (2, "192.0.2.7", "site.internal")


def test_names_at_a_site() -> None:
    names = names_at(_site(replicas=3, turn_address="10.0.0.1"), OWN)
    assert (names["replicas"], names["turn_address"], names["ratio"], names["tls"]) == (3, "10.0.0.1", 0.5, True)
    assert "turn_address" not in names_at(_site(), OWN)
    assert names_at(Site("x", names={"name": "y", "stray": "z"}), OWN)["name"] == "x"
    assert "stray" not in names_at(Site("x", names={"stray": "z"}), OWN)


def test_a_site_that_says_what_is_asked_for_is_fine() -> None:
    assert _findings(replicas=3, turn_address="10.0.0.1", ratio=1, tls=False) == []


def test_all_that_a_site_says_wrongly_is_told_at_once() -> None:
    assert _findings(replcas=3, replicas="three", ratio=True, tls="yes") == [
        "site.yaml names.ratio: wrong value of 'ratio'; found true or false, 'true'; expected a number, such as 0.5",
        "site.yaml names.replcas: the bundle asks for no name 'replcas' (did you mean 'replicas'?)",
        "site.yaml names.replicas: wrong value of 'replicas': pods of each web server; found text, 'three'; "
        "expected a whole number, such as 2",
        "site.yaml names.tls: wrong value of 'tls'; found text, 'yes'; expected true or false, such as true",
        "site.yaml names.turn_address: the site file does not say 'turn_address': address of the TURN server; "
        "expected text, such as 192.0.2.7",
    ]


@pytest.mark.parametrize(
    "names", [{"domain": "x"}, {"a": "x\ny"}, {"a": ["x"]}, {"a": None}, {"a b": 1}, {"a": "\x9b"}]
)
def test_a_site_file_with_names_that_nobody_could_have(names: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        _site(**names)


def test_a_check_may_ask_for_names_of_the_bundles_own() -> None:
    checks = [{"tcp": "{{ site.turn_address }}:5349"}]
    manifests = [{"path": "m.yaml", "release": {"name": "base", "checks": checks}}]
    (release,) = parse_inventory(minimal(site=declared(OWN), manifests=manifests)).releases
    assert release.checks[0].tcp == "{{ site.turn_address }}:5349"
    with pytest.raises(DocumentError) as refused:
        parse_inventory(minimal(manifests=manifests))
    assert "is no name of the site" in str(refused.value.findings[0])
