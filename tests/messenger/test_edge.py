"""The edge's HAProxy configuration, run by a real HAProxy: who gets which request."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.messenger.conftest import documents, filled, read_site

DOMAIN = "messenger.internal"


def configuration() -> str:
    """Return the configuration as a small site has it."""
    (values,) = documents(filled("values/haproxy.yaml", read_site("small")))
    return str(values["config"])


def _haproxy() -> str:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    assert program, "haproxy is missing: scripts/test installs it"
    return program


class Backend:
    """Answers each request with its own name and what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            body = self.name.encode() + b"\n" + head
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@dataclass(frozen=True)
class Edge:
    """A running edge."""

    plain: int
    secure: int
    metrics: int
    trust: ssl.SSLContext

    def ask(self, host: str, path: str, **headers: str) -> tuple[int, str]:
        """Return status and body, asked by TLS."""
        with socket.create_connection(("127.0.0.1", self.secure), timeout=20) as connection:
            with self.trust.wrap_socket(connection, server_hostname=host.partition(":")[0]) as tls:
                asked = http.client.HTTPConnection(host)
                asked.sock = tls
                asked.request("GET", path, headers={"Host": host, **headers})
                answer = asked.getresponse()
                return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """HAProxy with the inventory's configuration; only addresses of this machine are put in."""
    home = tmp_path_factory.mktemp("edge")
    authority = trustme.CA()
    names = [
        DOMAIN,
        *(f"{name}.{DOMAIN}" for name in ("matrix", "account", "chat", "admin", "rtc", "grafana", "other")),
    ]
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(home / "tls-combined.pem")
    text = configuration().replace("/certs/", f"{home}/")
    with ExitStack() as stack:
        listeners = {}
        for port in (8080, 8443, 8404):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.set_inheritable(True)
            listeners[port] = listener
            text = text.replace(f"bind :{port}", f"bind fd@{listener.fileno()}")
        for name, server in re.findall(r"backend (\w+)\n\s+server a (\S+)", text):
            backend = Backend(name)
            stack.callback(backend.socket.close)
            text = text.replace(f"server a {server}\n", f"server a 127.0.0.1:{backend.port}\n", 1)
        (home / "haproxy.cfg").write_text(text)
        log = stack.enter_context((home / "log").open("wb"))
        process = subprocess.Popen(
            [_haproxy(), "-f", home / "haproxy.cfg"],
            stdout=log,
            stderr=log,
            pass_fds=[each.fileno() for each in listeners.values()],
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        ports = {port: int(listener.getsockname()[1]) for port, listener in listeners.items()}
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        yield _ready(Edge(ports[8080], ports[8443], ports[8404], trust), process, home / "log")


def _ready(edge: Edge, process: subprocess.Popen[bytes], log: Path) -> Edge:
    end = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            asked = http.client.HTTPConnection("127.0.0.1", edge.metrics, timeout=5)
            asked.request("GET", "/healthz")
            if asked.getresponse().status == 200:
                return edge
        except OSError:
            time.sleep(0.05)


def test_haproxy_accepts_the_configuration(tmp_path: Path) -> None:
    trustme.CA().issue_cert(DOMAIN).private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls-combined.pem")
    (tmp_path / "haproxy.cfg").write_text(configuration().replace("/certs/", f"{tmp_path}/"))
    done = subprocess.run(
        [_haproxy(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("host", "path", "backend"),
    [
        ("", "/.well-known/matrix/client", "well_known"),
        ("", "/", "well_known"),
        ("matrix.", "/_matrix/client/versions", "synapse"),
        ("matrix.", "/_matrix/client/v3/sync?timeout=30000", "synapse"),
        ("matrix.", "/_matrix/media/v3/upload", "synapse"),
        ("matrix.", "/_synapse/admin/v1/server_version", "synapse"),
        ("matrix.", "/_matrix/client/v3/login", "auth"),
        ("matrix.", "/_matrix/client/r0/logout/all", "auth"),
        ("matrix.", "/_matrix/client/v3/login/sso/redirect", "auth"),
        ("matrix.", "/_matrix/client/v3/loginx", "synapse"),
        ("matrix.", "/_matrix/hookshot/widgetapi/v1/x", "hookshot_widgets"),
        ("matrix.", "/_matrix/hookshot/webhook/abc", "hookshot"),
        ("account.", "/.well-known/openid-configuration", "auth"),
        ("chat.", "/config.json", "element"),
        ("admin.", "/", "element_admin"),
        ("rtc.", "/sfu/get", "rtc_token"),
        ("rtc.", "/get_token", "rtc_token"),
        ("rtc.", "/rtc", "sfu"),
        ("grafana.", "/api/health", "grafana"),
    ],
)
def test_who_gets_a_request(edge: Edge, host: str, path: str, backend: str) -> None:
    status, body = edge.ask(f"{host}{DOMAIN}", path)
    assert (status, body.splitlines()[0]) == (200, backend)


def test_case_and_port_of_a_host_do_not_matter(edge: Edge) -> None:
    for host in (f"Matrix.{DOMAIN.title()}", f"matrix.{DOMAIN}:443"):
        assert edge.ask(host, "/_matrix/client/versions")[1].startswith("synapse\n")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("other.", "/"),
        ("matrix.", "/"),
        ("matrix.", "/_synapse/metrics"),
        ("matrix.", "/metrics"),
        ("xmatrix.", "/_matrix/"),
    ],
)
def test_nobody_else_gets_anything(edge: Edge, host: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", edge.secure), timeout=20) as connection:
        with edge.trust.wrap_socket(connection, server_hostname=f"other.{DOMAIN}") as tls:
            asked = http.client.HTTPConnection(f"{host}{DOMAIN}")
            asked.sock = tls
            asked.request("GET", path)
            assert asked.getresponse().status == 404


def test_what_a_client_says_of_its_address_is_not_believed(edge: Edge) -> None:
    _, body = edge.ask(
        f"matrix.{DOMAIN}", "/_matrix/client/versions", **{"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "http"}
    )
    head = body.lower()
    assert "x-forwarded-for: 127.0.0.1" in head
    assert "9.9.9.9" not in head
    assert "x-forwarded-proto: https" in head
    assert "x-forwarded-proto: http\r" not in head


def test_plain_http_leads_to_tls(edge: Edge) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", edge.plain, timeout=20)
    asked.request("GET", "/a?b=c", headers={"Host": f"chat.{DOMAIN}"})
    answer = asked.getresponse()
    assert (answer.status, answer.getheader("Location")) == (301, f"https://chat.{DOMAIN}/a?b=c")


def test_prometheus_is_answered_on_a_port_of_its_own(edge: Edge) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", edge.metrics, timeout=20)
    asked.request("GET", "/metrics")
    answer = asked.getresponse()
    assert answer.status == 200
    assert b"haproxy_frontend_http_responses_total" in answer.read()


def test_old_tls_is_refused(edge: Edge) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.secure}", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout
