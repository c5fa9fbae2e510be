from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import DocumentError, UsageError
from airbundle.transfer.credentials import Credential
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registries import load_registries, parse_registries
from airbundle.transfer.tls import TlsSettings


def parse(text: str, base: Path = Path("/nonexistent")) -> Registries:
    return parse_registries(text.encode(), where="registries.yaml", base=base)


def urls(registries: Registries, registry: str, repository: str) -> list[str]:
    return [f"{endpoint.url}/{endpoint.repository}" for endpoint in registries.endpoints(registry, repository)]


def test_without_a_file_hosts_speak_https() -> None:
    assert urls(Registries(), "quay.io", "a/b") == ["https://quay.io/v2/a/b"]
    assert urls(Registries(), "docker.io", "library/redis") == ["https://registry-1.docker.io/v2/library/redis"]
    assert urls(Registries(), "localhost:5000", "x") == ["https://localhost:5000/v2/x"]
    assert parse("") == parse("\n") == Registries()


MIRRORS = """
mirrors:
  docker.io:
    endpoint:
      - "https://mirror.corp:5000"
      - "http://other.corp/v2/hub"
    rewrite:
      "^library/(.*)": "hub/$1"
      "^(.*)$": "all/${1}"
  "*":
    endpoint: ["https://any.corp"]
  plain.corp:5000:
    endpoint: ["http://plain.corp:5000"]
  closed.corp:
    endpoint: ["https://m.corp"]
    default_endpoint: false
"""


def test_mirrors_and_rewrites() -> None:
    found = parse(MIRRORS)
    assert urls(found, "docker.io", "library/redis") == [
        "https://mirror.corp:5000/v2/hub/redis",
        "http://other.corp/v2/hub/hub/redis",
        "https://registry-1.docker.io/v2/library/redis",
    ]
    assert urls(found, "docker.io", "x/y")[0] == "https://mirror.corp:5000/v2/all/x/y"
    assert urls(found, "quay.io", "x") == ["https://any.corp/v2/x", "https://quay.io/v2/x"]
    assert urls(found, "closed.corp", "x") == ["https://m.corp/v2/x"]


def test_mirrors_are_told_the_namespace() -> None:
    found = parse(MIRRORS)
    assert [endpoint.namespace for endpoint in found.endpoints("quay.io", "x")] == ["quay.io", ""]
    assert [endpoint.namespace for endpoint in found.endpoints("plain.corp:5000", "x")] == [""]


def test_an_endpoint_of_the_host_itself_replaces_it() -> None:
    found = parse(MIRRORS)
    assert urls(found, "plain.corp:5000", "x") == ["http://plain.corp:5000/v2/x"]
    assert str(found.push_endpoint("plain.corp:5000", "x").url) == "http://plain.corp:5000/v2"


def test_pushes_never_go_to_mirrors() -> None:
    found = parse(MIRRORS)
    assert found.push_endpoint("docker.io", "library/redis").host == "registry-1.docker.io"
    assert found.push_endpoint("closed.corp", "x").host == "closed.corp"


def test_plain_http_is_what_an_endpoint_says() -> None:
    found = parse(MIRRORS)
    assert found.allows_http("plain.corp:5000")
    assert found.allows_http("other.corp")
    assert not found.allows_http("mirror.corp:5000")


