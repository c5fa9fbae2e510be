from __future__ import annotations

import logging
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from airbundle.crypto.ca import create_ca, open_ca
from airbundle.crypto.certificate import certificate_info, load_chain, to_pem, utc_now
from airbundle.errors import DocumentError, SiteError, UsageError, VerificationError
from airbundle.installer.ca import SiteCa, site_permitted
from airbundle.installer.ca_files import CaState
from airbundle.installer.ca_servers import file_stem
from airbundle.installer.files import write_file
from tests.crypto.tools import openssl_verify, pem_blocks

PERMITTED = ["messenger.internal", "10.0.0.0/8"]
NAMES = ["registry.messenger.internal", "10.1.2.3"]
FAST_ROUNDS = 10


def secret() -> bytes:
    return b"correct horse"


@pytest.fixture
def ca(tmp_path: Path) -> SiteCa:
    made = SiteCa(tmp_path / "ca", trust_file=tmp_path / "certs" / "ca.crt")
    made.create("site CA", PERMITTED)
    return made


def verifies(tmp_path: Path, ca: SiteCa, anchors: bytes | None = None) -> str:
    chain = ca.server_certificate(NAMES).certificate.read_bytes()
    return openssl_verify(tmp_path, chain, anchors or ca.trust_pem, name=NAMES[0])


def modes(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): f"{stat.S_IMODE(path.stat().st_mode):o}" for path in directory.rglob("*")}


def age(ca: SiteCa, days_left: int, *, days: int = 90) -> bytes:
    """Put a certificate of `days` in the server's place that has `days_left` left, and return it."""
    here = ca.server_certificate(NAMES)
    issued = ca.open().issue(
        NAMES, days=days, key=here.key.read_bytes(), now=utc_now() - timedelta(days=days - days_left)
    )
    here.certificate.write_bytes(issued.chain)
    return issued.chain


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        ca = SiteCa(tmp_path / "ca", trust_file=tmp_path / "certs" / "ca.crt")
        ca.create("site CA", PERMITTED)
        ca.server_certificate(NAMES)
    finally:
        os.umask(before)
    assert modes(tmp_path) == {
        "ca": "700",
        "ca/ca.json": "600",
        "ca/ca.crt": "644",
        "ca/issuer-1.crt": "644",
        "ca/issuer-1.key": "600",
        "ca/issuer-1.passphrase": "600",
        "ca/servers": "700",
        "ca/servers/registry.messenger.internal.crt": "644",
        "ca/servers/registry.messenger.internal.key": "600",
        "certs": "755",
        "certs/ca.crt": "644",
    }
    assert b"ENCRYPTED" in (tmp_path / "ca/issuer-1.key").read_bytes()


def test_server_certificate_is_made_once(ca: SiteCa, tmp_path: Path) -> None:
    first = ca.server_certificate(NAMES)
    assert first.renewed and first.info.names == tuple(NAMES)
    assert verifies(tmp_path, ca) == "OK"
    again = ca.server_certificate(NAMES)
    assert not again.renewed and again.info == first.info
    assert ca.server_certificate(NAMES[:1]).info == first.info  # fewer names are no reason
    assert [each.info for each in ca.servers()] == [first.info]


def test_renewed_when_a_third_of_its_life_is_left(ca: SiteCa) -> None:
    plenty = age(ca, 40)
    assert not ca.server_certificate(NAMES).renewed
    assert ca.server_certificate(NAMES).certificate.read_bytes() == plenty
    age(ca, 29)
    key = ca.server_certificate(NAMES, label="other").key  # another label is another certificate
    assert key.name == "other.key"
    before = (ca.files.server(NAMES[0], "key")).read_bytes()
    renewed = ca.server_certificate(NAMES)
    assert renewed.renewed and renewed.info.days_left() >= 364
    assert renewed.key.read_bytes() == before


