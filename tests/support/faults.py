"""A reverse proxy in front of a real server that spoils some answers: what enterprise networks do to registries.

    with faulty(registry.url, [Fault("reset", path="/blobs/", after=100_000, times=2)]) as proxy:
        ...  # use proxy.host in place of registry.host

Each fault applies to the requests whose method and path fit, `times` times, beginning with the `skip`ped-over ones left
alone. What no fault fits passes unchanged. Plain HTTP on both sides; one thread a connection.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["reset", "truncate", "stall", "status", "wrong-bytes", "no-range"]


@dataclass
class Fault:
    """One way to spoil answers.

    Attributes:
        kind: after `after` bytes of body `reset` the connection (RST), `truncate` (orderly end) or `stall` `seconds`
            and go on; answer `status` instead; flip a bit of the byte `after`; ignore Range (200, all).
        path: a regular expression that is found in the path.
        every: only each such request of those that fit (100: one in a hundred).
        times: how often at most.
        retry_after: the value of `Retry-After`, with `status`.
    """

    kind: Kind
    path: str = ""
    method: str = "GET"
    after: int = 0
    status: int = 503
    retry_after: str = ""
    seconds: float = 0.0
    every: int = 1
    times: int = 1 << 30
    skip: int = 0
    done: int = 0
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Tell whether this request is spoiled; counts it."""
        if method != self.method or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip or self.done >= self.times or (self.seen - self.skip) % self.every:
            return False
        self.done += 1
        return True


@dataclass
class FaultyProxy:
    """A proxy under way.

    Attributes:
        faults: with their counts.
        rate: bytes of bodies that all answers together may have in a second; 0 for as many as come.
        requests: all of them: method, path, Range.
        sent: bytes of bodies that went out.
        target: host of the server behind it; it may become another one.
    """

    host: str
    target: str
    faults: Sequence[Fault]
    rate: float = 0.0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _due: float = 0.0

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://{self.host}"

    def fault_for(self, method: str, path: str, ranges: str) -> Fault | None:
        """Record a request and choose the fault that strikes it."""
        with self.lock:
            self.requests.append((method, path, ranges))
            return next((fault for fault in self.faults if fault.strikes(method, path)), None)

    def pace(self, count: int) -> None:
        """Count bytes that are about to go out, and wait until it is their turn."""
        with self.lock:
            self.sent += count
            if not self.rate:
                return
            self._due = max(self._due, time.monotonic()) + count / self.rate
            wait = self._due - time.monotonic()
        time.sleep(max(wait, 0.0))


@dataclass
class Hook(Fault):
    """No fault: calls `then` when it strikes, and lets the request pass."""

    then: Callable[[], None] = field(default=lambda: None)

    def strikes(self, method: str, path: str) -> bool:
        """Call, and say no."""
        if super().strikes(method, path):
            self.then()
        return False


def hook(then: Callable[[], None], **fields: Any) -> Hook:
    """Return a hook; `fields` are those of a fault."""
    return Hook("status", then=then, **fields)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        if self.proxy.rate:
            # What lies in the kernel's buffers was never fetched: as little of it as can be.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def _pass(self) -> None:
        fault = self.proxy.fault_for(self.command, self.path, self.headers.get("Range", ""))
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.kind == "status":
            self.rfile.read(length)
            self._refuse(fault)
            return
        upstream = http.client.HTTPConnection(self.proxy.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if fault is not None and fault.kind == "no-range":
                headers = {name: value for name, value in headers.items() if name.lower() != "range"}
            chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
            body = self._chunks() if chunked else self.rfile.read(length) if length else None
            upstream.request(self.command, self.path, body=body, headers=headers, encode_chunked=chunked)
            self._relay(upstream.getresponse(), fault)
        finally:
            upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _refuse(self, fault: Fault) -> None:
        self.send_response(fault.status)
        if fault.retry_after:
            self.send_header("Retry-After", fault.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _relay(self, answer: http.client.HTTPResponse, fault: Fault | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        sent = 0
        while chunk := answer.read1(65536):
            if fault is not None and fault.kind != "no-range" and sent <= fault.after < sent + len(chunk):
                whole = fault.kind in {"stall", "wrong-bytes"}
                chunk = self._spoil(fault, chunk, fault.after - sent)
                if not whole:
                    return
            self.proxy.pace(len(chunk))
            self.wfile.write(chunk)
            sent += len(chunk)

    def _spoil(self, fault: Fault, chunk: bytes, at: int) -> bytes:
        if fault.kind == "wrong-bytes":
            return chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
        self.wfile.write(chunk[:at])
        self.wfile.flush()
        if fault.kind == "stall":
            time.sleep(fault.seconds)
            return chunk[at:]
        self.close_connection = True
        if fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return b""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def faulty(url: str, faults: Sequence[Fault] = (), *, rate: float = 0.0) -> Iterator[FaultyProxy]:
    """Run a proxy in front of the plain HTTP server at `url` on a free loopback port; `rate` is in bytes a second."""
    scheme, _, target = url.partition("://")
    assert scheme == "http", "the proxy looks into what passes: plain HTTP only"
    server = _Server(("127.0.0.1", 0), _Handler)
    proxy = FaultyProxy(f"127.0.0.1:{server.server_address[1]}", target, faults, rate)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"proxy": proxy})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
