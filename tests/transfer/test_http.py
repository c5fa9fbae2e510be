from __future__ import annotations

import json
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.errors import AirbundleError, NotFound, Refused, RemoteError, Unauthorized, Unreachable, UsageError
from airbundle.progress import SILENT
from airbundle.transfer.bulk import BulkEngine
from airbundle.transfer.credentials import Credential, CredentialStore
from airbundle.transfer.hosts import HostConfig, Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.proxies import Proxies
from airbundle.transfer.registries import parse_registries
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Request, Url, read_all
from tests.support.process import free_port
from tests.support.tls import Authority
from tests.transfer.servers import FAST, Turn, fault_server, forward_proxy

OK = b'{"fine": true}'


@contextmanager
def client(
    registries: Registries | None = None,
    *,
    settings: HttpSettings = FAST,
    proxy: Mapping[str, str] | None = None,
    bulk: bool = False,
) -> Iterator[HttpClient]:
    """A client with no credentials but those of `registries`; with `bulk` a lean one."""
    proxies, store = Proxies.from_environment(proxy or {}), CredentialStore()
    with HttpClient(settings, registries=registries, credentials=store, proxies=proxies, lean=bulk) as http:
        assert isinstance(http.engine(Url.parse("http://x"), bulk=False), BulkEngine) == bulk
        yield http


both_engines = pytest.mark.parametrize("bulk", [False, True], ids=["httpx", "http.client"])


def trusting(authority: Authority, *hosts: str) -> Registries:
    tls = TlsSettings(ca_file=str(authority.ca_file))
    return Registries(configs={host: HostConfig(tls=tls) for host in hosts})


@both_engines
def test_get(bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK, {"X-Test": "1"})) as server, client(bulk=bulk) as http:
        response = http.request("GET", f"{server.url}/a?b=c", what="thing: get", headers={"Accept": "x/y"})
        assert (response.status, response.body, response.headers["x-test"]) == (200, OK, "1")
    seen = server.requests[0]
    assert seen.path == "/a?b=c"
    assert seen.header("Accept") == "x/y"
    assert seen.header("Accept-Encoding") == "identity"
    assert str(seen.header("User-Agent")).startswith("airbundle/")
    assert seen.header("Host") == server.host
    assert seen.header("Authorization") is None


@both_engines
def test_post(bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(201)) as server, client(bulk=bulk) as http:
        http.request("POST", f"{server.url}/", what="x", expect=(201,), content=b"body")
        http.request("POST", f"{server.url}/", what="x", expect=(201,))
    assert [seen.body for seen in server.requests] == [b"body", b""]
    assert server.requests[1].header("Content-Length") == "0"


@both_engines
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522])
def test_passing_statuses_are_tried_again(status: int, bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK) if n > 6 else turn.reply(status, b"busy")) as server:
        with client(bulk=bulk) as http:
            assert http.request("GET", server.url, what="x").body == OK
    assert len(server.requests) == 7


