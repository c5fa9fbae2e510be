"""A connection that becomes a WebSocket: the request that asks for it, and messages both ways without a deadlock.

One thread reads and writes as the socket takes it: who only sent would wait for a server that waits for its answers to
be read.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from io import BytesIO

from airbundle.transfer.faults import os_fault
from airbundle.transfer.problems import Response
from airbundle.transfer.websocket import BINARY, CLOSE, PING, PONG, BadFrame, Messages, accept_of, frame
from airbundle.transfer.wire import Fault, Headers, Request

_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 64 * 1024
_CHUNK = 64 * 1024
_QUIET = 20.0
"""Seconds without a byte after which a ping shows proxies on the way that the connection is in use."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def shake_hands(connection: http.client.HTTPConnection, request: Request, key: str) -> tuple[Response, bytes]:
    """Read the answer to a request for a WebSocket that was sent; return it, and what came after its head.

    Args:
        connection: with its socket's timeout set.
        request: that was sent.
        key: its Sec-WebSocket-Key.

    Raises:
        Fault: no good answer, or 101 with the wrong key.
    """
    data = bytearray()
    try:
        while b"\r\n\r\n" not in data:
            _more(connection.sock, data, _HEAD_LIMIT)
        end = data.index(b"\r\n\r\n") + 4
        head, rest = bytes(data[:end]), data[end:]
        status = _STATUS.match(head)
        if status is None:
            raise Fault("no HTTP answer")
        headers = Headers(http.client.parse_headers(BytesIO(head[status.end() :])).items())
        if status[1] == b"101":
            if headers.get("sec-websocket-accept") != accept_of(key):
                raise Fault("the answer to the WebSocket's handshake is not the server's", passing=False)
            return Response(101, request.url, headers), bytes(rest)
        length = min(headers.number("content-length") or 0, _BODY_LIMIT)
        while len(rest) < length:
            _more(connection.sock, rest, _BODY_LIMIT)
        return Response(int(status[1]), request.url, headers, bytes(rest[:length])), b""
    except http.client.HTTPException:
        raise Fault("no HTTP answer") from None
    except OSError as error:
        raise os_fault(error, connecting=False) from None


def _more(sock: socket.socket, data: bytearray, limit: int) -> None:
    found = sock.recv(_CHUNK)
    if not found or len(data) + len(found) > limit + _CHUNK:
        raise Fault("the connection was closed without an answer")
    data += found


class Channel:
    """A WebSocket that is open: binary messages both ways, by one thread.

    Args:
        sock: of the connection.
        rest: what came on it already.
        limit: most bytes of a message that comes.
    """

    def __init__(self, sock: socket.socket, rest: bytes, limit: int) -> None:
        self._sock = sock
        self._messages = Messages(limit)
        self._rest = rest
        self._out = bytearray()
        self._deaf = False
        sock.setblocking(False)

    def send(self, payload: bytes) -> None:
        """Send a message, as soon as `receive` finds that there is room."""
        if not self._deaf:
            self._out += frame(BINARY, payload)

    @property
    def waiting(self) -> int:
        """Bytes that are not sent yet."""
        return len(self._out)

    def receive(self, end: float) -> Iterator[bytes]:
        """Yield messages as they come, until the server closes; an empty one after something was sent.

        Args:
            end: when to stop waiting, on the monotonic clock.

        Raises:
            TimeoutError: `end` came first.
            OSError: the connection was lost.
            BadFrame: the server sends what it may not.
        """
        quiet = time.monotonic()
        data: bytes | None = self._rest
        while True:
            for kind, payload in self._messages.feed(data or b""):
                if kind == CLOSE:
                    return
                if kind == PING:
                    self._out += b"" if self._deaf else frame(PONG, payload)
                elif kind != PONG:
                    yield payload
            now = time.monotonic()
            if now >= end:
                raise TimeoutError
            if now - quiet > _QUIET and not self._deaf:
                quiet = now
                self._out += frame(PING, b"")
            if self._write():
                yield b""
            data = self._read(min(end - now, _QUIET))
            if data:
                quiet = time.monotonic()
            elif data == b"":
                raise ConnectionResetError("the connection was closed")

    def _write(self) -> bool:
        """Send what goes; tell whether anything went."""
        if not self._out:
            return False
        try:
            count = self._sock.send(self._out[:_CHUNK])
        except _AGAIN:
            return False
        except OSError:
            # It listens no more; why, it may have said before.
            self._deaf = True
            self._out.clear()
            return False
        del self._out[:count]
        return bool(count)

    def _read(self, wait: float) -> bytes | None:
        """Return what came; nothing at the end of the connection, None when nothing came, or there is room to send."""
        pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
        if not pending:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._out else 0))
            if not poll.poll(max(wait, 0) * 1000):
                return None
        try:
            return self._sock.recv(_CHUNK)
        except _AGAIN:
            return None

    def close(self) -> None:
        """Say farewell, if there is room; the connection is closed by whoever opened it."""
        self._out = bytearray(frame(CLOSE, b"\x03\xe8"))
        try:
            self._write()
        except OSError:
            pass


__all__ = ["BadFrame", "Channel", "shake_hands"]
