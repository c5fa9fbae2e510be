from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from airbundle.crypto.ca import create_ca
from airbundle.crypto.certificate import certificate_info
from airbundle.errors import DocumentError, HostError, NoPermission, UsageError
from airbundle.installer.os_trust import Change, OsTrust
from tests.crypto.tools import openssl_verify

CA = create_ca("first", ["a.internal"])
SECOND = create_ca("second", ["a.internal"])
PUBLIC = create_ca("public", ["example.org"])
LEAF = CA.issue(["www.a.internal"]).chain


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A root directory that Debian's real update-ca-certificates works in."""
    root = tmp_path / "root"
    for name in ("usr/local/share/ca-certificates", "usr/share/ca-certificates", "etc/ssl/certs"):
        (root / name).mkdir(parents=True)
    (root / "etc/ca-certificates/update.d").mkdir(parents=True)
    (root / "etc/ca-certificates.conf").write_text("public.crt\n")
    (root / "usr/share/ca-certificates/public.crt").write_bytes(PUBLIC.root_pem)
    return root


def trust(tmp_path: Path, root: Path) -> OsTrust:
    return OsTrust(tmp_path / "os-trust.json", root=root)


def anchor(authority_pem: bytes) -> str:
    return f"airbundle-{certificate_info(authority_pem).fingerprint[:16]}.crt"


def bundle(root: Path) -> bytes:
    return (root / "etc/ssl/certs/ca-certificates.crt").read_bytes()


def test_debian_trusts_and_forgets(tmp_path: Path, debian: Path) -> None:
    store = trust(tmp_path, debian)
    change = store.install(CA.root_pem)
    file = debian / "usr/local/share/ca-certificates" / anchor(CA.root_pem)
    assert change.store == "Debian" and change.files == (file,) and "update-ca-certificates" in change.command
    assert file.read_bytes() == CA.root_pem and stat.S_IMODE(file.stat().st_mode) == 0o644
    assert CA.root_pem in bundle(debian)
    assert openssl_verify(tmp_path, LEAF, bundle(debian), name="www.a.internal") == "OK"
    hashed = ["openssl", "verify", "-no-CAfile", "-CApath", debian / "etc/ssl/certs", tmp_path / "leaf.pem"]
    subprocess.run([str(part) for part in hashed], check=True, capture_output=True)
    assert store.installed == (file,)
    undone = store.undo()
    assert undone.files == (file,) and not file.exists()
    assert bundle(debian) == PUBLIC.root_pem
    assert not [path for path in (debian / "etc/ssl/certs").iterdir() if not path.exists()]  # no dangling links
    assert store.installed == () and not (tmp_path / "os-trust.json").exists()


def test_the_last_certificate_of_all_goes_too(tmp_path: Path, debian: Path) -> None:
    # update-ca-certificates leaves the bundle as it is when no certificate is left.
    (debian / "etc/ca-certificates.conf").write_text("# the public ones are not wanted\n")
    store = trust(tmp_path, debian)
    store.install(CA.root_pem)
    assert bundle(debian) == CA.root_pem
    store.undo()
    assert bundle(debian) == b""


def test_a_second_time_changes_nothing(tmp_path: Path, debian: Path) -> None:
    trust(tmp_path, debian).install(CA.root_pem)
    assert trust(tmp_path, debian).install(CA.root_pem) == Change("Debian", ())
    trust(tmp_path, debian).undo()
    assert trust(tmp_path, debian).undo() == Change("", ())


def test_change_over(tmp_path: Path, debian: Path) -> None:
    store = trust(tmp_path, debian)
    store.install(CA.root_pem)
    store.install(SECOND.root_pem + CA.root_pem)
    assert CA.root_pem in bundle(debian) and SECOND.root_pem in bundle(debian)
    change = store.install(SECOND.root_pem)
    assert [path.name for path in change.files] == [anchor(CA.root_pem)]
    assert CA.root_pem not in bundle(debian) and SECOND.root_pem in bundle(debian)
    assert [path.name for path in store.installed] == [anchor(SECOND.root_pem)]


