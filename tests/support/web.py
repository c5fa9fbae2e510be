"""A small web server for tests: files from memory, TLS, basic auth, faults, and a log of what was asked."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.tls import Authority

USER, PASSWORD = "robot", "s3cret-Passw0rd"


@dataclass
class Web:
    """What is served, and what was asked.

    Attributes:
        files: path (with its slash) to content; redirects are `Redirect`.
        faults: path to statuses that are answered first, one at a time; 0 cuts the connection.
        asked: method, path and Authorization header of each request.
    """

    url: str
    files: dict[str, bytes | Redirect] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [path for _, path, _ in self.asked]


@dataclass(frozen=True)
class Redirect:
    """An answer 302 to `url`."""

    url: str


@contextmanager
def serve(*, tls: Authority | None = None, auth: bool = False) -> Iterator[Web]:
    """Serve on a free loopback port for the length of a `with` block.

    Args:
        tls: serve HTTPS with a certificate of this CA.
        auth: ask for USER and PASSWORD.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "")
            web.asked.append((self.command, self.path, sent))
            faults = web.faults.get(self.path)
            if faults:
                self.fault(faults.pop(0))
                return
            if auth and sent != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
                self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="test"'})
                return
            content = web.files.get(self.path)
            if content is None:
                self.answer(404, b"nothing here", {})
            elif isinstance(content, Redirect):
                self.answer(302, b"", {"Location": content.url})
            else:
                self.answer(200, content, {})

        do_HEAD = do_GET

        def fault(self, status: int) -> None:
            if status:
                self.answer(status, b"", {})
            else:
                self.close_connection = True

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up are what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        certificate = tls.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web = Web(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
