"""A small web server that tells what it was asked, with TLS where a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from airbundle.transfer.probe import BODY_LIMIT
from tests.support.tls import Authority


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"/large": b"x" * (BODY_LIMIT + 10)}.get(self.path, f"{self.path} of {self.headers['Host']}".encode())
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "http://example.org/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(authority: Authority | None = None, *names: str) -> Iterator[int]:
    """Serve on loopback and yield the port; `/away` redirects, `/large` is larger than what is looked at."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    if authority:
        server.socket = (
            authority.issue(*names)
            .context()
            .wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