@both_engines
def test_resets_and_silence_are_tried_again(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        if n == 1:
            turn.reset()
        elif n == 2:
            turn.close_connection = True
        elif n == 3:
            turn.wfile.write(b"nonsense\r\n\r\n")
            turn.close_connection = True
        elif n == 4:
            turn.reply(200, OK, short=5)
        else:
            turn.reply(200, OK)

    with fault_server(script) as server, client(bulk=bulk) as http:
        assert http.request("GET", server.url, what="x").body == OK


@both_engines
def test_retry_after_is_obeyed(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(200, OK) if n > 1 else turn.reply(429, b"{}", {"Retry-After": "0"})

    with fault_server(script) as server, client(bulk=bulk) as http:
        assert http.request("GET", server.url, what="x").body == OK


def test_a_long_retry_after_is_told() -> None:
    def script(turn: Turn, n: int) -> None:
        body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
        turn.reply(429, body, {"Retry-After": "21600"})

    with fault_server(script) as server, client() as http:
        with pytest.raises(RemoteError, match="TOOMANYREQUESTS: You have reached") as caught:
            http.request("GET", server.url, what="thing: get")
    assert len(server.requests) == 1
    assert caught.value.status == 429
    assert "log in" in caught.value.hint


def test_the_budget_ends() -> None:
    with fault_server(lambda turn, n: turn.reply(503)) as server:
        with client(settings=replace(FAST, retry_time=0.05)) as http:
            with pytest.raises(RemoteError, match=r"thing: get: 127.0.0.1:.* answered 503") as caught:
                http.request("GET", server.url, what="thing: get")
    assert len(server.requests) > 2
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (405, Refused),
        (413, Refused),
        (507, Refused),
    ],
)
def test_refusals_are_final(status: int, kind: type[RemoteError]) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(status, b'{"errors":[{"code":"DENIED","message":"no \\u001b[31mway\\n","detail":{"a":1}}]}')

    with fault_server(script) as server, client() as http:
        with pytest.raises(kind) as caught:
            http.request("PUT", server.url, what="thing: put", content=b"x", expect=(200, 201))
    assert len(server.requests) == 1
    assert caught.value.problem == (
        f'thing: put: {server.host} answered {status} DENIED: no [31mway ({{"a": 1}}); expected 200 or 201'
    )


def test_a_full_disk_is_not_tried_again() -> None:
    body = b'{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"m":"no space left on device"}}]}'
    with fault_server(lambda turn, n: turn.reply(500, body)) as server, client() as http:
        with pytest.raises(Refused) as caught:
            http.request("PUT", server.url, what="x", content=b"x")
    assert len(server.requests) == 1
    assert "free space" in caught.value.hint


def test_the_site_side_has_its_exit_code() -> None:
    with fault_server(lambda turn, n: turn.reply(404)) as server:
        with HttpClient(FAST, side="site", credentials=CredentialStore(), proxies=Proxies()) as http:
            with pytest.raises(NotFound) as caught:
                http.request("GET", server.url, what="x")
    assert caught.value.exit_code == 6