def test_configs(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    found = parse(
        """
configs:
  Mirror.corp:5000:
    auth: {username: u, password: 12345}
    tls: {ca_file: ca.pem}
    token_hosts: [sso.corp]
  docker.io: {auth: {auth: dTpw}}
  acr: {auth: {identity_token: t}}
  "*": {tls: {insecure_skip_verify: true}}
""",
        tmp_path,
    )
    assert found.auth("mirror.corp:5000") == Credential("u", "12345")
    assert found.tls("mirror.corp:5000") == TlsSettings(ca_file=str(tmp_path / "ca.pem"))
    assert found.token_hosts("mirror.corp:5000") == ("sso.corp",)
    assert found.auth("registry-1.docker.io") == Credential("u", "p")
    assert found.auth("acr") == Credential(identity_token="t")
    assert found.tls("else") == TlsSettings(insecure_skip_verify=True)
    assert "12345" not in repr(found)


def test_every_finding_at_once_with_its_line() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(
            """mirrors:
  docker.io:
    endpoint: ["mirror.corp:5000", "https://u:hunter2@h"]
    rewrites: {}
  "https://quay.io":
    endpoint: []
  ghcr.io:
    endpoint: https://x
    rewrite: {"(": "x"}
configs:
  h:
    auth: {username: u, passwort: hunter2}
    tls: {ca_file: /no/such/file, insecure_skip_verify: "yes"}
    token_hosts: ["https://sso"]
  i: {auth: {auth: "%%"}, tls: {key_file: /etc/hostname}}
auths: {}
"""
        )
    places = {finding.where[len("registries.yaml:") :] for finding in caught.value.findings}
    assert places == {
        "3 mirrors.docker.io.endpoint[0]",
        "3 mirrors.docker.io.endpoint[1]",
        "4 mirrors.docker.io.rewrites",
        "5 mirrors.https://quay.io",
        "8 mirrors.ghcr.io.endpoint",
        "9 mirrors.ghcr.io.rewrite",
        "12 configs.h.auth.passwort",
        "12 configs.h.auth",
        "13 configs.h.tls.ca_file",
        "13 configs.h.tls.insecure_skip_verify",
        "14 configs.h.token_hosts[0]",
        "15 configs.i.auth.auth",
        "15 configs.i.auth",
        "15 configs.i.tls",
        "16 auths",
    }
    told = "\n".join(str(finding) for finding in caught.value.findings)
    assert "hunter2" not in told
    assert "did you mean rewrite?" in told
    assert caught.value.exit_code == 2


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_registries() == Registries()
    (tmp_path / "airbundle").mkdir()
    (tmp_path / "airbundle" / "registries.yaml").write_text(MIRRORS)
    assert load_registries() == parse(MIRRORS)
    with pytest.raises(DocumentError, match="No such file"):
        load_registries(tmp_path / "none.yaml")
    with pytest.raises(DocumentError):
        load_registries(tmp_path)


def test_a_rewrite_must_make_a_repository() -> None:
    found = parse('mirrors: {q: {endpoint: ["https://m"], rewrite: {"^(.*)$": "../$1"}}}')
    with pytest.raises(UsageError, match="no repository"):
        found.endpoints("q", "x")


def test_with_registry() -> None:
    found = Registries().with_registry("http://127.0.0.1:5000/prefix", credential=Credential("u", "p"))
    assert urls(found, "127.0.0.1:5000", "x") == ["http://127.0.0.1:5000/v2/x"]
    assert found.auth("127.0.0.1:5000") == Credential("u", "p")
    secure = Registries().with_registry("https://r.corp", tls=TlsSettings(ca_file="/ca"))
    assert urls(secure, "r.corp", "x") == ["https://r.corp/v2/x"]
    assert secure.tls("r.corp") == TlsSettings(ca_file="/ca")
    for bad in ("r.corp", "ftp://r", "https://u:p@r"):
        with pytest.raises(UsageError):
            Registries().with_registry(bad)


def test_unusable_hosts() -> None:
    with pytest.raises(UsageError):
        Registries().endpoints("-x", "y")


NAME = st.from_regex(r"[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,3}", fullmatch=True)


@given(NAME, NAME)
def test_a_prefix_by_rewrite(repository: str, prefix: str) -> None:
    text = f'mirrors: {{q: {{endpoint: ["https://m"], rewrite: {{"^(.*)$": "{prefix}/$1"}}}}}}'
    assert urls(parse(text), "q", repository)[0] == f"https://m/v2/{prefix}/{repository}"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except DocumentError:
        pass


@given(st.text(max_size=30))
def test_any_endpoint_is_read_or_refused(text: str) -> None:
    import json

    try:
        parse(json.dumps({"mirrors": {"q": {"endpoint": [text], "rewrite": {text: text}}}}))
    except DocumentError:
        pass
