"""The engine for large bodies: http.client, read straight into the caller's buffer.

httpx's streams cost several times the CPU per byte (docs/decisions/0010), so blobs go this way. Connections are kept
for each origin and reused; one that the server closed while it lay idle is noticed and replaced.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional

from airbundle.transfer.bulk_answer import BulkAnswer
from airbundle.transfer.bulk_send import BROKEN, connect_fault, make_connection, write_request
from airbundle.transfer.faults import NO_HTTP_HINT, closed_fault, os_fault
from airbundle.transfer.proxies import Proxy
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Answer, Fault, Request, Url

Route = tuple[TlsSettings, Optional[Proxy]]
_Key = tuple[tuple[str, str, int], TlsSettings, Optional[Proxy]]

_IDLE_PER_ORIGIN = 64


class BulkEngine:
    """Exchanges through http.client."""

    def __init__(self, settings: HttpSettings, route: Callable[[Request], Route]) -> None:
        self._settings = settings
        self._route = route
        self._idle: dict[_Key, list[tuple[http.client.HTTPConnection, float]]] = {}
        self._busy: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._closed = False

    @staticmethod
    def serves(url: Url, proxy: Proxy | None) -> bool:
        """Tell whether this engine can reach `url`: http.client knows no TLS within TLS, nor tunnels to IPv6."""
        return proxy is None or (proxy.url.scheme == "http" and not url.hostname.startswith("["))

    def exchange(self, request: Request) -> Answer:
        """Send the request and read the answer's head. Raises Fault."""
        tls, proxy = self._route(request)
        key = (request.url.origin, tls, proxy)
        connection = self._take(key)
        if connection is not None:
            try:
                return self._send(connection, key, request, reused=True)
            except _Stale:
                if request.method not in {"GET", "HEAD"}:
                    # It may have been acted upon: what is to be done then is for the caller to know.
                    raise Fault("the connection was closed without an answer") from None
        connection = self._connect(request.url, tls, proxy)
        return self._send(connection, key, request, reused=False)

    @contextmanager
    def connection(self, request: Request) -> Iterator[http.client.HTTPConnection]:
        """Send a request on a connection of its own, and give that: for what goes on otherwise than HTTP.

        Raises:
            Fault: it can't be sent.
        """
        tls, proxy = self._route(request)
        if not self.serves(request.url, proxy):
            raise Fault("there is no way through this kind of proxy", passing=False, hint="see NO_PROXY")
        connection = self._connect(request.url, tls, proxy)
        try:
            try:
                write_request(connection, request, proxy, self._settings.user_agent)
            except OSError as error:
                raise os_fault(error, connecting=False) from None
            yield connection
        finally:
            self._drop(connection)

    def close(self) -> None:
        """Close all connections; those in use fail at once."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection, _ in kept]
            self._idle.clear()
            busy = list(self._busy)
        for connection in busy:
            _shut(connection)
        for connection in idle:
            connection.close()

    def _take(self, key: _Key) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                kept = self._idle.get(key)
                if not kept:
                    return None
                connection, since = kept.pop()
                self._busy.add(connection)
            if time.monotonic() - since < self._settings.idle_time and _quiet(connection):
                return connection
            self._drop(connection)

    def _release(self, key: _Key, connection: http.client.HTTPConnection, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            kept = self._idle.setdefault(key, [])
            if reusable and not self._closed and len(kept) < _IDLE_PER_ORIGIN:
                kept.append((connection, time.monotonic()))
                return
        connection.close()

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _connect(self, url: Url, tls: TlsSettings, proxy: Proxy | None) -> http.client.HTTPConnection:
        connection = make_connection(url, tls, proxy, self._settings.connect_timeout)
        with self._lock:
            if self._closed:
                raise closed_fault()
            self._busy.add(connection)
        try:
            connection.connect()
        except OSError as error:
            self._drop(connection)
            raise connect_fault(error) from None
        except http.client.HTTPException as error:
            self._drop(connection)
            raise Fault(f"no HTTP from the proxy: {_name(error)}", contact=False) from None
        connection.sock.settimeout(self._settings.stall_timeout)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _send(self, connection: http.client.HTTPConnection, key: _Key, request: Request, *, reused: bool) -> Answer:
        done = False
        try:
            broken = write_request(connection, request, key[2], self._settings.user_agent)
            response = _response(connection, broken)
            done = True
            return BulkAnswer(response, self._settings, lambda reusable: self._release(key, connection, reusable))
        except BROKEN as error:  # RemoteDisconnected is one of them
            if reused:
                raise _Stale from None
            raise Fault(error.strerror or "the connection was closed without an answer", hint=NO_HTTP_HINT) from None
        except OSError as error:
            raise os_fault(error, connecting=False) from None
        except http.client.HTTPException as error:
            raise Fault(f"no HTTP answer: {_name(error)}", hint=NO_HTTP_HINT) from None
        finally:
            if not done:
                self._drop(connection)


class _Stale(Exception):
    """A connection that lay idle had been closed by the server."""


def _response(connection: http.client.HTTPConnection, broken: OSError | None) -> http.client.HTTPResponse:
    try:
        return connection.getresponse()
    except OSError:
        if broken is not None:
            raise broken from None
        raise


def _quiet(connection: http.client.HTTPConnection) -> bool:
    """Tell whether an idle connection is still open: a readable one has been closed, or is out of step."""
    try:
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return not poll.poll(0)
    except (OSError, ValueError, TypeError):
        return False


def _shut(connection: http.client.HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _name(error: BaseException) -> str:
    return type(error).__name__