@both_engines
def test_bodies_are_bounded(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        if turn.path == "/chunked":
            turn.reply(200, b"", {"Transfer-Encoding": "chunked"})
            for _ in range(100):
                turn.wfile.write(b"400\r\n" + b"a" * 1024 + b"\r\n")
            turn.wfile.write(b"0\r\n\r\n")
        else:
            turn.reply(200, b"a" * 5000)

    with fault_server(script) as server, client(bulk=bulk) as http:
        for path in ("/", "/chunked"):
            with pytest.raises(RemoteError, match="more than 4999 bytes"):
                http.request("GET", server.url + path, what="x", limit=4999)
        assert len(http.request("GET", server.url, what="x", limit=5000).body) == 5000
        assert len(http.request("GET", server.url + "/chunked", what="x", limit=102400).body) == 102400


@both_engines
def test_endless_headers_are_refused(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        try:
            turn.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for i in range(10_000):
                turn.wfile.write(b"X-%d: %s\r\n" % (i, b"a" * 1000))
        except OSError:
            pass
        turn.close_connection = True

    with fault_server(script) as server, client(bulk=bulk, settings=replace(FAST, retry_time=0)) as http:
        with pytest.raises(Unreachable):
            http.request("GET", server.url, what="x")


def test_unreachable_hosts(tmp_path: Path) -> None:
    with client() as http:
        for url in ("http://127.0.0.1:1/", "http://nowhere.invalid/"):
            with pytest.raises(Unreachable) as caught:
                http.request("GET", url, what="thing: get")
            assert caught.value.problem.startswith(f"thing: get: {Url.parse(url).host}: ")


def test_bad_urls() -> None:
    with client() as http:
        for url in ("h/x", "ftp://h/", "https://user:hunter2@h/"):
            with pytest.raises(RemoteError) as caught:
                http.request("GET", url, what="x")
            assert "hunter2" not in str(caught.value)


# Redirects


@both_engines
def test_redirects_carry_no_credentials_to_another_host(bulk: bool) -> None:
    def home(turn: Turn, n: int) -> None:
        if turn.headers.get("Authorization") is None:
            turn.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            turn.reply(307, b"", {"Location": f"{storage.url}/blob?signature=1"})

    with fault_server(lambda turn, n: turn.reply(200, OK)) as storage, fault_server(home) as server:
        credentials = Registries(configs={server.host: HostConfig(credential=Credential("u", "p"))})
        with client(credentials, bulk=bulk) as http:
            assert http.request("GET", server.url, what="x", headers={"Cookie": "c", "Accept": "a"}).body == OK
    assert storage.requests[0].header("Authorization") is None
    assert storage.requests[0].header("Cookie") is None
    assert storage.requests[0].header("Accept") == "a"
    assert storage.requests[0].path == "/blob?signature=1"


@both_engines
def test_redirects_within_the_host_keep_credentials(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        if turn.headers.get("Authorization") is None:
            turn.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        elif turn.path == "/":
            turn.reply(302, b"", {"Location": "other"})
        else:
            turn.reply(200, turn.path.encode())

    with fault_server(script) as server:
        credentials = Registries(configs={server.host: HostConfig(credential=Credential("u", "p"))})
        with client(credentials, bulk=bulk) as http:
            assert http.request("GET", server.url, what="x").body == b"/other"


def test_a_challenge_of_the_storage_gets_nothing() -> None:
    def storage_script(turn: Turn, n: int) -> None:
        turn.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    with fault_server(storage_script) as storage:
        with fault_server(lambda turn, n: turn.reply(307, b"", {"Location": f"{storage.url}/b"})) as server:
            configs = {host: HostConfig(credential=Credential("u", "p")) for host in (server.host, storage.host)}
            with client(Registries(configs=configs)) as http, pytest.raises(Unauthorized):
                http.request("GET", server.url, what="x")
    assert len(storage.requests) == 1


@pytest.mark.parametrize(
    "location", ["ftp://x/", "https://u:p@h/", "http://a b/", "/loop", "https://127.0.0.1:1/x", "file:///etc/passwd"]
)
def test_redirects_that_lead_nowhere(location: str) -> None:
    with fault_server(lambda turn, n: turn.reply(302, b"", {"Location": location})) as server, client() as http:
        with pytest.raises(Unreachable):
            http.request("GET", server.url, what="x")


def test_a_change_is_not_redirected_to_another_host() -> None:
    with fault_server(lambda turn, n: turn.reply(200)) as other:
        moved = other.url.replace("127.0.0.1", "localhost")
        with fault_server(lambda turn, n: turn.reply(307, b"", {"Location": f"{moved}/"})) as server, client() as http:
            with pytest.raises(Unreachable, match="redirects PUT to another host"):
                http.request("PUT", server.url, what="x", content=b"x")
    assert other.requests == []


def test_no_redirect_down_to_plain_http(authority: Authority) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK)) as plain:
        with fault_server(lambda turn, n: turn.reply(307, b"", {"Location": plain.url}), tls=authority) as server:
            trust = trusting(authority, server.host)
            with client(trust) as http, pytest.raises(Unreachable, match="plain HTTP") as caught:
                http.request("GET", server.url, what="x")
            assert "registries.yaml" in caught.value.hint
            said = parse_registries(
                f'mirrors: {{s3: {{endpoint: ["{plain.url}"]}}}}'.encode(), where="x", base=Path("/")
            )
            with client(Registries(said.mirrors, trust.configs)) as http:
                assert http.request("GET", server.url, what="x").body == OK


# TLS


@both_engines
def test_private_ca(authority: Authority, bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK), tls=authority) as server:
        with client(trusting(authority, server.host), bulk=bulk) as http:
            assert http.request("GET", server.url, what="x").body == OK
        with client(bulk=bulk) as http, pytest.raises(Unreachable, match="not trusted") as caught:
            http.request("GET", server.url, what="x")
        assert "ca_file" in caught.value.hint
        skip = Registries(configs={server.host: HostConfig(tls=TlsSettings(insecure_skip_verify=True))})
        with client(skip, bulk=bulk) as http:
            assert http.request("GET", server.url, what="x").body == OK


