from __future__ import annotations

import json
import logging
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import RemoteError, Unauthorized
from airbundle.transfer.auth import merged, with_push
from airbundle.transfer.credentials import Credential, CredentialStore
from airbundle.transfer.hosts import HostConfig, Mirror, Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.proxies import Proxies
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Request, Url
from tests.support.registries import PASSWORD, USER, Registry, run_registry
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

PULL = ("repository:a/b:pull",)
CREDENTIAL = Credential("robot", "hunter2")


class Realm:
    """A registry that wants tokens, and its token server; on 127.0.0.1, or the token server on another address."""

    def __init__(self, stack: ExitStack, authority: Authority, realm_host: str = "127.0.0.1") -> None:
        self.authority = authority
        self.valid: set[str] = set()
        self.issued = 0
        self.answer: dict[str, object] = {}
        self.status = 200
        self.tokens: FaultServer = stack.enter_context(fault_server(self._token, tls=authority, host=realm_host))
        self.registry: FaultServer = stack.enter_context(fault_server(self._registry, tls=authority))
        self.realm = f"{self.tokens.url}/token"

    def _token(self, turn: Turn, n: int) -> None:
        self.issued += 1
        token = f"token-{self.issued}"
        self.valid.add(token)
        body = {"token": token, "expires_in": 300, **self.answer}
        turn.reply(self.status, json.dumps(body).encode())

    def _registry(self, turn: Turn, n: int) -> None:
        scheme, _, token = turn.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and token in self.valid:
            turn.reply(200, token.encode())
            return
        challenge = f'Bearer realm="{self.realm}",service="it",scope="repository:a/b:pull"'
        turn.reply(401, b"{}", {"WWW-Authenticate": challenge})

    def client(self, config: HostConfig | None = None) -> HttpClient:
        tls = TlsSettings(ca_file=str(self.authority.ca_file))
        config = replace(config or HostConfig(), tls=tls)
        registries = Registries(configs={self.registry.host: config})
        return HttpClient(FAST, registries=registries, credentials=CredentialStore(), proxies=Proxies())

    def get(self, http: HttpClient, scopes: tuple[str, ...] = PULL) -> bytes:
        return http.request("GET", self.registry.url, what="thing: get", scopes=scopes).body

    def asked(self) -> list[dict[str, list[str]]]:
        return [parse_qs(urlsplit(path).query) for path in self.tokens.paths("GET")]


@pytest.fixture
def realm(authority: Authority) -> Iterator[Realm]:
    with ExitStack() as stack:
        yield Realm(stack, authority)


@pytest.fixture
def far_realm(authority: Authority) -> Iterator[Realm]:
    """The token server is another host."""
    with ExitStack() as stack:
        yield Realm(stack, authority, "127.0.0.2")


def test_anonymous_token(realm: Realm) -> None:
    with realm.client() as http:
        assert realm.get(http) == b"token-1"
    assert realm.asked() == [{"service": ["it"], "scope": ["repository:a/b:pull"]}]
    assert realm.tokens.requests[0].header("Authorization") is None
    assert [seen.header("Authorization") for seen in realm.registry.requests] == [None, "Bearer token-1"]


def test_password_goes_to_the_realm_and_not_to_the_registry(realm: Realm) -> None:
    with realm.client(HostConfig(credential=CREDENTIAL)) as http:
        realm.get(http)
    basic = "Basic " + b64encode(b"robot:hunter2").decode()
    assert realm.tokens.requests[0].header("Authorization") == basic
    assert all(seen.header("Authorization") != basic for seen in realm.registry.requests)


def test_tokens_are_kept_for_each_scope(realm: Realm) -> None:
    with realm.client() as http:
        for _ in range(3):
            assert realm.get(http) == b"token-1"
        realm.get(http, ("repository:c:pull",))
        realm.get(http, ("repository:c:pull",))
    assert [query["scope"] for query in realm.asked()] == [
        ["repository:a/b:pull"],
        ["repository:c:pull"],
    ]
    assert len(realm.registry.requests) == 6  # only the very first was refused


def test_a_token_for_pushing_pulls(realm: Realm) -> None:
    with realm.client() as http:
        realm.get(http, ("repository:a/b:pull,push",))
        realm.get(http, PULL)
    assert realm.issued == 1


