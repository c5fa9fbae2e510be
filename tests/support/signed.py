"""A registry with its blobs in a storage behind signed URLs, as clouds have them: each is good for one request.

The first answer to each blob breaks off in the middle; what goes on there needs a URL of its own.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.registries import Registry
from tests.support.storage import Storage

_BLOB = re.compile(r"/blobs/(sha256:[0-9a-f]{64})(?:[?]|$)")
_SIGNED = re.compile(r"/storage/(sha256:[0-9a-f]{64})[?]signature=([0-9]+)$")


@dataclass
class SignedUrls:
    """The front of such a registry.

    Attributes:
        continued: requests that went on in the middle of a blob.
        stale: requests with a URL that had been used before.
    """

    url: str
    continued: int = 0
    stale: int = 0
    given: int = 0
    used: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def signed_urls(registry: Registry) -> Iterator[SignedUrls]:
    """Run it on a free loopback port in front of a plain HTTP registry; the storage is a server of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            blob = _BLOB.search(self.path)
            if blob is not None and self.command == "GET":
                with front.lock:
                    front.given += 1
                    signature = front.given
                self.send_response(307)
                self.send_header("Location", f"{behind}/storage/{blob[1]}?signature={signature}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            signed = _SIGNED.match(self.path)
            if signed is not None:
                self.storage(*signed.groups())
                return
            upstream = http.client.HTTPConnection(registry.host)
            upstream.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = upstream.getresponse()
            self.whole(answer.status, answer.read(), dict(answer.getheaders()))

        do_HEAD = do_GET

        def storage(self, digest: str, signature: str) -> None:
            with front.lock:
                stale = signature in front.used
                front.used.add(signature)
                front.stale += stale
                whole = digest in front.broken
                front.broken.add(digest)
            if stale:
                self.whole(403, b"Request has expired", {})
                return
            data = Storage(registry.storage).blob_path(digest).read_bytes()
            wanted = re.match(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            front.continued += bool(start)
            ranges = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
            self.whole(206 if start else 200, data[start:], ranges, cut=0 if whole else len(data) // 2)

        def whole(self, status: int, body: bytes, headers: dict[str, str], cut: int = 0) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "date", "server", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", headers.get("Content-Length", str(len(body))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: cut or len(body)])
            if cut:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    url, behind = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    front = SignedUrls(url)
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True) for each in servers]
    for server, thread in zip(servers, threads):
        server.daemon_threads = True
        thread.start()
    try:
        yield front
    finally:
        for server, thread in zip(servers, threads):
            server.shutdown()
            server.server_close()
            thread.join()