def test_renew_servers_renews_what_is_due(ca: SiteCa) -> None:
    ca.server_certificate(["a.messenger.internal"])
    age(ca, 5)
    done = {each.label: each.renewed for each in ca.renew_servers()}
    assert done == {"a.messenger.internal": False, NAMES[0]: True}
    assert all(each.renewed for each in ca.renew_servers(force=True))
    assert all(each.info.names for each in ca.servers())


def test_a_missing_name_or_key_is_a_reason(ca: SiteCa) -> None:
    first = ca.server_certificate(NAMES[:1])
    wider = ca.server_certificate([*NAMES, "charts.messenger.internal"])
    assert wider.renewed and wider.certificate == first.certificate
    assert wider.info.names == (NAMES[0], "charts.messenger.internal", NAMES[1])
    wider.key.write_bytes(b"damaged")
    assert ca.server_certificate(NAMES).renewed
    wider.key.unlink()
    assert ca.server_certificate(NAMES).renewed
    wider.certificate.write_bytes(b"damaged")
    assert ca.server_certificate(NAMES).renewed


def test_names_outside_are_refused_and_nothing_changes(ca: SiteCa, tmp_path: Path) -> None:
    before = modes(tmp_path)
    with pytest.raises(UsageError, match=r"www\.example\.org is outside"):
        ca.server_certificate(["www.example.org"])
    assert modes(tmp_path) == before


def test_a_second_ca_is_refused(ca: SiteCa) -> None:
    with pytest.raises(UsageError, match="a CA is here already") as caught:
        ca.create("another", PERMITTED)
    assert "rotate" in caught.value.hint


def test_no_ca(tmp_path: Path) -> None:
    ca = SiteCa(tmp_path / "ca")
    assert not ca.exists
    for action in (ca.info, ca.open, ca.renew, ca.rotate, ca.finish_rotation, lambda: ca.trust_pem):
        with pytest.raises(UsageError, match="no CA is here"):
            action()
    with pytest.raises(UsageError, match="no CA is here"):
        ca.server_certificate(NAMES)
    assert not (tmp_path / "ca").exists()


def test_a_passphrase_of_the_operators_is_kept_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ca = SiteCa(tmp_path / "ca", passphrase=secret)
    ca.create("site CA", PERMITTED, passphrase=secret())
    assert ca.server_certificate(NAMES).renewed
    assert not [path for path in (tmp_path / "ca").rglob("*") if path.is_file() and secret() in path.read_bytes()]
    age(ca, 5)
    unattended = SiteCa(tmp_path / "ca")
    with caplog.at_level(logging.WARNING):
        served = unattended.server_certificate(NAMES)
    assert not served.renewed and served.info.days_left() in (4, 5)
    assert "days left and is not renewed" in caplog.text
    with pytest.raises(UsageError, match="passphrase that is not kept here"):
        unattended.server_certificate([*NAMES, "new.messenger.internal"])
    age(ca, -1)
    with pytest.raises(UsageError, match="passphrase that is not kept here"):
        unattended.server_certificate(NAMES)
    with pytest.raises(UsageError, match="passphrase does not open"):
        SiteCa(tmp_path / "ca", passphrase=lambda: b"wrong").open()
    assert ca.server_certificate(NAMES).renewed


def test_renew_the_ca(ca: SiteCa, tmp_path: Path) -> None:
    old_trust = ca.trust_pem
    old_chain = ca.server_certificate(NAMES).certificate.read_bytes()
    info = ca.renew(days=5000)
    assert info.days_left() >= 4999
    assert ca.files.trust_file is not None and ca.files.trust_file.read_bytes() == ca.trust_pem != old_trust
    assert not ca.server_certificate(NAMES).renewed  # the key is the same
    for chain in (old_chain, ca.server_certificate(NAMES, force=True).certificate.read_bytes()):
        for anchors in (old_trust, ca.trust_pem):
            assert openssl_verify(tmp_path, chain, anchors, name=NAMES[0]) == "OK"