def test_a_refused_token_is_renewed_once(realm: Realm) -> None:
    with realm.client() as http:
        realm.get(http)
        realm.valid.clear()
        assert realm.get(http) == b"token-2"
        realm.answer = {"token": "bad"}
        realm.valid.clear()
        with pytest.raises(Unauthorized):
            realm.get(http)
    assert realm.issued == 3


def test_an_expired_token_is_renewed_before_it_is_refused(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with realm.client() as http:
        realm.get(http)
        now[0] += 269
        assert realm.get(http) == b"token-1"
        now[0] += 2
        assert realm.get(http) == b"token-2"
    assert len(realm.registry.requests) == 4


def test_many_threads_fetch_one_token(realm: Realm) -> None:
    got: list[bytes] = []
    with realm.client() as http:
        realm.get(http, ("repository:other:pull",))  # the challenge is known from here on
        threads = [threading.Thread(target=lambda: got.append(realm.get(http))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [b"token-2"] * 12


def test_identity_tokens_are_posted(realm: Realm) -> None:
    with realm.client(HostConfig(credential=Credential(identity_token="refresh-me"))) as http:
        realm.get(http)
    seen = realm.tokens.requests[0]
    assert seen.method == "POST"
    assert parse_qs(seen.body.decode()) == {
        "grant_type": ["refresh_token"],
        "service": ["it"],
        "client_id": ["airbundle"],
        "scope": ["repository:a/b:pull"],
        "refresh_token": ["refresh-me"],
    }
    assert "refresh-me" not in seen.path


def test_registry_tokens_are_sent_as_they_are(realm: Realm) -> None:
    realm.valid.add("my-own")
    with realm.client(HostConfig(credential=Credential(registry_token="my-own"))) as http:
        assert realm.get(http) == b"my-own"
    assert realm.tokens.requests == []


def test_access_token_is_as_good(realm: Realm) -> None:
    realm.answer = {"token": None, "access_token": "other"}
    realm.valid.add("other")
    with realm.client() as http:
        assert realm.get(http) == b"other"


@pytest.mark.parametrize(
    "answer",
    [
        {"token": ""},
        {"token": 5},
        {"token": "a b"},
        {"token": "a\r\nX-Evil: 1"},
        {"token": "ä"},
        {"token": "a" * 70_000},
        {"token": None, "pad": "a" * 10},
    ],
)
def test_unusable_tokens(realm: Realm, answer: dict[str, object]) -> None:
    realm.answer = answer
    with realm.client() as http, pytest.raises(RemoteError, match="no usable token"):
        realm.get(http)


def test_a_huge_answer_is_refused(realm: Realm) -> None:
    realm.answer = {"pad": "a" * 2_000_000}
    with realm.client() as http, pytest.raises(RemoteError, match="more than 1048576 bytes"):
        realm.get(http)


def test_a_large_token_is_taken(realm: Realm) -> None:
    token = "a" * 16_000
    realm.answer = {"token": token}
    realm.valid.add(token)
    with realm.client() as http:
        assert len(realm.get(http)) == 16_000


@pytest.mark.parametrize("lifetime", ["x", None, -1, 0, True, [], 1e300])
def test_odd_lifetimes(realm: Realm, lifetime: object) -> None:
    realm.answer = {"expires_in": lifetime}
    with realm.client() as http:
        assert realm.get(http) == b"token-1"


def test_refused_credentials(realm: Realm) -> None:
    realm.status, realm.answer = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong"}]}
    with realm.client(HostConfig(credential=CREDENTIAL)) as http:
        with pytest.raises(Unauthorized, match="answered 401 UNAUTHORIZED: wrong") as caught:
            realm.get(http)
    assert "log in again" in caught.value.hint
    assert "hunter2" not in str(caught.value.to_json())


def test_a_token_server_may_fail_for_a_while(realm: Realm) -> None:
    failing = [503, 502, 500]
    once = realm._token

    def script(turn: Turn, n: int) -> None:
        if failing:
            turn.reply(failing.pop())
        else:
            once(turn, n)

    realm.tokens.script = script
    with realm.client(HostConfig(credential=CREDENTIAL)) as http:
        assert realm.get(http) == b"token-1"


# Realms: the rule itself is tested in test_realms; here, that it is obeyed.


def test_credentials_do_not_go_to_another_host(far_realm: Realm) -> None:
    with far_realm.client(HostConfig(credential=CREDENTIAL)) as http, pytest.raises(Unauthorized) as caught:
        far_realm.get(http)
    assert far_realm.tokens.requests == []
    assert f'add it to configs."{far_realm.registry.host}".token_hosts' in caught.value.hint


def test_not_even_an_anonymous_question_goes_to_a_private_address(far_realm: Realm) -> None:
    with far_realm.client() as http, pytest.raises(Unauthorized, match="private address"):
        far_realm.get(http)
    assert far_realm.tokens.requests == []


def test_unless_registries_yaml_lists_it(far_realm: Realm) -> None:
    config = HostConfig(credential=CREDENTIAL, token_hosts=(far_realm.tokens.host,))
    with far_realm.client(config) as http:
        assert far_realm.get(http) == b"token-1"
    assert far_realm.tokens.requests[0].header("Authorization") is not None


def test_no_realm_over_plain_http(realm: Realm) -> None:
    with fault_server(realm._token) as plain:
        realm.realm = plain.url
        with realm.client(HostConfig(credential=CREDENTIAL)) as http:
            with pytest.raises(Unauthorized, match="plain HTTP") as caught:
                realm.get(http)
    assert plain.requests == []
    assert f"http://{plain.host}" in caught.value.hint


def test_token_servers_are_not_followed(realm: Realm) -> None:
    with fault_server(lambda turn, n: turn.reply(200, b'{"token":"stolen"}')) as elsewhere:
        realm.tokens.script = lambda turn, n: turn.reply(302, b"", {"Location": elsewhere.url})
        with realm.client(HostConfig(credential=CREDENTIAL)) as http, pytest.raises(RemoteError, match="answered 302"):
            realm.get(http)
    assert elsewhere.requests == []


@pytest.mark.parametrize("text", ["", "x", "//h/", "https://u:p@h/", "ftp://h/"])
def test_realms_that_are_no_urls(realm: Realm, text: str) -> None:
    realm.realm = text
    with realm.client(HostConfig(credential=CREDENTIAL)) as http, pytest.raises(Unauthorized):
        realm.get(http)


def test_basic() -> None:
    good = "Basic " + b64encode(b"robot:hunter2").decode()

    def script(turn: Turn, n: int) -> None:
        if turn.headers.get("Authorization") == good:
            turn.reply(200, b"in")
        else:
            turn.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    with fault_server(script) as server:
        for credential, expected in ((CREDENTIAL, 3), (Credential("robot", "wrong"), 2), (None, 1)):
            server.requests.clear()
            config = {server.host: HostConfig(credential=credential)}
            with HttpClient(
                FAST, registries=Registries(configs=config), credentials=CredentialStore(), proxies=Proxies()
            ) as http:
                if expected == 3:
                    http.request("GET", server.url, what="x")
                    assert http.request("GET", server.url, what="x").body == b"in"
                else:
                    with pytest.raises(Unauthorized):
                        http.request("GET", server.url, what="x")
            assert len(server.requests) == expected
        assert server.requests[0].header("Authorization") is None


def test_credentials_of_one_host_are_not_those_of_another() -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    with fault_server(script) as server:
        config = {"127.0.0.1:1": HostConfig(credential=CREDENTIAL), "127.0.0.1": HostConfig(credential=CREDENTIAL)}
        with HttpClient(
            FAST, registries=Registries(configs=config), credentials=CredentialStore(), proxies=Proxies()
        ) as http:
            with pytest.raises(Unauthorized):
                http.request("GET", server.url, what="x")
    assert len(server.requests) == 1


def test_nothing_secret_is_logged(realm: Realm, caplog: pytest.LogCaptureFixture) -> None:
    """At the lowest level, with the libraries beneath: no password, no token, no signed URL."""

    def script(turn: Turn, n: int) -> None:
        if turn.path == "/signed?signature=topsecret":
            turn.reply(503 if n < 4 else 200, b"in")
        elif turn.headers.get("Authorization", "") == "Bearer token-1":
            turn.reply(307, b"", {"Location": "/signed?signature=topsecret"})
        else:
            realm._registry(turn, n)

    realm.registry.script = script
    with caplog.at_level(logging.DEBUG), realm.client(HostConfig(credential=CREDENTIAL)) as http:
        assert realm.get(http) == b"in"
        with http.attempt(Request("GET", Url.parse(realm.registry.url)), what="x", scopes=PULL, bulk=True) as answer:
            assert answer.status == 200
    basic = b64encode(b"robot:hunter2").decode()
    assert not any(secret in caplog.text for secret in ("hunter2", "topsecret", "token-1", "robot", basic))


# With real registries


@contextmanager
def registry_client(
    registry: Registry, *, credential: Credential | None, mirrors: bool = False
) -> Iterator[RegistryClient]:
    tls = TlsSettings(ca_file=str(registry.ca_file))
    hosts = {registry.host: HostConfig(tls=tls, credential=credential)}
    endpoint = Mirror((Url.parse(registry.url),))
    found = Registries({"docker.io": endpoint} if mirrors else {}, hosts)
    with RegistryClient(found, settings=FAST) as client:
        yield client


def test_real_basic(basic_registry: Registry) -> None:
    name = f"{basic_registry.host}/auth/basic"
    with registry_client(basic_registry, credential=Credential(USER, PASSWORD)) as client:
        digest = client.repository(name).push_blob_bytes(b"hello")
        assert client.repository(name).read_blob(digest, 10) == b"hello"
    for wrong in (None, Credential(USER, "wrong")):
        with registry_client(basic_registry, credential=wrong) as client, pytest.raises(Unauthorized) as caught:
            client.repository(name).read_blob(digest, 10)
        assert f"docker login {basic_registry.host}" in caught.value.hint
        expected = "No credentials for" if wrong is None else f"user {USER!r} was refused"
        assert expected in caught.value.hint and "wrong" not in caught.value.hint


def test_real_tokens(token_registry: Registry) -> None:
    name = f"{token_registry.host}/auth/token"
    with registry_client(token_registry, credential=Credential(USER, PASSWORD)) as client:
        digest = client.repository(name).push_blob_bytes(b"hello")
        assert client.repository(name).read_blob(digest, 10) == b"hello"
        other = client.repository(f"{token_registry.host}/auth/other")
        assert other.mount(digest, name)
    for wrong in (None, Credential(USER, "wrong")):
        with registry_client(token_registry, credential=wrong) as client, pytest.raises(Unauthorized) as caught:
            client.repository(name).read_blob(digest, 10)
        expected = "No credentials for" if wrong is None else f"user {USER!r} was refused"
        assert expected in caught.value.hint and f"docker login {token_registry.host}" in caught.value.hint


def test_real_refresh_token(token_registry: Registry) -> None:
    assert token_registry.tokens is not None
    token_registry.tokens.refresh_tokens["of-a-test"] = USER
    with registry_client(token_registry, credential=Credential(identity_token="of-a-test")) as client:
        client.repository(f"{token_registry.host}/auth/refresh").push_blob_bytes(b"hello")


def test_real_anonymous_pull(tmp_path: Path, authority: Authority) -> None:
    with run_registry(tmp_path / "r", tls=authority, auth="token", anonymous_pull=True) as registry:
        name = f"{registry.host}/x"
        with registry_client(registry, credential=Credential(USER, PASSWORD)) as client:
            digest = client.repository(name).push_blob_bytes(b"hello")
        with registry_client(registry, credential=None) as client:
            assert client.repository(name).read_blob(digest, 10) == b"hello"
            with pytest.raises(Unauthorized):
                client.repository(name).push_blob_bytes(b"else")


def test_docker_config(basic_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basic_registry.docker_config(tmp_path / "docker")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with registry_client(basic_registry, credential=None) as client:
        client.repository(f"{basic_registry.host}/auth/config").push_blob_bytes(b"hello")


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([], ()),
        (["repository:a:pull", "repository:a:pull,push"], ("repository:a:pull,push",)),
        (["repository:a:pull", "repository:b:pull"], ("repository:a:pull", "repository:b:pull")),
        (["repository:h:5000/a:pull"], ("repository:h:5000/a:pull",)),
        (["odd"], ("odd",)),
    ],
)
def test_merged(scopes: list[str], expected: tuple[str, ...]) -> None:
    assert merged(scopes) == expected


@given(st.lists(st.from_regex(r"repository:[a-c]:(pull|push|pull,push|delete)", fullmatch=True), max_size=6))
def test_merging_again_changes_nothing(scopes: list[str]) -> None:
    once = merged(scopes)
    assert merged(once) == once
    assert merged(with_push(merged(["repository:a:pull"]))) == ("repository:a:pull,push",)
