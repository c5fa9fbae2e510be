"""External mode against a CA that openssl makes and runs, as another organisation's would be."""

from __future__ import annotations

import logging
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from airbundle.crypto.authority import new_server_key
from airbundle.crypto.ca import create_ca, open_ca
from airbundle.crypto.certificate import certificate_info, utc_now
from airbundle.crypto.csr import accept_ca, accept_server, covers, request_ca, request_server
from airbundle.errors import UsageError, VerificationError
from tests.crypto.corporation import Corporation
from tests.crypto.tools import openssl_verify, pem_blocks, unconstrained

PERMITTED = ["messenger.internal", "10.0.0.0/8"]
NAMES = ["registry.messenger.internal", "10.1.2.3"]
FAST_ROUNDS = 10


def secret() -> bytes:
    return b"correct horse"


@pytest.fixture(scope="module")
def corporation(tmp_path_factory: pytest.TempPathFactory) -> Corporation:
    return Corporation(tmp_path_factory.mktemp("corporation"))


@pytest.fixture(scope="module")
def ca_key() -> bytes:
    return create_ca("key only", PERMITTED).seal(secret(), rounds=FAST_ROUNDS)


def test_a_ca_below_the_corporations(corporation: Corporation, ca_key: bytes, tmp_path: Path) -> None:
    csr = request_ca("site CA", PERMITTED, ca_key, secret)
    chain = accept_ca(corporation.sign(csr) + corporation.above, ca_key, secret)
    assert len(pem_blocks(chain)) == 3
    info = certificate_info(chain)
    assert info.is_ca and info.permitted.startswith("messenger.internal") and info.subject == "CN=site CA,O=airbundle"
    authority = open_ca(chain, ca_key, secret)
    issued = authority.issue(NAMES)
    assert len(pem_blocks(issued.chain)) == 3  # all but the root
    assert certificate_info(issued.chain).days_left() <= 10  # never longer than the CAs above
    assert openssl_verify(tmp_path, issued.chain, corporation.root, name=NAMES[0]) == "OK"
    with pytest.raises(UsageError, match="outside"):
        authority.issue(["www.example.org"])


def test_a_server_certificate_of_the_corporations(corporation: Corporation, tmp_path: Path) -> None:
    key = new_server_key()
    signed = corporation.sign(request_server(NAMES, key))
    chain, root = accept_server(signed + corporation.above, key, names=NAMES)
    assert root == corporation.root
    assert len(pem_blocks(chain)) == 2
    assert openssl_verify(tmp_path, chain, root, name=NAMES[0]) == "OK"
    assert openssl_verify(tmp_path, chain, root, address=NAMES[1]) == "OK"


def test_requests_are_as_openssl_wants_them(ca_key: bytes) -> None:
    for csr in (request_ca("site CA", PERMITTED, ca_key, secret), request_server(NAMES, new_server_key())):
        command = ["openssl", "req", "-noout", "-verify", "-text"]
        done = subprocess.run(command, input=csr, capture_output=True, check=True)
        assert b"verify OK" in done.stderr or b"verify OK" in done.stdout
    assert b"DNS:registry.messenger.internal, IP Address:10.1.2.3" in done.stdout


def test_wrong_answers_to_a_ca_request(corporation: Corporation, ca_key: bytes) -> None:
    csr = request_ca("site CA", PERMITTED, ca_key, secret)
    good = corporation.sign(csr)
    leaf = corporation.sign(csr, copy=False, extensions="basicConstraints=CA:FALSE\n")
    no_sign = corporation.sign(csr, copy=False, extensions="basicConstraints=CA:TRUE\nkeyUsage=cRLSign\n")
    mid, root = pem_blocks(corporation.above)
    other = create_ca("other", PERMITTED)
    for chain, complaint in (
        (leaf + corporation.above, "is no CA"),
        (no_sign + corporation.above, "lacks keyCertSign"),
        (good, "issuer CN=Corporate.Issuing is missing"),
        (good + mid, "issuer CN=Corporate.Root is missing"),
        (good + root + mid, "is not signed by CN=Corporate.Root"),
        (other.chain_pem, "is for another key"),
    ):
        with pytest.raises(VerificationError, match=complaint):
            accept_ca(chain, ca_key, secret)
    for moment, complaint in ((timedelta(days=11), "ended at"), (timedelta(days=-11), "begins only at")):
        with pytest.raises(VerificationError, match=complaint):
            accept_ca(good + corporation.above, ca_key, secret, now=utc_now() + moment)
    with pytest.raises(UsageError, match="found 0 certificates"):
        accept_ca(b"DER, perhaps", ca_key, secret)


def test_a_ca_without_constraints_is_taken_with_a_warning(
    corporation: Corporation, ca_key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    csr = request_ca("site CA", PERMITTED, ca_key, secret)
    wide = corporation.sign(csr, copy=False, extensions="basicConstraints=CA:TRUE\nkeyUsage=keyCertSign\n")
    with caplog.at_level(logging.WARNING):
        accept_ca(wide + corporation.above, ca_key, secret)
    assert "no name constraints" in caplog.text


def test_wrong_answers_to_a_server_request(corporation: Corporation, ca_key: bytes) -> None:
    key = new_server_key()
    csr = request_server(NAMES, key)
    good = corporation.sign(csr)
    nameless = corporation.sign(csr, copy=False, extensions="basicConstraints=CA:FALSE\n")
    ca = corporation.sign(request_ca("site CA", PERMITTED, ca_key, secret))
    for chain, wanted_key, complaint in (
        (ca + corporation.above, key, "is a CA, expected a server's"),
        (good + corporation.above, new_server_key(), "for another key"),
        (nameless + corporation.above, key, "lacks registry.messenger.internal, 10.1.2.3; it is for no name"),
        (good, key, "its issuer is missing"),
    ):
        with pytest.raises(VerificationError, match=complaint):
            accept_server(chain, wanted_key, names=NAMES)


def test_a_server_certificate_outside_of_its_cas_constraints(corporation: Corporation, ca_key: bytes) -> None:
    key = new_server_key()
    site = accept_ca(
        corporation.sign(request_ca("site CA", PERMITTED, ca_key, secret)) + corporation.above, ca_key, secret
    )
    issued = unconstrained(open_ca(site, ca_key, secret)).issue(["www.example.org"], key=key)
    with pytest.raises(VerificationError, match=r"www\.example\.org, but its CA may only issue for messenger"):
        accept_server(issued.chain + corporation.root, key)


@pytest.mark.parametrize(
    ("have", "name", "good"),
    [
        (["*.a.b"], "x.a.b", True),
        (["*.a.b"], "x.y.a.b", False),
        (["*.a.b"], "a.b", False),
        (["*.a.b"], "*.a.b", True),
        (["x_y.weird", "a.b"], "A.B", True),
        (["10.0.0.1"], "10.0.0.1", True),
        (["fd00:0::1"], "fd00::1", True),
        ([], "a.b", False),
    ],
)
def test_covers(have: list[str], name: str, good: bool) -> None:
    assert covers(have, name) is good