def test_rotation(ca: SiteCa, tmp_path: Path) -> None:
    old_trust, old_info = ca.trust_pem, ca.info()
    old_chain = ca.server_certificate(NAMES).certificate.read_bytes()
    info = ca.rotate()
    assert info.subject == "CN=site CA 2,O=airbundle"
    assert old_info is not None and info.permitted == old_info.permitted
    assert len(pem_blocks(ca.trust_pem)) == 2
    new_trust = pem_blocks(ca.trust_pem)[0]
    assert new_trust != old_trust
    # Before the server has its new certificate: clients with both accept the old one.
    assert openssl_verify(tmp_path, old_chain, ca.trust_pem, name=NAMES[0]) == "OK"
    served = ca.server_certificate(NAMES)
    assert served.renewed
    for anchors in (old_trust, new_trust, ca.trust_pem):
        assert verifies(tmp_path, ca, anchors) == "OK"
    assert not ca.server_certificate(NAMES).renewed
    # Under its own root there is room for a CA of the cluster's; under the one before there is none.
    issued = ca.open(own_root=True).issue_ca("issuer")
    below = open_ca(issued.chain, issued.key, lambda: b"").issue([NAMES[0]])
    assert openssl_verify(tmp_path, below.chain, ca.trust_pem, name=NAMES[0]) == "OK"
    with pytest.raises(UsageError, match="path length 0"):
        ca.open().issue_ca("issuer")
    for action in (ca.rotate, ca.renew):
        with pytest.raises(UsageError, match="change-over to a new CA is under way"):
            action()
    ca.finish_rotation()
    assert ca.trust_pem == new_trust and ca.files.trust_file is not None
    assert ca.files.trust_file.read_bytes() == new_trust
    assert not list((tmp_path / "ca").glob("issuer-1*")) and not list((tmp_path / "ca").glob("*cross*"))
    assert verifies(tmp_path, ca) == "OK"
    assert openssl_verify(tmp_path, old_chain, ca.trust_pem) != "OK"
    with pytest.raises(UsageError, match="no change-over is under way"):
        ca.finish_rotation()
    assert ca.rotate().subject == "CN=site CA 3,O=airbundle"


def test_rotation_with_other_names(ca: SiteCa) -> None:
    ca.rotate("wider CA", [*PERMITTED, "other.internal"])
    with pytest.raises(UsageError, match="outside"):
        ca.server_certificate(["www.other.internal"])
    ca.finish_rotation()
    assert ca.server_certificate(["www.other.internal"]).renewed


