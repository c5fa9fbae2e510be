"""The engine for large bodies: http.client, read straight into the caller's buffer.

httpx's streams cost about twice the CPU per byte (docs/decisions/0010), so blobs go this way. Connections are kept for
each origin and reused; one that the server closed while it lay idle is noticed and replaced.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from types import TracebackType
from typing import Optional

from airbundle.transfer.faults import os_fault
from airbundle.transfer.proxies import Proxy
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings, client_context
from airbundle.transfer.wire import Answer, Body, Content, Fault, Headers, Request, Url

Route = tuple[TlsSettings, Optional[Proxy]]
_Key = tuple[tuple[str, str, int], TlsSettings, Optional[Proxy]]

_IDLE_PER_ORIGIN = 16
_BROKEN = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


class BulkEngine:
    """Exchanges through http.client."""

    def __init__(self, settings: HttpSettings, route: Callable[[Url], Route]) -> None:
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
        tls, proxy = self._route(request.url)
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
            self.drop(connection)

    def keep(self, key: _Key, connection: http.client.HTTPConnection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            self._busy.discard(connection)
            kept = self._idle.setdefault(key, [])
            if not self._closed and len(kept) < _IDLE_PER_ORIGIN:
                kept.append((connection, time.monotonic()))
                return
        connection.close()

    def drop(self, connection: http.client.HTTPConnection) -> None:
        """Close a connection that can't be used again."""
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _connect(self, url: Url, tls: TlsSettings, proxy: Proxy | None) -> http.client.HTTPConnection:
        connection = _make(url, tls, proxy, self._settings.connect_timeout)
        with self._lock:
            if self._closed:
                raise Fault("the client is closed", passing=False)
            self._busy.add(connection)
        try:
            connection.connect()
        except OSError as error:
            self.drop(connection)
            raise _connect_fault(error) from None
        except http.client.HTTPException as error:
            self.drop(connection)
            raise Fault(f"no HTTP from the proxy: {_name(error)}", contact=False) from None
        connection.sock.settimeout(self._settings.stall_timeout)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _send(self, connection: http.client.HTTPConnection, key: _Key, request: Request, *, reused: bool) -> Answer:
        done = False
        try:
            broken = _write(connection, request, key[2], self._settings.user_agent)
            response = _response(connection, broken)
            done = True
            return _Answer(self, connection, key, response, self._settings)
        except _BROKEN as error:  # RemoteDisconnected is one of them
            if reused:
                raise _Stale from None
            raise Fault(error.strerror or "the connection was closed without an answer") from None
        except OSError as error:
            raise os_fault(error, connecting=False) from None
        except http.client.HTTPException as error:
            raise Fault(f"no HTTP answer: {_name(error)}") from None
        finally:
            if not done:
                self.drop(connection)


class _Stale(Exception):
    """A connection that lay idle had been closed by the server."""


def _response(connection: http.client.HTTPConnection, broken: OSError | None) -> http.client.HTTPResponse:
    try:
        return connection.getresponse()
    except OSError:
        if broken is not None:
            raise broken from None
        raise


def _make(url: Url, tls: TlsSettings, proxy: Proxy | None, timeout: float) -> http.client.HTTPConnection:
    peer = url if proxy is None else proxy.url
    hostname = peer.hostname.strip("[]")
    if url.scheme == "http":
        return http.client.HTTPConnection(hostname, peer.port, timeout=timeout)
    connection = http.client.HTTPSConnection(hostname, peer.port, timeout=timeout, context=client_context(tls))
    if proxy is not None:
        connection.set_tunnel(url.hostname, url.port, headers=_proxy_headers(proxy))
    return connection


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    if not proxy.username and not proxy.password:
        return {}
    value = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {value}"}


def _connect_fault(error: OSError) -> Fault:
    refused = re.fullmatch(r"Tunnel connection failed: (\d{3}).*", str(error))
    if refused is None:
        return os_fault(error, connecting=True)
    hint = (
        "put user and password into HTTPS_PROXY"
        if refused[1] == "407"
        else "ask the proxy's administrators, or see NO_PROXY"
    )
    passing = refused[1] not in {"403", "407"}
    return Fault(f"the proxy answered {refused[1]}", passing=passing, contact=False, hint=hint)


