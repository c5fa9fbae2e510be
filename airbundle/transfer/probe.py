"""Questions to a site's own services, as its clients ask them: a connection, a certificate, an answer over HTTP.

Straight to the addresses given, past proxies, without redirects, once: whoever asks decides when to ask again. Only the
CA given is trusted. All is bounded in time and size.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from airbundle.errors import Unreachable

BODY_LIMIT = 1 << 20
"""Most bytes of an answer that are looked at."""
_PART = 64 * 1024


@dataclass(frozen=True)
class Target:
    """Where to connect: the name that clients use, the port, and the addresses that the name stands for."""

    host: str
    port: int
    addresses: Sequence[str]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def probe_tcp(target: Target, *, timeout: float) -> None:
    """Connect and hang up.

    Raises:
        Unreachable: no address takes the connection; says why.
    """
    with _connected(target, timeout):
        pass


def probe_tls(target: Target, ca: bytes, *, timeout: float) -> datetime:
    """Return when the certificate ends that a server shows, verified against `ca` and for the target's host.

    Args:
        target: the server.
        ca: PEM of what is trusted.
        timeout: seconds for all.

    Raises:
        Unreachable: no connection, or a certificate that does not hold; says why.
    """
    with _connected(target, timeout) as plain, _secured(plain, target, ca, timeout) as connection:
        certificate = connection.getpeercert() or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), timezone.utc)


def probe_http(target: Target, path: str, ca: bytes | None, *, timeout: float) -> tuple[int, bytes]:
    """Return status and the first MiB of what a server answers to GET.

    Args:
        target: the server.
        path: with its query.
        ca: PEM of what is trusted; None: plain HTTP.
        timeout: seconds for all.

    Raises:
        Unreachable: no answer, or a certificate that does not hold; says why.
    """
    with _connected(target, timeout) as plain:
        if ca is None:
            return _get(plain, target, path, 80, timeout)
        with _secured(plain, target, ca, timeout) as connection:
            return _get(connection, target, path, 443, timeout)


def _get(connection: socket.socket, target: Target, path: str, usual: int, timeout: float) -> tuple[int, bytes]:
    end = time.monotonic() + timeout
    client = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    client.sock = connection
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {"Host": host if target.port == usual else str(target), "Accept": "*/*", "User-Agent": "airbundle"}
    try:
        client.request("GET", path, headers={**headers, "Connection": "close"})
        answer = client.getresponse()
        parts, left = [], BODY_LIMIT
        while left > 0 and time.monotonic() < end:
            part = answer.read1(min(_PART, left))
            if not part:
                break
            parts.append(part)
            left -= len(part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{target}: no answer over HTTP: {_reason(error)}", side="site") from None
    return answer.status, b"".join(parts)


@contextmanager
def _connected(target: Target, timeout: float) -> Iterator[socket.socket]:
    reasons = []
    connection = None
    for address in target.addresses:
        try:
            connection = socket.create_connection((address, target.port), timeout=timeout)
            break
        except (OSError, OverflowError) as error:
            reasons.append(f"{address}: {_reason(error)}")
    if connection is None:
        why = "; ".join(reasons) or "nobody knows an address of this name"
        raise Unreachable(f"{target}: no connection: {why}", side="site")
    with connection, _guarded(connection, timeout):
        yield connection


@contextmanager
def _secured(connection: socket.socket, target: Target, ca: bytes, timeout: float) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca.decode())
        secured = context.wrap_socket(connection, server_hostname=target.host, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        raise Unreachable(f"{target}: no TLS: {_reason(error)}", side="site") from None
    with secured, _guarded(secured, timeout):
        try:
            secured.do_handshake()
        except OSError as error:
            raise Unreachable(f"{target}: no TLS: {_reason(error)}", side="site") from None
        yield secured


@contextmanager
def _guarded(connection: socket.socket, timeout: float) -> Iterator[None]:
    """Hang up when time is over: a peer that sends a byte now and then holds every read, and none takes too long."""
    guard = threading.Timer(timeout, _hang_up, [connection])
    guard.daemon = True
    guard.start()
    try:
        yield
    finally:
        guard.cancel()


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