@pytest.mark.parametrize("cut", ["issuer-2.key", "issuer-2.crt", "issuer-2.cross.crt", "ca.crt", "ca.json"])
def test_a_rotation_that_is_cut_off_never_happened(
    ca: SiteCa, tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ca.info()

    def stop(path: Path, data: bytes, mode: int) -> bool:
        if path.name == cut:
            raise KeyboardInterrupt
        return write_file(path, data, mode)

    monkeypatch.setattr("airbundle.installer.ca_files.write_file", stop)
    with pytest.raises(KeyboardInterrupt):
        ca.rotate()
    monkeypatch.undo()
    assert ca.info() == before
    assert verifies(tmp_path, ca) == "OK"
    ca.rotate()
    assert verifies(tmp_path, ca) == "OK"


def bundled() -> tuple[bytes, bytes]:
    authority = create_ca("carried CA", PERMITTED)
    return b"a comment\n" + authority.chain_pem, authority.seal(secret(), rounds=FAST_ROUNDS)


def test_a_carried_ca_is_kept_byte_for_byte(tmp_path: Path) -> None:
    chain, key = bundled()
    ca = SiteCa(tmp_path / "ca", passphrase=secret)
    ca.adopt(chain, key)
    assert ca.state == CaState("bundled", 1)
    assert (tmp_path / "ca/issuer-1.crt").read_bytes() == chain
    assert (tmp_path / "ca/issuer-1.key").read_bytes() == key
    assert verifies(tmp_path, ca) == "OK"
    SiteCa(tmp_path / "ca").adopt(chain, key)  # the same again asks nobody and changes nothing
    assert ca.state == CaState("bundled", 1)
    for action in (ca.renew, ca.rotate):
        with pytest.raises(UsageError, match=r"bundle|made here"):
            action()
    newer = bundled()
    ca.adopt(*newer)
    assert ca.state == CaState("bundled", 2, 1) and len(pem_blocks(ca.trust_pem)) == 2
    ca.finish_rotation()
    assert ca.trust_pem == to_pem(load_chain(newer[0], what="x"))


def test_carried_cas_that_are_none(tmp_path: Path) -> None:
    chain, key = bundled()
    ca = SiteCa(tmp_path / "ca", passphrase=secret)
    from airbundle.crypto.authority import new_server_key

    for wrong_chain, wrong_key, complaint in (
        (chain, new_server_key(), "not encrypted"),
        (create_ca("x", PERMITTED).chain_pem, key, "for another key"),
        (create_ca("x", PERMITTED).issue(NAMES).chain, key, "is no CA"),
    ):
        with pytest.raises(VerificationError, match=complaint):
            ca.adopt(wrong_chain, wrong_key)
    with pytest.raises(UsageError, match="passphrase does not open"):
        SiteCa(tmp_path / "ca", passphrase=lambda: b"wrong").adopt(chain, key)
    assert not ca.exists


def test_a_carried_ca_does_not_replace_the_sites_own(ca: SiteCa) -> None:
    with pytest.raises(UsageError, match="a CA of mode site is here"):
        ca.adopt(*bundled())


@pytest.mark.parametrize(
    "raw",
    [
        b"junk",
        b"[]",
        b'{"kind":"Ca","version":1,"mode":"site"}',
        b'{"kind":"Ca","version":2,"mode":"site","generation":1,"previous":0}',
        b'{"kind":"Ca","version":1,"mode":"magic","generation":1,"previous":0}',
        b'{"kind":"Ca","version":1,"mode":"site","generation":"../x","previous":0}',
        b'{"kind":"Ca","version":1,"mode":"site","generation":true,"previous":0}',
    ],
)
def test_a_state_that_is_none(ca: SiteCa, raw: bytes) -> None:
    ca.files.path("ca.json").write_bytes(raw)
    with pytest.raises(DocumentError):
        ca.open()


def test_missing_files_are_named(ca: SiteCa) -> None:
    ca.files.issuer(1, "key").unlink()
    with pytest.raises(UsageError, match=r"issuer-1\.key is missing"):
        ca.open()


def test_certificates_from_elsewhere_only(tmp_path: Path) -> None:
    ca = SiteCa(tmp_path / "ca")
    ca.files.make()
    ca.files.write_state(CaState("external"))
    assert ca.info() is None
    with pytest.raises(SiteError, match="issued elsewhere") as caught:
        ca.server_certificate(NAMES)
    assert "airbundle ca csr registry.messenger.internal 10.1.2.3" in caught.value.hint


def test_what_a_site_permits_by_default() -> None:
    wanted = site_permitted("messenger.internal", ["host1", "203.0.113.5"])
    ca = create_ca("x", wanted)
    assert ca.issue(["registry.messenger.internal", "host1", "203.0.113.5", "x.y.svc", "192.168.1.1", "localhost"])
    assert certificate_info(ca.root_pem).permitted.startswith("messenger.internal, host1, svc")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("*.a.b", "_.a.b"), ("fd00::1", "fd00__1"), ("../etc", "_etc"), ("A.b", "a.b"), ("..", "server"), ("/", "_")],
)
def test_file_stems(name: str, stem: str) -> None:
    assert file_stem(name) == stem