@both_engines
def test_another_name_is_not_trusted(authority: Authority, bulk: bool) -> None:
    context = authority.issue("other.test").context()
    with fault_server(lambda turn, n: turn.reply(200), context=context) as server:
        with client(trusting(authority, server.host), bulk=bulk) as http:
            with pytest.raises(Unreachable, match="not trusted"):
                http.request("GET", server.url, what="x")
    assert server.requests == []


def test_ssl_cert_file(authority: Authority) -> None:
    """OpenSSL reads the variable itself when the first context is made: a process of its own shows it."""
    import sys

    code = (
        "import sys; from airbundle.transfer.http import HttpClient;"
        "from airbundle.transfer.settings import HttpSettings;"
        "print(HttpClient(HttpSettings(retry_time=1)).request('GET', sys.argv[1], what='x').status)"
    )
    with fault_server(lambda turn, n: turn.reply(200), tls=authority) as server:
        for ca, expected in ((str(authority.ca_file), "200\n"), ("/dev/null", "")):
            environment = {"SSL_CERT_FILE": ca, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
            done = subprocess.run(
                [sys.executable, "-c", code, server.url], capture_output=True, text=True, env=environment
            )
            assert done.stdout == expected, done.stderr


def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    context = authority.issue().context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=str(authority.ca_file))
    mine = authority.issue("client.test")
    with fault_server(lambda turn, n: turn.reply(200, OK), context=context) as server:
        tls = TlsSettings(str(authority.ca_file), str(mine.cert), str(mine.key))
        for bulk in (False, True):
            with client(Registries(configs={server.host: HostConfig(tls=tls)}), bulk=bulk) as http:
                assert http.request("GET", server.url, what="x").body == OK
            with client(trusting(authority, server.host), bulk=bulk, settings=replace(FAST, retry_time=0)) as http:
                with pytest.raises(Unreachable):
                    http.request("GET", server.url, what="x")


