"""The engine for control traffic: httpx. Small requests, small answers, one pool for all threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Optional

import httpx

from airbundle.transfer.faults import NO_HTTP_HINT, closed_fault, os_fault, slow_fault
from airbundle.transfer.pace import Pace
from airbundle.transfer.proxies import Proxy
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings, client_context
from airbundle.transfer.wire import Answer, Body, Fault, Headers, Request

# At INFO httpx logs whole URLs (a redirect's may be signed), at DEBUG httpcore logs headers.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

Route = tuple[TlsSettings, Optional[Proxy]]


class ControlEngine:
    """Exchanges through httpx. One client for each way of trusting and each proxy.

    Redirects, retries, cookies, netrc and httpx's own reading of the environment are off: those are decided above.
    """

    def __init__(self, settings: HttpSettings, route: Callable[[Request], Route]) -> None:
        self._settings = settings
        self._route = route
        self._clients: dict[tuple[bool, TlsSettings, Proxy | None], httpx.Client] = {}
        self._lock = threading.Lock()
        self._closed = False

    def exchange(self, request: Request) -> Answer:
        """Send the request and read the answer's head. Raises Fault."""
        client = self._client(request)
        content = request.content
        headers = dict(request.headers)
        sent: bytes | Iterator[bytes] | None
        if isinstance(content, Body):
            sent, headers["Content-Length"] = (bytes(piece) for piece in content.pieces()), str(content.length)
        else:
            sent = content
        try:
            message = client.build_request(request.method, str(request.url), headers=headers, content=sent)
            client.cookies.clear()
            return _Answer(client.send(message, stream=True), self._settings)
        except httpx.HTTPError as error:
            raise _fault(error) from None
        except httpx.InvalidURL as error:
            raise Fault(f"httpx refuses the URL: {error}", passing=False) from None
        except RuntimeError:
            if client.is_closed:
                raise closed_fault() from None
            raise

    def _client(self, request: Request) -> httpx.Client:
        tls, proxy = self._route(request)
        key = (request.url.scheme == "https", tls, proxy)
        with self._lock:
            if self._closed:
                raise closed_fault()
            if key not in self._clients:
                self._clients[key] = self._make(*key)
            return self._clients[key]

    def _make(self, secure: bool, tls: TlsSettings, proxy: Proxy | None) -> httpx.Client:
        settings = self._settings
        return httpx.Client(
            verify=client_context(tls) if secure else False,
            proxy=_httpx_proxy(proxy),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(settings.stall_timeout, connect=settings.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=settings.idle_time),
        )

    def close(self) -> None:
        """Close all connections; nothing is sent from then on."""
        with self._lock:
            self._closed = True
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _httpx_proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    auth = (proxy.username, proxy.password) if proxy.username or proxy.password else None
    context = client_context(TlsSettings()) if proxy.url.scheme == "https" else None
    return httpx.Proxy(str(proxy.url), auth=auth, ssl_context=context)


class _Answer:
    """httpx's streamed response as an Answer; raw bytes, never decoded."""

    def __init__(self, response: httpx.Response, settings: HttpSettings) -> None:
        self.status = response.status_code
        self.headers = Headers(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw
        )
        self._response = response
        self._chunks = response.iter_raw()
        self._left = memoryview(b"")
        self._pace = Pace(settings)

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes of the body."""
        if not self._left:
            try:
                self._left = memoryview(next(self._chunks, b""))
            except httpx.HTTPError as error:
                raise _fault(error) from None
            except httpx.StreamError as error:
                raise Fault(f"the connection was closed: {error}") from None
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        if count:
            self._pace.moved(count)
        return count

    def __enter__(self) -> _Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()


def _fault(error: httpx.HTTPError) -> Fault:
    if isinstance(error, httpx.ProxyError):
        text = str(error)
        return Fault(f"the proxy answered {text}", passing="407" not in text, contact=False)
    if isinstance(error, httpx.UnsupportedProtocol):
        return Fault(str(error), passing=False)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    connecting = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
    if isinstance(cause, OSError) and not isinstance(error, httpx.TimeoutException):
        return os_fault(cause, connecting=connecting)
    if isinstance(error, httpx.TimeoutException):
        return slow_fault(connecting=connecting)
    hint = NO_HTTP_HINT if isinstance(error, httpx.RemoteProtocolError) else ""
    return Fault(str(error) or type(error).__name__, contact=not connecting, hint=hint)
