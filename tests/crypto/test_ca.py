from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbundle.crypto.authority import Authority
from airbundle.crypto.ca import create_ca, open_ca
from airbundle.crypto.certificate import certificate_info, utc_now
from airbundle.errors import UsageError, VerificationError
from tests.crypto.tools import handshake, openssl_text, openssl_verify, pem_blocks, unconstrained
from tests.support import tls
from tests.support.process import program
from tests.support.registries import run_registry

PERMITTED = ["messenger.internal", "svc", "cluster.local", "10.0.0.0/8"]
NAMES = ["registry.messenger.internal", "registry.airbundle.svc", "10.1.2.3"]
FAST_ROUNDS = 10


def secret() -> bytes:
    return b"correct horse"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_ca("messenger.internal CA", PERMITTED)


def test_issued_chain_verifies(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(NAMES)
    for name in ("registry.messenger.internal", "registry.airbundle.svc"):
        assert openssl_verify(tmp_path, issued.chain, authority.root_pem, name=name) == "OK"
        assert handshake(tmp_path, issued, authority.root_pem, name) == "TLSv1.3"
    assert openssl_verify(tmp_path, issued.chain, authority.root_pem, address="10.1.2.3") == "OK"
    assert handshake(tmp_path, issued, authority.root_pem, "10.1.2.3") == "TLSv1.3"
    assert "mismatch" in openssl_verify(tmp_path, issued.chain, authority.root_pem, name="www.messenger.internal")
    assert "verify failed" in handshake(tmp_path, issued, create_ca("another", PERMITTED).root_pem, NAMES[0])


def test_addresses_alone_verify(authority: Authority, tmp_path: Path) -> None:
    # Without a DNS name in the SAN, OpenSSL holds the common name against the DNS constraints.
    issued = authority.issue(["10.1.2.3"])
    assert openssl_verify(tmp_path, issued.chain, authority.root_pem, address="10.1.2.3") == "OK"
    assert handshake(tmp_path, issued, authority.root_pem, "10.1.2.3") == "TLSv1.3"


@pytest.mark.parametrize("name", ["www.example.org", "evilmessenger.internal", "8.8.8.8", "fd00::1"])
def test_names_outside_are_refused_by_us_and_by_openssl(authority: Authority, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is outside of what") as caught:
        authority.issue([NAMES[0], name])
    assert name in caught.value.problem and "messenger.internal" in caught.value.problem
    stolen = unconstrained(authority).issue([name])
    assert "permitted subtree violation" in openssl_verify(tmp_path, stolen.chain, authority.root_pem)
    assert "permitted subtree violation" in handshake(tmp_path, stolen, authority.root_pem, name)


def test_the_certificates_extensions(authority: Authority) -> None:
    text = openssl_text(authority.root_pem)
    assert "X509v3 Name Constraints: critical" in text
    assert "DNS:messenger.internal" in text and "IP:10.0.0.0/255.0.0.0" in text and "IP:127.0.0.0/255.0.0.0" in text
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:1" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign" in text
    assert "ASN1 OID: prime256v1" in text and "ecdsa-with-SHA256" in text
    text = openssl_text(authority.issue(NAMES).chain)
    assert "CA:FALSE" in text and "TLS Web Server Authentication" in text and "Subject: CN = registry.mess" in text


def test_info(authority: Authority) -> None:
    now = utc_now()
    info = certificate_info(authority.issue(NAMES, days=30, now=now).chain)
    assert info.names == tuple(NAMES)
    assert not info.is_ca and info.permitted == ""
    assert info.issuer == authority.info.subject == "CN=messenger.internal CA,O=airbundle"
    assert info.days_left(now) == 30
    assert info.days_left(now + timedelta(days=29, hours=1)) == 0
    assert info.days_left(now + timedelta(days=30, seconds=1)) == -1
    assert 0.95 < info.life_left(now) < 1
    assert authority.info.is_ca
    assert authority.info.permitted.startswith("messenger.internal, svc, cluster.local, localhost, 10.0.0.0/8")


def test_key_is_sealed_and_opens_again(authority: Authority) -> None:
    sealed = authority.seal(secret(), rounds=FAST_ROUNDS)
    assert sealed.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    again = open_ca(authority.chain_pem, sealed, secret)
    assert again.info == authority.info
    with pytest.raises(UsageError, match="passphrase"):
        open_ca(authority.chain_pem, sealed, lambda: b"wrong")
    with pytest.raises(VerificationError, match="for another key"):
        open_ca(create_ca("x", PERMITTED).chain_pem, sealed, secret)
    with pytest.raises(UsageError, match="empty passphrase"):
        authority.seal(b"")
    with pytest.raises(VerificationError, match="is no CA"):
        open_ca(authority.issue(NAMES).chain, sealed, secret)


def test_renewed_server_keeps_names_and_key(authority: Authority, tmp_path: Path) -> None:
    later = utc_now()
    issued = authority.issue(NAMES, days=10, now=later - timedelta(days=9))
    chain = authority.renew(issued.chain, days=10, now=later)
    renewed = type(issued)(chain, issued.key)
    assert certificate_info(chain).names == tuple(NAMES)
    assert certificate_info(chain).days_left(later) == 10
    assert certificate_info(chain).serial != certificate_info(issued.chain).serial
    assert handshake(tmp_path, renewed, authority.root_pem, NAMES[0]) == "TLSv1.3"
    with pytest.raises(UsageError, match="is a CA"):
        authority.renew(authority.root_pem)


def test_given_key_is_kept(authority: Authority) -> None:
    first = authority.issue(NAMES)
    assert authority.issue(["new.messenger.internal"], key=first.key).key == first.key
    with pytest.raises(UsageError, match="unencrypted"):
        authority.issue(NAMES, key=authority.seal(secret(), rounds=FAST_ROUNDS))


def test_renewed_ca_and_old_one_verify_the_same(tmp_path: Path) -> None:
    later = utc_now()
    now = later - timedelta(days=90)
    old = create_ca("site", PERMITTED, days=100, now=now)
    new = old.renew_self(days=100, now=later)
    before, after = old.issue(NAMES, days=100, now=now), new.issue(NAMES, days=50, now=later)
    assert new.info.permitted == old.info.permitted and new.info.subject == old.info.subject
    for chain in (before.chain, after.chain):
        for anchors in (old.root_pem, new.root_pem, old.root_pem + new.root_pem):
            assert openssl_verify(tmp_path, chain, anchors, name=NAMES[0]) == "OK"
    moment = later + timedelta(days=20)  # the old certificate has ended
    assert openssl_verify(tmp_path, after.chain, new.root_pem, name=NAMES[0], at=moment) == "OK"
    assert "expired" in openssl_verify(tmp_path, after.chain, old.root_pem, name=NAMES[0], at=moment)


def test_change_over_verifies_for_old_and_new_clients(tmp_path: Path) -> None:
    old, new = create_ca("site", PERMITTED), create_ca("site 2", PERMITTED)
    crossed = old.cross_sign(new)
    issued = crossed.issue(NAMES)
    assert len(pem_blocks(issued.chain)) == 2
    for anchors in (old.root_pem, new.root_pem, old.root_pem + new.root_pem, new.root_pem + old.root_pem):
        assert openssl_verify(tmp_path, issued.chain, anchors, name=NAMES[0]) == "OK"
        assert handshake(tmp_path, issued, anchors, NAMES[0]) == "TLSv1.3"
    assert "unable to get" in openssl_verify(tmp_path, issued.chain, create_ca("third", PERMITTED).root_pem)
    # After it, only the new one: what was issued in between goes on to verify.
    assert openssl_verify(tmp_path, new.issue(NAMES).chain, new.root_pem, name=NAMES[0]) == "OK"
    with pytest.raises(UsageError, match="may not sign another CA"):
        crossed.cross_sign(create_ca("site 3", PERMITTED))
    with pytest.raises(UsageError, match="who alone can renew it"):
        crossed.renew_self()


def test_a_successors_wider_names_wait_for_the_end_of_the_change_over() -> None:
    old, new = create_ca("site", ["a.internal"]), create_ca("site 2", ["a.internal", "b.internal"])
    with pytest.raises(UsageError, match=r"www\.b\.internal is outside"):
        old.cross_sign(new).issue(["www.b.internal"])
    assert new.issue(["www.b.internal"])


class OurAuthority(tls.Authority):
    """Stands where the tests' own CA stands: serves with `issuer`, and clients trust `anchors`."""

    def __init__(self, directory: Path, issuer: Authority, anchors: bytes, names: list[str]) -> None:
        directory.mkdir()
        self.directory, self.issuer, self.names = directory, issuer, names
        self.ca_file = directory / "ca.crt"
        self.ca_file.write_bytes(anchors)

    def issue(self, *names: str) -> tls.ServerCertificate:
        issued = self.issuer.issue(self.names)
        cert, key = self.directory / "server.crt", self.directory / "server.key"
        cert.write_bytes(issued.chain)
        key.write_bytes(issued.key)
        return tls.ServerCertificate(cert, key)


@pytest.mark.parametrize(("trusted", "answer"), [("old", "404"), ("new", "404"), ("third", "x509")])
def test_go_programs_agree_about_the_change_over(tmp_path: Path, trusted: str, answer: str) -> None:
    """docker-registry serves, skopeo asks: Go's verifier, which most clients of a registry have."""
    old, new = create_ca("site", PERMITTED), create_ca("site 2", PERMITTED)
    every = old.root_pem + new.root_pem
    ours = OurAuthority(tmp_path / "ca", old.cross_sign(new), every, ["127.0.0.1", "localhost"])
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.crt").write_bytes(
        {"old": old, "new": new}.get(trusted, create_ca("third", PERMITTED)).root_pem
    )
    with run_registry(tmp_path / "registry", tls=ours) as registry:
        command = [program("skopeo", "skopeo"), "list-tags", "--cert-dir", str(tmp_path / "certs")]
        done = subprocess.run([*command, f"docker://{registry.host}/none"], capture_output=True, text=True, check=False)
    # The registry answered that it has no such repository: TLS was fine.
    assert answer in done.stderr, done.stderr


def test_a_server_never_outlives_its_ca() -> None:
    now = utc_now()
    short = create_ca("short", PERMITTED, days=10, now=now)
    assert certificate_info(short.issue(NAMES, days=300, now=now).chain).not_after == short.info.not_after
    with pytest.raises(UsageError, match="ended at"):
        short.issue(NAMES, now=now + timedelta(days=11))
    with pytest.raises(VerificationError, match="ended at"):
        open_ca(short.chain_pem, short.seal(secret(), rounds=FAST_ROUNDS), secret, now=now + timedelta(days=11))


@pytest.mark.parametrize("days", [0, -1, 826])
def test_terms_of_servers_are_bounded(authority: Authority, days: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 825"):
        authority.issue(NAMES, days=days)


def test_terms_and_names_of_cas_are_bounded() -> None:
    with pytest.raises(UsageError, match="expected 1 to 7300"):
        create_ca("x", PERMITTED, days=9000)
    for name in ("", "x" * 65, "a\nb"):
        with pytest.raises(UsageError, match="CA name"):
            create_ca(name, PERMITTED)


def test_clocks_that_are_behind_still_accept(authority: Authority, tmp_path: Path) -> None:
    at = datetime.now(timezone.utc) - timedelta(hours=14)
    assert openssl_verify(tmp_path, authority.issue(NAMES).chain, authority.root_pem, at=at) == "OK"


def test_nothing_secret_in_repr(authority: Authority) -> None:
    issued = authority.issue(NAMES)
    assert "PRIVATE" not in repr(issued) + repr(authority)


labels = st.from_regex(r"[a-z](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
candidates = st.one_of(
    st.lists(labels, min_size=1, max_size=3).map(".".join),
    st.lists(labels, max_size=2).map(lambda parts: ".".join([*parts, "messenger.internal"])),
    labels.map(lambda label: f"{label}messenger.internal"),
    st.lists(labels, min_size=1, max_size=2).map(lambda parts: "*." + ".".join([*parts, "svc"])),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=4, network="10.0.0.0/7").map(str),
    st.ip_addresses(v=6).map(str),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(candidates, min_size=1, max_size=3))
def test_our_judgement_of_constraints_is_openssls(authority: Authority, tmp_path: Path, names: list[str]) -> None:
    judged = openssl_verify(tmp_path, unconstrained(authority).issue(names).chain, authority.root_pem)
    try:
        authority.issue(names)
    except UsageError:
        assert "permitted subtree violation" in judged
    else:
        assert judged == "OK"
