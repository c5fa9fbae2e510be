from __future__ import annotations

import stat
from pathlib import Path

import pytest

from airbundle.errors import SiteError, UsageError, VerificationError
from airbundle.installer.ca import SiteCa
from airbundle.installer.ca_external import ExternalCertificates
from airbundle.installer.ca_files import CaState
from tests.crypto.corporation import Corporation
from tests.crypto.tools import openssl_verify, pem_blocks

PERMITTED = ["messenger.internal", "10.0.0.0/8"]
NAMES = ["registry.messenger.internal", "10.1.2.3"]


@pytest.fixture(scope="module")
def corporation(tmp_path_factory: pytest.TempPathFactory) -> Corporation:
    return Corporation(tmp_path_factory.mktemp("corporation"))


@pytest.fixture
def ca(tmp_path: Path) -> SiteCa:
    return SiteCa(tmp_path / "ca", trust_file=tmp_path / "certs" / "ca.crt")


def test_a_site_ca_below_the_corporations(ca: SiteCa, corporation: Corporation, tmp_path: Path) -> None:
    external = ExternalCertificates(ca)
    request = external.request_ca("site CA", PERMITTED)
    assert not ca.exists
    assert stat.S_IMODE((tmp_path / "ca/pending.key").stat().st_mode) == 0o600
    done = external.accept(corporation.sign(request.read_bytes()) + corporation.above)
    assert done.label == "" and done.info.subject == "CN=site CA,O=airbundle"
    assert ca.state == CaState("external", 1)
    assert not list((tmp_path / "ca").glob("pending*"))
    assert ca.trust_pem == corporation.root
    served = ca.server_certificate(NAMES)
    assert openssl_verify(tmp_path, served.certificate.read_bytes(), corporation.root, name=NAMES[0]) == "OK"
    for action in (ca.renew, ca.rotate):
        with pytest.raises(UsageError, match=r"alone can renew|has a successor"):
            action()


def test_a_passphrase_of_the_operators(corporation: Corporation, tmp_path: Path) -> None:
    ca = SiteCa(tmp_path / "ca", passphrase=lambda: b"mine")
    external = ExternalCertificates(ca, passphrase=lambda: b"mine")
    request = external.request_ca("site CA", PERMITTED, passphrase=b"mine")
    external.accept(corporation.sign(request.read_bytes()) + corporation.above)
    assert not list((tmp_path / "ca").glob("*.passphrase"))
    assert ca.server_certificate(NAMES).renewed


def test_asking_again_keeps_the_key(ca: SiteCa, corporation: Corporation) -> None:
    external = ExternalCertificates(ca)
    first = external.request_ca("site CA", PERMITTED).read_bytes()
    second = external.request_ca("site CA", [*PERMITTED, "other.internal"]).read_bytes()
    assert first != second
    external.accept(corporation.sign(first) + corporation.above)
    assert ca.exists


def test_server_certificates_one_by_one(ca: SiteCa, corporation: Corporation, tmp_path: Path) -> None:
    external = ExternalCertificates(ca)
    registry = external.request_server(NAMES)
    charts = external.request_server(["charts.messenger.internal"])
    assert registry.name == "registry.messenger.internal.csr"
    for request in (charts, registry):
        done = external.accept(corporation.sign(request.read_bytes()) + corporation.above)
        assert done.label == request.name[:-4] and not request.exists()
    assert ca.state == CaState("external")
    assert ca.trust_pem == corporation.root and ca.info() is None
    served = ca.server_certificate(NAMES)
    assert not served.renewed and len(pem_blocks(served.certificate.read_bytes())) == 2
    assert openssl_verify(tmp_path, served.certificate.read_bytes(), ca.trust_pem, name=NAMES[0]) == "OK"
    with pytest.raises(SiteError, match="issued elsewhere"):
        ca.server_certificate(["new.messenger.internal"])
    # A renewal: the same key, a new certificate.
    key = served.key.read_bytes()
    external.accept(corporation.sign(external.request_server(NAMES).read_bytes(), days=19) + corporation.above)
    assert ca.server_certificate(NAMES).info.days_left() >= 18 and served.key.read_bytes() == key


def test_answers_that_fit_no_request(ca: SiteCa, corporation: Corporation, tmp_path: Path) -> None:
    external = ExternalCertificates(ca)
    request = external.request_server(NAMES)
    elsewhere = ExternalCertificates(SiteCa(tmp_path / "elsewhere")).request_server(NAMES)
    with pytest.raises(UsageError, match="is for no key of this site"):
        external.accept(corporation.sign(elsewhere.read_bytes()) + corporation.above)
    with pytest.raises(VerificationError, match="its issuer is missing"):
        external.accept(corporation.sign(request.read_bytes()))
    (tmp_path / "ca/servers/damaged.csr").write_bytes(b"junk")
    external.accept(corporation.sign(request.read_bytes()) + corporation.above)


def test_a_site_with_its_own_ca_takes_no_single_certificates(ca: SiteCa, corporation: Corporation) -> None:
    ca.create("site CA", PERMITTED)
    external = ExternalCertificates(ca)
    request = external.request_server(NAMES)
    with pytest.raises(UsageError, match="has a CA of mode site"):
        external.accept(corporation.sign(request.read_bytes()) + corporation.above)


def test_from_the_sites_own_to_the_corporations(ca: SiteCa, corporation: Corporation, tmp_path: Path) -> None:
    ca.create("site CA", PERMITTED)
    old = ca.trust_pem
    external = ExternalCertificates(ca)
    external.accept(corporation.sign(external.request_ca("new CA", PERMITTED).read_bytes()) + corporation.above)
    assert ca.state == CaState("external", 2, 1)
    assert pem_blocks(ca.trust_pem) == [corporation.root, old]
    served = ca.server_certificate(NAMES)
    assert openssl_verify(tmp_path, served.certificate.read_bytes(), ca.trust_pem, name=NAMES[0]) == "OK"
    ca.finish_rotation()
    assert ca.trust_pem == corporation.root