def test_others_certificates_are_left_alone(tmp_path: Path, debian: Path) -> None:
    theirs = debian / "usr/local/share/ca-certificates/corporate.crt"
    theirs.write_bytes(SECOND.root_pem)
    store = trust(tmp_path, debian)
    store.install(CA.root_pem)
    store.undo()
    assert theirs.exists() and SECOND.root_pem in bundle(debian)


def test_a_file_that_somebody_changed_is_left(tmp_path: Path, debian: Path) -> None:
    store = trust(tmp_path, debian)
    (file,) = store.install(CA.root_pem).files
    file.write_bytes(SECOND.root_pem)
    change = store.undo()
    assert change.files == () and change.kept == (file,) and file.exists()


def test_a_file_that_is_gone_is_put_back(tmp_path: Path, debian: Path) -> None:
    store = trust(tmp_path, debian)
    (file,) = store.install(CA.root_pem).files
    file.unlink()
    assert store.install(CA.root_pem).files == (file,)


def stand_in(root: Path, anchors: str, program: str, script: str) -> Path:
    (root / anchors).mkdir(parents=True)
    (root / "usr/sbin").mkdir(parents=True, exist_ok=True)
    path = root / "usr/sbin" / program
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("store", "anchors", "program", "arguments"),
    [
        ("RHEL", "etc/pki/ca-trust/source/anchors", "update-ca-trust", "extract"),
        ("SUSE", "etc/pki/trust/anchors", "update-ca-certificates", ""),
    ],
)
def test_other_families_get_their_files_and_their_program(
    tmp_path: Path, store: str, anchors: str, program: str, arguments: str
) -> None:
    # Their programs are on no Debian; a stand-in shows that it is called, after the file is there.
    root = tmp_path / "root"
    stand_in(root, anchors, program, f'echo "$*" > {tmp_path}/called; ls {root}/{anchors} >> {tmp_path}/called')
    ours = trust(tmp_path, root)
    assert ours.install(CA.root_pem).store == store
    assert (tmp_path / "called").read_text() == f"{arguments}\n{anchor(CA.root_pem)}\n"
    assert ours.undo().store == store
    assert (tmp_path / "called").read_text() == f"{arguments}\n"


def test_a_program_that_fails_is_run_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    anchors = "etc/pki/ca-trust/source/anchors"
    path = stand_in(root, anchors, "update-ca-trust", "echo 'p11-kit: disk on fire' >&2; exit 3")
    store = trust(tmp_path, root)
    with pytest.raises(HostError, match="failed with 3: p11-kit: disk on fire"):
        store.install(CA.root_pem)
    path.write_text("#!/bin/sh\n")
    assert store.install(CA.root_pem).command != ""
    assert store.install(CA.root_pem).command == ""


def test_unknown_system(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trust store that airbundle knows"):
        trust(tmp_path, tmp_path).install(CA.root_pem)


def test_without_permission(tmp_path: Path, debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the question to the system is answered for it.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(NoPermission, match="this user may not write to") as caught:
        trust(tmp_path, debian).install(CA.root_pem)
    assert "run as root" in caught.value.hint and "update-ca-certificates" in caught.value.hint
    assert not (tmp_path / "os-trust.json").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"junk",
        b"[]",
        b"{}",
        json.dumps({"files": {"/etc/passwd": "sha256:00"}, "updated": True}).encode(),
        json.dumps({"files": {"/etc/pki/trust/anchors/../airbundle-x": "x"}, "updated": True}).encode(),
    ],
)
def test_a_record_that_is_none(tmp_path: Path, debian: Path, body: bytes) -> None:
    (tmp_path / "os-trust.json").write_bytes(body)
    with pytest.raises(DocumentError):
        trust(tmp_path, debian).undo()