def test_files_that_are_none(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.pem").write_text("no PEM")
    locked = tmp_path / "locked.key"
    mine = authority.issue("client.test")
    subprocess.run(["openssl", "pkey", "-in", mine.key, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    for tls in (
        TlsSettings(ca_file=str(tmp_path / "ca.pem")),
        TlsSettings(ca_file="/no/such/file"),
        TlsSettings(cert_file=str(mine.cert), key_file=str(locked)),
    ):
        with client(Registries(configs={"h": HostConfig(tls=tls)})) as http, pytest.raises(UsageError, match="file"):
            http.request("GET", "https://h/", what="x")


@both_engines
def test_tls_and_plain_mixed_up(authority: Authority, bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200)) as plain, client(bulk=bulk) as http:
        with pytest.raises(Unreachable, match="TLS failed") as caught:
            http.request("GET", plain.url.replace("http:", "https:"), what="x")
        assert "plain HTTP" in caught.value.hint and "http:// in --registry" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"),
        (b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>", "text/html"),
    ],
)
def test_a_server_that_wants_tls_is_told(body: bytes, kind: str) -> None:
    with fault_server(lambda turn, n: turn.reply(400, body, {"Content-Type": kind})) as server, client() as http:
        with pytest.raises(Refused) as caught:
            http.request("GET", server.url, what="x")
        assert caught.value.hint == "the server speaks TLS: name it with https://"


@both_engines
def test_where_nothing_listens_the_next_step_is_told(bulk: bool) -> None:
    with client(bulk=bulk) as http:
        with pytest.raises(Unreachable, match="Connection refused") as caught:
            http.request("GET", f"http://127.0.0.1:{free_port()}/", what="x")
        assert "check host and port, that the server runs" in caught.value.hint
        with pytest.raises(Unreachable, match=r"name is not known|can't be looked up") as caught:
            http.request("GET", "http://nowhere.invalid/", what="x")
        assert "check the name, DNS" in caught.value.hint


def test_a_refusal_says_whose_credentials_they_were(tmp_path: Path) -> None:
    def ask(status: int, *files: Path) -> str:
        with fault_server(lambda turn, n: turn.reply(status, headers=challenge)) as server:
            for path in files:
                path.write_text(json.dumps({"auths": {server.url.partition("//")[2].strip("/"): {"auth": secret}}}))
            store = CredentialStore((tmp_path / "a.json", tmp_path / "b.json"))
            with HttpClient(FAST, credentials=store, proxies=Proxies()) as http, pytest.raises(Unauthorized) as caught:
                http.request("GET", server.url, what="x")
        assert "hunter2" not in caught.value.hint and secret not in caught.value.hint
        return caught.value.hint

    challenge = {"WWW-Authenticate": "Basic realm=x"}
    secret = b64encode(b"robot:hunter2").decode()
    none = ask(401)
    assert "docker login 127.0.0.1:" in none
    assert f"were found in registries.yaml, {tmp_path}/a.json, {tmp_path}/b.json" in none
    assert ask(401, tmp_path / "b.json").startswith(f"user 'robot' from {tmp_path}/b.json was refused: log in again")
    assert ask(403, tmp_path / "b.json").startswith(
        f"user 'robot' from {tmp_path}/b.json may not do this at 127.0.0.1:"
    )


def test_a_ca_holds_for_where_the_registry_leads_and_no_further(authority: Authority) -> None:
    """Blob storage behind a registry has the same private CA; but that CA must not come to vouch for other hosts."""
    with fault_server(lambda turn, n: turn.reply(200, OK), tls=authority) as storage:
        with fault_server(lambda turn, n: turn.reply(307, b"", {"Location": storage.url}), tls=authority) as server:
            with client(trusting(authority, server.host)) as http:
                assert http.request("GET", server.url, what="x").body == OK
                with pytest.raises(Unreachable, match="not trusted"):
                    http.request("GET", storage.url, what="x")


def test_an_unchecked_certificate_is_told_once(authority: Authority) -> None:
    told: list[str] = []

    class Teller:
        phase, event, warn = SILENT.phase, SILENT.event, staticmethod(told.append)

    with fault_server(lambda turn, n: turn.reply(200, OK), tls=authority) as server:
        skip = Registries(configs={server.host: HostConfig(tls=TlsSettings(insecure_skip_verify=True))})
        with HttpClient(
            FAST, registries=skip, credentials=CredentialStore(), proxies=Proxies(), reporter=Teller()
        ) as http:
            for _ in range(3):
                http.request("GET", server.url, what="x")
    assert told == [f"{server.host}: its certificate is not checked (insecure_skip_verify)"]


# Proxies: every name is 127.0.0.1 to the proxy, so that these names can only be reached through it.


@both_engines
def test_plain_http_through_a_proxy(bulk: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK)) as server, forward_proxy(secret="u:p@ss") as proxy:
        url = f"http://plain.example.test:{server.port}/a"
        with client(proxy={"HTTP_PROXY": proxy.url.replace("p@ss", "p%40ss")}, bulk=bulk) as http:
            assert http.request("GET", url, what="x").body == OK
    assert proxy.asked == [f"GET {url}"]
    assert server.requests[0].header("Proxy-Authorization") is None
    assert server.requests[0].header("Host") == f"plain.example.test:{server.port}"


