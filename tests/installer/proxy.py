"""A TCP proxy that stops forwarding after so many bytes from its clients: a place to cut a transfer, without timing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StallingProxy:
    """Forwards connections to `target` until `limit` bytes came from clients; then it forwards nothing more.

    Attributes:
        host: `127.0.0.1:<port>`.
        stalled: set when the limit was reached.
        received: bytes that came from clients.
    """

    def __init__(self, target: tuple[str, int], limit: int) -> None:
        self._target = target
        self._left = limit
        self.received = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.stalled = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        while True:
            try:
                data = source.recv(64 * 1024)
                if counted and not self._allowed(len(data)):
                    return
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return

    def _allowed(self, count: int) -> bool:
        with self._lock:
            self.received += count
            self._left -= count
            if self._left < 0:
                self.stalled.set()
            return self._left >= 0

    def go_on(self) -> None:
        """End all connections, and forward everything from now on."""
        with self._lock:
            ended, self._sockets = self._sockets, []
            self._left = 1 << 60
            self.received = 0
        for each in ended:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """End it and all connections."""
        for each in [self._listener, *self._sockets]:
            each.close()


@contextmanager
def stalling_proxy(port: int, limit: int) -> Iterator[StallingProxy]:
    """Run a proxy to a port of this host for the length of a `with` block."""
    proxy = StallingProxy(("127.0.0.1", port), limit)
    try:
        yield proxy
    finally:
        proxy.close()