def _write(
    connection: http.client.HTTPConnection, request: Request, proxy: Proxy | None, user_agent: str
) -> OSError | None:
    """Send the request. A body that the server stopped reading is no error yet: its answer says why."""
    url = request.url
    through = proxy is not None and url.scheme == "http"
    connection.putrequest(
        request.method, str(url) if through else url.target, skip_host=True, skip_accept_encoding=True
    )
    connection.putheader("Host", url.host)
    connection.putheader("User-Agent", user_agent)
    connection.putheader("Accept-Encoding", "identity")
    if proxy is not None and through:
        for name, value in _proxy_headers(proxy).items():
            connection.putheader(name, value)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    length = _length(request.method, request.content)
    if length is not None:
        connection.putheader("Content-Length", str(length))
    connection.endheaders()
    pieces = request.content.pieces() if isinstance(request.content, Body) else ()
    try:
        if isinstance(request.content, bytes) and request.content:
            connection.send(request.content)
        for piece in pieces:
            try:
                connection.send(piece)
            except _BROKEN as error:
                return error
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    return None


def _length(method: str, content: Content) -> int | None:
    if isinstance(content, Body):
        return content.length
    if content is None:
        return 0 if method in {"POST", "PUT", "PATCH"} else None
    return len(content)


class _Answer:
    """http.client's response as an Answer: reads into the caller's buffer, one `recv` at a time.

    `HTTPResponse.readinto` returns only when the buffer is full: a server that drips one byte a minute would never
    be noticed. So bodies of known length are read from its buffered reader, one system call at a time.
    """

    def __init__(
        self,
        engine: BulkEngine,
        connection: http.client.HTTPConnection,
        key: _Key,
        response: http.client.HTTPResponse,
        settings: HttpSettings,
    ) -> None:
        self.status = response.status
        self.headers = Headers(response.getheaders())
        self._engine = engine
        self._connection = connection
        self._key = key
        self._response = response
        self._left = response.length
        self._ended = False
        self._pace = _Pace(settings)

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes of the body."""
        try:
            count = self._read(buffer)
        except OSError as error:
            raise os_fault(error, connecting=False) from None
        except http.client.HTTPException as error:
            raise Fault(f"the body broke off: {_name(error)}") from None
        except ValueError:
            raise Fault("the connection was closed") from None
        if count:
            self._pace.moved(count)
        return count

    def _read(self, buffer: memoryview) -> int:
        response = self._response
        if self._left is None:
            data = response.read1(len(buffer))  # chunked, or until the connection closes
            buffer[: len(data)] = data
            return len(data)
        if not self._left or not len(buffer):
            return 0
        reader = response.fp
        count = reader.readinto1(buffer[: self._left] if len(buffer) > self._left else buffer)
        if not count:
            raise Fault(f"the connection ended {self._left} bytes too early")
        self._left -= count
        return count

    def _at_end(self) -> bool:
        if self._left is None:
            return self._response.isclosed()
        if self._left:
            return False
        # http.client counts what its own methods read; told that nothing is left, it closes the response.
        self._response.length = 0
        self._response.read(0)
        return True

    def __enter__(self) -> _Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return  # the connection may serve another thread by now
        self._ended = True
        reusable = kind is None and not self._response.will_close and self._drained()
        self._response.close()
        if reusable:
            self._engine.keep(self._key, self._connection)
        else:
            self._engine.drop(self._connection)

    def _drained(self) -> bool:
        """Read the little that may be left (an error's text) so that the connection can be used again."""
        if self._at_end():
            return True
        with memoryview(bytearray(16 * 1024)) as view:
            try:
                for _ in range(4):
                    if not self.readinto(view):
                        break
            except Fault:
                return False
        return self._at_end()


class _Pace:
    """Notices a line on which next to nothing moves, though each single read succeeds."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._since = time.monotonic()
        self._bytes = 0

    def moved(self, count: int) -> None:
        self._bytes += count
        if self._bytes >= self._settings.stall_bytes:
            self._since, self._bytes = time.monotonic(), 0
        elif time.monotonic() - self._since > self._settings.stall_timeout:
            raise Fault(f"only {self._bytes} bytes came in {self._settings.stall_timeout:g} s")


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