@both_engines
def test_tls_through_a_proxy(authority: Authority, bulk: bool) -> None:
    with (
        fault_server(lambda turn, n: turn.reply(200, OK), tls=authority) as server,
        forward_proxy(secret="u:p") as proxy,
    ):
        host = f"tls.example.test:{server.port}"
        with client(trusting(authority, host), proxy={"HTTPS_PROXY": proxy.url}, bulk=bulk) as http:
            assert http.request("GET", f"https://{host}/a", what="x").body == OK
            assert http.request("GET", f"https://{host}/b", what="x").body == OK
    assert proxy.asked == [f"CONNECT {host}"]
    assert server.requests[0].header("Proxy-Authorization") is None


@both_engines
def test_no_proxy_is_obeyed(bulk: bool) -> None:
    with (
        forward_proxy() as proxy,
        client(
            proxy={"HTTP_PROXY": proxy.url, "NO_PROXY": ".example.test, 10.0.0.0/8"},
            bulk=bulk,
            settings=replace(FAST, retry_time=0),
        ) as http,
    ):
        with pytest.raises(Unreachable):
            http.request("GET", "http://plain.example.test/", what="x")
    assert proxy.asked == []


@both_engines
def test_a_proxy_that_wants_a_password(authority: Authority, bulk: bool) -> None:
    with forward_proxy(secret="u:topsecret") as proxy:
        wrong = proxy.url.replace("topsecret", "hunter2")
        with client(proxy={"HTTPS_PROXY": wrong, "HTTP_PROXY": wrong}, bulk=bulk) as http:
            with pytest.raises(AirbundleError, match="407") as caught:
                http.request("GET", "https://tls.example.test/", what="x")
            assert "hunter2" not in str(caught.value)
            with pytest.raises(AirbundleError, match="407"):
                http.request("GET", "http://plain.example.test/", what="x")
    assert len(proxy.asked) == 2


def test_a_proxy_that_speaks_tls(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """http.client knows no TLS within TLS: large bodies take httpx there."""
    from airbundle.transfer import tls as tls_module

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    monkeypatch.setattr(tls_module, "_contexts", {})
    with (
        fault_server(lambda turn, n: turn.reply(200, OK), tls=authority) as server,
        forward_proxy(tls=authority) as proxy,
    ):
        url = Url.parse(f"https://tls.example.test:{server.port}/a")
        with client(proxy={"HTTPS_PROXY": proxy.url}) as http:
            assert not isinstance(http.engine(url, bulk=True), BulkEngine)
            with http.attempt(Request("GET", url), what="x", bulk=True) as answer:
                assert read_all(answer, 100) == OK
    assert proxy.asked == [f"CONNECT {url.host}"]


# Connections


def test_bulk_connections_are_reused_and_stale_ones_replaced() -> None:
    sockets: list[object] = []

    def script(turn: Turn, n: int) -> None:
        sockets.append(turn.connection)
        if n == 2:
            # Announces nothing, and closes after the answer: the client can't know before it tries.
            turn.reply(200, OK)
            turn.close_connection = True
        else:
            turn.reply(200, OK)

    with fault_server(script) as server, client(bulk=True) as http:
        for _ in range(4):
            assert http.request("GET", server.url, what="x").body == OK
    assert len(sockets) == 4
    assert sockets[0] is sockets[1]
    assert sockets[1] is not sockets[2]
    assert sockets[2] is sockets[3]


def test_an_answer_gives_its_connection_back_once() -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK)) as server, client(bulk=True) as http:
        request = Request("GET", Url.parse(server.url))
        with http.attempt(request, what="x") as first:
            with first:
                assert read_all(first, 100) == OK
            with http.attempt(request, what="x") as second:  # the same connection, now in use
                first.__exit__(None, None, None)
                assert read_all(second, 100) == OK


