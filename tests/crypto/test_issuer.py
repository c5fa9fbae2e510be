"""A CA below the site's: it issues for no more than that one, and is found out when it is not the one given."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airbundle.crypto.authority import Authority
from airbundle.crypto.ca import create_ca, open_ca
from airbundle.crypto.certificate import certificate_info, utc_now
from airbundle.crypto.issuer import issuer_problem, may_have_issuer
from airbundle.crypto.profile import ISSUER_DAYS
from airbundle.errors import UsageError
from tests.crypto.tools import handshake, openssl_text, openssl_verify, pem_blocks, unconstrained

PERMITTED = ["messenger.internal", "svc", "10.0.0.0/8"]
NAME = "chat.messenger.internal"


@pytest.fixture(scope="module")
def site() -> Authority:
    return create_ca("messenger.internal CA", PERMITTED)


def test_what_it_issues_chains_to_the_site_and_keeps_its_constraints(site: Authority, tmp_path: Path) -> None:
    given = site.issue_ca("issuer berlin-1")
    below = open_ca(given.chain, given.key, lambda: b"")
    issued = below.issue([NAME, "10.0.0.7"])
    assert openssl_verify(tmp_path, issued.chain, site.root_pem, name=NAME) == "OK"
    assert handshake(tmp_path, issued, site.root_pem, NAME) == "TLSv1.3"
    with pytest.raises(UsageError, match="is outside of what"):
        below.issue(["example.org"])
    stolen = unconstrained(below).issue(["example.org"])
    assert "permitted subtree violation" in openssl_verify(tmp_path, stolen.chain, site.root_pem)


def test_its_certificate(site: Authority) -> None:
    given = site.issue_ca("issuer berlin-1")
    info = certificate_info(given.chain)
    assert (info.is_ca, info.days_left()) == (True, ISSUER_DAYS)
    assert info.permitted == site.info.permitted
    assert "CN=issuer berlin-1" in info.subject
    text = openssl_text(given.chain)
    assert "pathlen:0" in text
    assert "Name Constraints: critical" in text
    assert pem_blocks(given.chain)[1:] == pem_blocks(site.chain_pem)
    assert given.chain not in repr(given).encode()


def test_it_has_no_room_for_another_and_does_not_outlive_the_site() -> None:
    site = create_ca("short", PERMITTED, days=10)
    given = site.issue_ca("issuer")
    assert certificate_info(given.chain).not_after == site.info.not_after
    below = open_ca(given.chain, given.key, lambda: b"")
    assert (may_have_issuer(site.chain_pem), may_have_issuer(given.chain)) == (True, False)
    with pytest.raises(UsageError, match="path length 0"):
        below.issue_ca("further down")
    with pytest.raises(UsageError, match="expected 1 to"):
        site.issue_ca("issuer", days=0)


def test_a_chain_needs_room_at_every_place(site: Authority) -> None:
    crossed = site.cross_sign(create_ca("next", PERMITTED))
    assert not may_have_issuer(crossed.chain_pem)


def test_the_one_that_was_given_is_known_again(site: Authority) -> None:
    given = site.issue_ca("issuer")
    assert issuer_problem(given.chain, given.key, site.chain_pem) == ""


def test_any_other_is_found_out(site: Authority) -> None:
    given, other = site.issue_ca("issuer"), create_ca("messenger.internal CA", PERMITTED)
    foreign = other.issue_ca("issuer")
    server = site.issue([NAME])
    renewed = site.renew_self(days=20)
    late = datetime.now(timezone.utc) + timedelta(days=ISSUER_DAYS * 2 / 3 + 30)
    for chain, key, above, now, words in [
        (b"", given.key, site, None, "found 0 certificates"),
        (given.chain, b"", site, None, "does not parse as an unencrypted private key"),
        (given.chain, foreign.key, site, None, "is for another key"),
        (foreign.chain, foreign.key, site, None, "was not issued by"),
        (server.chain, server.key, site, None, "was not issued by"),
        (given.chain, given.key, renewed, None, "the certificates above it"),
        (pem_blocks(given.chain)[0], given.key, site, None, "the certificates above it"),
        (given.chain, given.key, site, late, "it ends at"),
    ]:
        assert words in issuer_problem(chain, key, above.chain_pem, now=now or utc_now())
