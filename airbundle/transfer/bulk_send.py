"""The sending half of the engine for large bodies: a connection to make, a request to write."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode

from airbundle.transfer.faults import os_fault
from airbundle.transfer.proxies import Proxy
from airbundle.transfer.tls import TlsSettings, client_context
from airbundle.transfer.wire import Body, Content, Fault, Request, Url

BROKEN = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)
"""What a socket raises when the other side has gone; http.client's RemoteDisconnected is one of them."""


def make_connection(url: Url, tls: TlsSettings, proxy: Proxy | None, timeout: float) -> http.client.HTTPConnection:
    """Return a connection to `url`, through `proxy` if there is one; nothing is sent yet."""
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


def connect_fault(error: OSError) -> Fault:
    """Return the fault for what `connect` raised: http.client puts a proxy's refusal into an OSError's text."""
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


def write_request(
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
            except BROKEN as error:
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