@both_engines
def test_many_threads_share_a_client(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(503) if n % 7 == 0 else turn.reply(200, turn.path.encode() * 1000)

    failures: list[BaseException] = []
    with fault_server(script) as server, client(bulk=bulk) as http:

        def work(number: int) -> None:
            try:
                for i in range(10):
                    path = f"/{number}-{i}"
                    assert http.request("GET", server.url + path, what="x").body == path.encode() * 1000
            except (AirbundleError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@both_engines
def test_closing_ends_what_is_under_way(bulk: bool) -> None:
    arrived, release = threading.Event(), threading.Event()

    def script(turn: Turn, n: int) -> None:
        arrived.set()
        release.wait(30)
        turn.close_connection = True

    ended: list[BaseException] = []
    with fault_server(script) as server, client(bulk=bulk, settings=replace(FAST, stall_timeout=60)) as http:

        def work() -> None:
            try:
                http.request("GET", server.url, what="x")
            except AirbundleError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert arrived.wait(30)
        http.close()
        if not bulk:
            release.set()  # httpx's sockets can't be woken: they end with the answer, or by their timeout
        thread.join(30)
        assert not thread.is_alive()
        release.set()
    assert len(ended) == 1


@pytest.mark.parametrize("used", [False, True])
@both_engines
def test_a_closed_client_sends_nothing_more(bulk: bool, used: bool) -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK)) as server, client(bulk=bulk) as http:
        if used:
            http.request("GET", server.url, what="x")
        http.close()
        with pytest.raises(AirbundleError, match="the client is closed"):
            http.request("GET", server.url, what="x")
        assert len(server.requests) == used


def test_a_client_that_was_closed_before_its_first_request_sends_nothing() -> None:
    with fault_server(lambda turn, n: turn.reply(200, OK)) as server, HttpClient(FAST) as http:
        http.close()
        with pytest.raises(AirbundleError, match="the client is closed"):
            http.request("GET", server.url, what="x")
        assert not server.requests


@both_engines
def test_a_dripping_server_is_noticed(bulk: bool) -> None:
    def script(turn: Turn, n: int) -> None:
        if n > 1:
            turn.reply(200, OK)
            return
        turn.send_response(200)
        turn.send_header("Content-Length", "1000")
        turn.end_headers()
        try:
            for _ in range(1000):
                turn.wfile.write(b"a")
                stop.wait(0.02)
        except OSError:
            pass
        turn.close_connection = True

    stop = threading.Event()
    settings = replace(FAST, stall_timeout=0.2, stall_bytes=4096)
    with fault_server(script) as server, client(bulk=bulk, settings=settings) as http:
        assert http.request("GET", server.url, what="x").body == OK
        stop.set()


def test_an_early_refusal_is_read_though_the_body_is_not_taken() -> None:
    """A registry that answers 413 and closes, while megabytes are still on their way."""
    from airbundle.transfer.wire import Body

    def script(turn: Turn, n: int) -> None:
        turn.reply(413, b"too large", {"Connection": "close"})
        turn.wfile.flush()
        turn.connection.shutdown(1)
        turn.close_connection = True

    pieces = [memoryview(bytes(1 << 20))] * 32
    with fault_server(script, leave_bodies=True) as server, client() as http:
        body = Body(32 << 20, lambda: iter(pieces))
        request = Request("PUT", Url.parse(server.url), {}, body)
        with http.attempt(request, what="x", bulk=True) as answer:
            assert answer.status == 413


def test_settings_from_the_environment() -> None:
    assert HttpSettings.from_environment({}) == HttpSettings()
    assert HttpSettings.from_environment({"AIRBUNDLE_RETRY_SECONDS": "7"}).retry_time == 7
    for bad in ("x", "-1", "inf", "nan"):
        with pytest.raises(UsageError, match="AIRBUNDLE_RETRY_SECONDS"):
            HttpSettings.from_environment({"AIRBUNDLE_RETRY_SECONDS": bad})
