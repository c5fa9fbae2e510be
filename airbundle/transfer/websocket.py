"""WebSocket frames (RFC 6455): bytes in, messages out, and the other way round; no sockets.

What a client needs and no more: no extensions, no compression. What a server may not send is refused.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_CONTINUATION = 0x0
_CONTROL = 0x8
_FINAL = 0x80
_MASKED = 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class BadFrame(ValueError):
    """A frame that no server may send, or a message that is too long."""


def new_key() -> str:
    """Return a Sec-WebSocket-Key (§4.1)."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def accept_of(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a key (§4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def frame(kind: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """Return one final frame, masked as a client must (§5.2, §5.3).

    Args:
        kind: TEXT, BINARY, CLOSE, PING or PONG.
        payload: of it; at most 125 bytes of the last three.
        mask: four bytes; by default by chance.
    """
    mask = secrets.token_bytes(4) if mask is None else mask
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _FINAL | kind, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FINAL | kind, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | kind, _MASKED | 127, size)
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Return a payload masked, or one that is masked as it was (§5.3)."""
    size = len(payload)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


class Messages:
    """Makes messages of what a server sends.

    Args:
        limit: most bytes of a message.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = bytearray()
        self._kind = _CONTINUATION
        self._parts = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and payload of the messages that are whole with `data`.

        Raises:
            BadFrame: a frame is none that a server may send.
        """
        self._left += data
        while True:
            found = self._frame()
            if found is None:
                return
            final, kind, payload = found
            if kind & _CONTROL:
                yield kind, payload
                continue
            if (kind == _CONTINUATION) != (self._kind != _CONTINUATION):
                raise BadFrame("a message begins within another one, or goes on without a beginning")
            self._kind = kind or self._kind
            self._parts += payload
            if len(self._parts) > self._limit:
                raise BadFrame(f"a message of more than {self._limit} bytes")
            if final:
                whole, kind = bytes(self._parts), self._kind
                self._parts.clear()
                self._kind = _CONTINUATION
                yield kind, whole

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """Take one frame; None where it isn't whole yet."""
        left = self._left
        if len(left) < 2:
            return None
        final, kind, size, start = bool(left[0] & _FINAL), left[0] & 0x0F, left[1] & 0x7F, 2
        if left[0] & 0x70 or kind not in (_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise BadFrame(f"a frame of an unknown kind: {left[0]:#x}")
        if left[1] & _MASKED:
            raise BadFrame("a masked frame from a server")
        if kind & _CONTROL and (size > 125 or not final):
            raise BadFrame("a control frame that is too long, or in parts")
        if size > 125:
            width = 2 if size == 126 else 8
            start += width
            if len(left) < start:
                return None
            size = int.from_bytes(left[2:start], "big")
        if size > self._limit:
            raise BadFrame(f"a frame of {size} bytes, more than the {self._limit} allowed")
        if len(left) < start + size:
            return None
        payload = bytes(left[start : start + size])
        del left[: start + size]
        return final, kind, payload
