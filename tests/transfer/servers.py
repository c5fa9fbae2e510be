"""Servers that misbehave on purpose: one that answers as a function says, and a forward proxy.

They are real servers on loopback ports; what a test wants wrong is a few lines of Python in the test.
"""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from airbundle.transfer.settings import HttpSettings
from tests.support.tls import Authority

FAST = HttpSettings(
    connect_timeout=5,
    stall_timeout=5,
    retry_time=30,
    first_contact_time=0.05,
    mirror_time=0.05,
    backoff_base=0.0005,
    backoff_limit=0.005,
)
"""Settings that make retries quick, but plenty."""


@dataclass
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


class Turn(BaseHTTPRequestHandler):
    """One request, with ways to answer it, good and bad."""

    protocol_version = "HTTP/1.1"
    seen: Seen

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def _any(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        length = int(self.headers.get("Content-Length") or 0)
        self.seen = Seen(self.command, self.path, dict(self.headers.items()))
        if not server.state.leave_bodies:
            self.seen.body = self.rfile.read(length)
            if len(self.seen.body) < length:  # the client hung up: there is nobody to answer
                self.close_connection = True
                return
        with server.state.lock:
            server.state.requests.append(self.seen)
            number = len(server.state.requests)
        server.state.script(self, number)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def reply(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, short: int = 0
    ) -> None:
        """Answer; with `short`, end the connection that many bytes before the announced end."""
        self.send_response(status)
        given = {name.lower() for name in headers or ()}
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "content-length" not in given and "transfer-encoding" not in given:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) - short])
        if short:
            self.wfile.flush()
            self.close_connection = True

    def blob(self, data: bytes, *, ranges: bool = True, short: int = 0) -> None:
        """Answer with a blob; by Range where asked and wanted."""
        header = self.headers.get("Range", "")
        if ranges and header.startswith("bytes="):
            first = int(header[6:].partition("-")[0])
            rest = data[first:]
            self.reply(206, rest, {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}, short=short)
            return
        self.reply(200, data, short=short)

    def reset(self) -> None:
        """Tear the connection down with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


@dataclass
class FaultServer:
    """A server under way. `url` has no slash at its end; `requests` is what it saw."""

    script: Callable[[Turn, int], None]
    leave_bodies: bool = False
    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def paths(self, method: str) -> list[str]:
        return [seen.path for seen in self.requests if seen.method == method]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    state: FaultServer
    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.context is not None:
            connection.settimeout(10)
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def fault_server(
    script: Callable[[Turn, int], None],
    *,
    tls: Authority | None = None,
    host: str = "127.0.0.1",
    leave_bodies: bool = False,
    context: ssl.SSLContext | None = None,
) -> Iterator[FaultServer]:
    """Run a server whose answers `script(turn, number of the request)` gives.

    Args:
        host: loopback address to listen on; another one (127.0.0.2) is another host to a client.
        leave_bodies: let the script read request bodies.
        context: a server-side context in place of one by `tls`.
    """
    server = _Server((host, 0), Turn)
    if tls is not None and context is None:
        context = tls.issue("localhost", "127.0.0.1", "127.0.0.2", "*.example.test").context()
    server.context = context
    scheme = "http" if context is None else "https"
    state = FaultServer(script, leave_bodies, f"{scheme}://{host}:{server.server_address[1]}")
    server.state = state
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class ForwardProxy:
    """A forward proxy under way. Every host name is `127.0.0.1` to it. `asked` are the request lines it got."""

    url: str = ""
    secret: str = ""
    asked: list[str] = field(default_factory=list)


class _ProxyTurn(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            self._handle()
        except OSError:
            pass

    def _handle(self) -> None:
        state = self.server.state  # type: ignore[attr-defined]
        head: list[bytes] = []
        while True:
            line = self.rfile.readline(65536)
            if line in (b"\r\n", b"\n", b""):
                break
            head.append(line)
        if not head:
            return
        method, target, _ = head[0].decode("latin-1").split()
        state.asked.append(f"{method} {target}")
        expected = f"proxy-authorization: basic {b64encode(state.secret.encode()).decode()}".lower()
        if state.secret and not any(line.decode("latin-1").strip().lower() == expected for line in head):
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        if method == "CONNECT":
            with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as upstream:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pump(upstream)
            return
        host, _, path = target.partition("://")[2].partition("/")
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as upstream:
            kept = [line for line in head[1:] if not line.lower().startswith((b"proxy-", b"connection:"))]
            upstream.sendall(f"{method} /{path} HTTP/1.1\r\n".encode() + b"".join(kept) + b"Connection: close\r\n\r\n")
            self._pump(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        ends = {self.connection: upstream, upstream: self.connection}
        while True:
            for end in select.select(list(ends), [], [], 10)[0]:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


class _ProxyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    state: ForwardProxy
    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def forward_proxy(*, secret: str = "", tls: Authority | None = None) -> Iterator[ForwardProxy]:
    """Run a forward proxy. `secret` is the `user:password` it wants."""
    server = _ProxyServer(("127.0.0.1", 0), _ProxyTurn)
    if tls is not None:
        server.context = tls.issue().context()
    scheme = "http" if tls is None else "https"
    userinfo = f"{secret}@" if secret else ""
    server.state = ForwardProxy(f"{scheme}://{userinfo}127.0.0.1:{server.server_address[1]}", secret)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
