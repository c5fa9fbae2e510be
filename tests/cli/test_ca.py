from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli.main import main
from tests.crypto.corporation import Corporation
from tests.crypto.tools import openssl_verify, pem_blocks


class Site:
    """Runs `airbundle ca` on one state directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.error = ""

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        self._capsys.readouterr()
        assert main(["ca", *arguments, "--state-dir", str(self.directory), "--json"]) == code
        out, self.error = self._capsys.readouterr()
        body: dict[str, Any] = json.loads(out)
        return body

    def say(self, *arguments: str) -> str:
        self._capsys.readouterr()
        assert main(["ca", *arguments, "--state-dir", str(self.directory)]) == 0
        return self._capsys.readouterr().out

    @property
    def trusted(self) -> bytes:
        return (self.directory / "certs/ca.crt").read_bytes()


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("AIRBUNDLE_KEY_PASSPHRASE", raising=False)
    return Site(tmp_path / "state", capsys)


def test_the_life_of_a_ca(site: Site, tmp_path: Path) -> None:
    body = site.run("init", "--domain", "messenger.internal")
    assert body["kind"] == "CaResult" and body["ca"]["subject"] == "CN=messenger.internal CA,O=airbundle"
    assert body["ca"]["daysLeft"] in (3649, 3650)
    assert body["trust"] == str(site.directory / "certs/ca.crt")
    server = site.run("issue", "registry.messenger.internal", "10.0.0.5")["server"]
    assert server["renewed"] and server["names"] == ["registry.messenger.internal", "10.0.0.5"]
    chain = Path(server["certificate"]).read_bytes()
    assert openssl_verify(tmp_path, chain, site.trusted, name="registry.messenger.internal") == "OK"
    assert not site.run("issue", "registry.messenger.internal")["server"]["renewed"]
    assert site.run("issue", "registry.messenger.internal", "--force", "--days", "20")["server"]["daysLeft"] in (19, 20)
    assert [each["renewed"] for each in site.run("renew")["servers"]] == [False]
    assert [each["renewed"] for each in site.run("renew", "--all")["servers"]] == [True]
    site.run("renew", "--ca", "--days", "7000")
    rotated = site.run("rotate")
    assert rotated["ca"]["subject"] == "CN=messenger.internal CA 2,O=airbundle"
    assert [each["renewed"] for each in rotated["servers"]] == [True]
    assert len(pem_blocks(site.trusted)) == 2
    assert site.run("rotate", code=2)["errors"][0]["hint"] == "end it: `airbundle ca rotate --finish`"
    site.run("rotate", "--finish")
    assert len(pem_blocks(site.trusted)) == 1


def test_answers_for_people(site: Site) -> None:
    text = site.say("init", "--name", "our CA", "--permit", "corp.internal")
    assert "CN=our CA,O=airbundle: 36" in text and "may issue for corp.internal, localhost" in text
    assert "certs/ca.crt  what clients trust" in text
    text = site.say("issue", "a.corp.internal")
    assert "a.corp.internal: new, 36" in text and "ca/servers/a.corp.internal.key" in text
    assert "kept" in site.say("renew")


def test_names_outside_are_refused(site: Site) -> None:
    site.run("init", "--permit", "corp.internal")
    error = site.run("issue", "www.example.org", code=2)["errors"][0]
    assert "www.example.org is outside" in error["message"] and "rotate --permit" in error["hint"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_copies_have_their_modes_and_keys_are_not_overwritten(site: Site, tmp_path: Path, umask: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = os.umask(umask)
    try:
        site.run("init", "--permit", "corp.internal")
        site.run("issue", "a.corp.internal", "-o", str(out))
        site.run("issue", "a.corp.internal", "--force", "-o", str(out))  # the same key again
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {
        "a.corp.internal.crt": 0o644,
        "a.corp.internal.key": 0o600,
    }
    (out / "a.corp.internal.key").write_text("somebody's key")
    assert "is another key" in site.run("issue", "a.corp.internal", "-o", str(out), code=2)["errors"][0]["message"]
    assert (out / "a.corp.internal.key").read_text() == "somebody's key"


def test_init_never_replaces_a_ca(site: Site) -> None:
    site.run("init", "--permit", "corp.internal")
    before = site.trusted
    assert "a CA is here already" in site.run("init", code=2)["errors"][0]["message"]
    assert site.trusted == before


def test_own_passphrase(site: Site, tmp_path: Path) -> None:
    word = tmp_path / "word"
    word.write_text("open sesame\n")
    site.run("init", "--permit", "corp.internal", "--passphrase-file", str(word))
    assert not list((site.directory / "ca").glob("*.passphrase"))
    site.run("issue", "a.corp.internal", "--passphrase-file", str(word))
    error = site.run("issue", "b.corp.internal", code=2)["errors"][0]
    assert "passphrase of the CA's key" in error["message"]
    word.write_text("open barley\n")
    error = site.run("issue", "b.corp.internal", "--passphrase-file", str(word), code=2)["errors"][0]
    assert "does not open the key" in error["message"] and "barley" not in json.dumps(error)


def test_external_ca_and_server(tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    corporation = Corporation(tmp_path)
    signed = tmp_path / "signed.pem"
    request = site.run("csr", "--ca", "--domain", "corp.internal", "-o", str(tmp_path / "ca.csr"))
    assert (tmp_path / "ca.csr").read_text() == request["pem"]
    signed.write_bytes(corporation.sign(request["pem"].encode()) + corporation.above)
    assert site.run("import", str(signed))["ca"]["issuer"] == "CN=Corporate.Issuing"
    assert site.run("issue", "a.corp.internal")["server"]["renewed"]
    other = Site(tmp_path / "other", capsys)
    request = other.run("csr", "b.corp.internal", "10.0.0.1")
    signed.write_bytes(corporation.sign(request["pem"].encode()) + corporation.above)
    assert other.run("import", str(signed))["server"]["label"] == "b.corp.internal"
    assert not other.run("issue", "b.corp.internal")["server"]["renewed"]
    assert other.run("issue", "c.corp.internal", code=6)["outcome"] == "unchanged"
    assert "for no key of this site" in site.run("import", str(signed), code=2)["errors"][0]["message"]
    assert other.run("csr", code=2)["errors"][0]["hint"] == "airbundle ca csr registry.corp.example"


def test_without_a_ca(site: Site) -> None:
    for arguments in (["issue", "a.b"], ["renew", "--ca"], ["rotate"], ["trust"]):
        assert "no CA is here" in site.run(*arguments, code=2)["errors"][0]["message"]
    assert site.run("trust", "--undo")["ran"] == ""


def test_options_before_and_after_the_action(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ca", "--json", "init", "--permit", "x.internal", "--state-dir", str(site.directory)]) == 0
    assert json.loads(capsys.readouterr().out)["action"] == "init"
    assert main(["ca", "issue", "a.x.internal", "--state-dir", str(site.directory), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["ca", "issue", "--help"]) == 0
    assert "airbundle ca issue registry.messenger.internal" in capsys.readouterr().out
