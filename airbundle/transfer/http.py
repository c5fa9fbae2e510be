"""HTTP with patience: retries, redirects without credentials, authorisation, proxies, trust; over two engines.

Control traffic goes through httpx, large bodies through http.client (`bulk`); a lean client sends all it can through
http.client, and doesn't even import httpx. What is decided here holds for both.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Optional, TypeVar

from airbundle.errors import AirbundleError, RemoteError, Side, Unauthorized, Unreachable
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.auth import Authorizer
from airbundle.transfer.bulk import BulkEngine
from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.faults import closed_fault
from airbundle.transfer.hosts import Registries
from airbundle.transfer.problems import Response, refusal, status_fault
from airbundle.transfer.proxies import Proxies, Proxy
from airbundle.transfer.retry import Attempts, HostHealth, Pause
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Answer, BadUrl, Engine, Fault, Headers, Request, Url, read_all

if TYPE_CHECKING:
    from airbundle.transfer.control import ControlEngine

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_DOWN = 300.0
"""Seconds in which a mirror that was given up is not asked again."""
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})
_ERROR_LIMIT = 64 * 1024


class HttpClient:
    """Makes requests for many threads at once.

    Args:
        settings: times and limits.
        side: whose servers these are; decides the exit code of errors.
        registries: endpoints, TLS and credentials per host.
        credentials: further credentials; by default the usual places.
        reporter: gets warnings and long waits.
        proxies: by default those of the environment.
        lean: send small requests through http.client, too (docs/decisions/0032).
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        side: Side = "upstream",
        registries: Registries | None = None,
        credentials: CredentialStore | None = None,
        reporter: Reporter = SILENT,
        proxies: Proxies | None = None,
        lean: bool = False,
    ) -> None:
        self.settings = settings or HttpSettings.from_environment()
        self.side: Side = side
        self.registries = registries or Registries()
        self.reporter = reporter
        self._proxies = Proxies.from_environment() if proxies is None else proxies
        self._health: dict[tuple[str, str, int], HostHealth] = {}
        self._unverified: set[str] = set()
        self._pause = Pause()
        self._lean = lean
        self._lock = threading.Lock()
        self._made_control: ControlEngine | None = None
        self._closed = False
        self._bulk = BulkEngine(self.settings, self._route)
        store = CredentialStore.from_environment(tell=reporter.warn) if credentials is None else credentials
        self._authorizer = Authorizer(self, self.registries, store)

    def request(
        self,
        method: str,
        url: str | Url,
        *,
        what: str,
        expect: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        scopes: tuple[str, ...] = (),
        limit: int | None = None,
        budget: float | None = None,
        bare: bool = False,
        trust: TlsSettings | None = None,
    ) -> Response:
        """Make a small request, with retries, and return its answer with its whole body.

        Args:
            method: the HTTP method.
            url: absolute.
            what: thing and operation, for errors.
            expect: statuses to return; all others raise.
            headers: besides User-Agent, Accept-Encoding and Authorization.
            content: the request's body.
            scopes: for token authentication, such as `repository:library/redis:pull`.
            limit: largest body in bytes; by default the settings' own.
            budget: seconds of failing connections, in place of the settings' own.
            bare: add no credentials and follow no redirects.
            trust: in place of what is configured for the host.

        Raises:
            NotFound, Unauthorized, Refused: the server's answer.
            Unreachable, RemoteError: no (good) answer within the budget.
        """
        target = self.url(url, what)
        request = Request(method, target, headers or {}, content, trust)
        most = self.settings.body_limit if limit is None else limit

        def once(attempts: Attempts) -> Response:  # noqa: ARG001 - the signature of an operation
            with self.attempt(request, what=what, scopes=scopes, bare=bare, expect=expect) as answer:
                return self._whole(answer, request, most, expect)

        response = self.run(target, what, once, budget=budget)
        if response.status not in expect:
            raise self.refusal(response, what=what, expected=_statuses(expect))
        if response.too_long:
            raise RemoteError(
                f"{what}: {target.host} sent a body of more than {most} bytes", side=self.side, status=response.status
            )
        return response

    def refusal(self, response: Response, *, what: str, expected: str = "") -> RemoteError:
        """Return the error for an answer as `problems.refusal`; it says whose credentials were refused, or missing."""
        return self._told(refusal(response, what=what, side=self.side, expected=expected), response)

    def _told(self, error: RemoteError, response: Response) -> RemoteError:
        if isinstance(error, Unauthorized) and not error.hint:
            error.hint = self._authorizer.login_hint(response.url, error.status)
        return error

    def run(self, url: Url, what: str, operation: Callable[[Attempts], T], *, budget: float | None = None) -> T:
        """Run `operation` until it returns; its Faults are retried within the budget of the host of `url`.

        The operation calls `attempts.succeeded()` whenever it makes progress before a fault.
        """
        attempts = Attempts(self.health(url), self.settings, self._pause, budget=budget, tell=self.reporter.warn)

        def final(fault: Fault, tries: int) -> AirbundleError:
            return self._error(url, what, fault, tries)

        while True:
            attempts.begin()
            try:
                result = operation(attempts)
            except Fault as fault:
                attempts.failed(fault, final)
            else:
                attempts.succeeded()
                return result

    def attempt(
        self,
        request: Request,
        *,
        what: str,
        scopes: tuple[str, ...] = (),
        bulk: bool = False,
        bare: bool = False,
        expect: Collection[int] = (),
    ) -> Answer:
        """Make one attempt: authorise, follow redirects, and return the answer with its body still to be read.

        With `bare` neither: the request goes out as it is, and a redirect is an answer. A status that is expected is an
        answer, too, though another attempt might end better.

        Raises:
            Fault: it failed, or the answer's status says that another attempt may end better.
            Unauthorized, Refused: no attempt will end better.
        """
        first, renewed = request.url, False
        for _ in range(_MOST_REDIRECTS + 1):
            home = request.url.origin == first.origin
            known = home and not bare
            token = self._authorizer.header(request.url, scopes) if known else None
            answer = self._exchange(request, token, bulk=bulk, home=home)
            if answer.status == 401 and known and not renewed:
                renewed = True
                if self._authorizer.challenged(request.url, answer.headers, scopes, used=token):
                    with answer:
                        continue
            if answer.status in _REDIRECTS and "location" in answer.headers and not bare:
                with answer:
                    request = self._redirected(request, answer)
                continue
            return self._checked(answer, request, what, expect)
        raise Fault(f"more than {_MOST_REDIRECTS} redirects", passing=False)

    def connection(self, request: Request) -> AbstractContextManager[http.client.HTTPConnection]:
        """Send a request on a connection of its own, and give that: for what goes on otherwise than HTTP.

        Raises:
            Fault: it can't be sent.
        """
        return self._bulk.connection(request)

    def _exchange(self, request: Request, token: str | None, *, bulk: bool, home: bool) -> Answer:
        if token is not None:
            request = replace(request, headers={**request.headers, "Authorization": token})
        try:
            return self.engine(request.url, bulk=bulk).exchange(request)
        except Fault as fault:
            if not home:
                fault.reason = f"{request.url.host}: {fault.reason}"
            raise

    def _checked(self, answer: Answer, request: Request, what: str, expect: Collection[int]) -> Answer:
        if answer.status < 400 or answer.status in (401, 404) or answer.status in expect:
            return answer
        response = self._whole(answer, request, _ERROR_LIMIT, ())
        fault = status_fault(response, what=what, side=self.side)
        if fault is None:
            return _Read(response)
        raise fault

    def _redirected(self, request: Request, answer: Answer) -> Request:
        location = answer.headers["location"]
        try:
            url = request.url.join(location)
        except BadUrl as error:
            raise Fault(f"redirects to what is no URL: {error}", passing=False) from None
        if url.scheme == "http" and request.url.scheme == "https" and not self.registries.allows_http(url.host):
            raise Fault(
                f"redirects from https to plain HTTP at {url.host}",
                passing=False,
                hint=f"where that is meant, name http://{url.host} as an endpoint in registries.yaml",
            )
        if request.method not in {"GET", "HEAD"} and url.hostname != request.url.hostname:
            raise Fault(f"redirects {request.method} to another host, {url.host}", passing=False)
        headers = dict(request.headers)
        if url.origin != request.url.origin:
            headers = {name: value for name, value in headers.items() if name.lower() not in _PRIVATE}
        trust = self.trust_after(request.url, request.trust, url)
        return Request(request.method, url, headers, request.content, trust)

    def _whole(self, answer: Answer, request: Request, limit: int, expect: Collection[int]) -> Response:
        with answer:
            most = limit if answer.status in expect else max(limit, _ERROR_LIMIT)
            body = b"" if request.method == "HEAD" else read_all(answer, most)
            return Response(answer.status, request.url, answer.headers, body or b"", too_long=body is None)

    def _error(self, url: Url, what: str, fault: Fault, tries: int) -> AirbundleError:
        if fault.error is not None:
            return fault.error
        times = f" (after {tries} attempts)" if tries > 1 else ""
        return Unreachable(f"{what}: {url.host}: {fault.reason}{times}", side=self.side, hint=fault.hint)

    def url(self, text: str | Url, what: str) -> Url:
        """Return `text` parsed. Raises RemoteError when it is none that can be used."""
        if isinstance(text, Url):
            return text
        try:
            return Url.parse(text)
        except BadUrl as error:
            raise RemoteError(f"{what}: not a URL to use: {error}", side=self.side) from None

    def is_down(self, url: Url) -> bool:
        """Tell whether the host of `url` was given up a short while ago."""
        health = self.health(url)
        return health.given_up and time.monotonic() - health.given_up_at < _DOWN

    def health(self, url: Url) -> HostHealth:
        """Return what is known of the host of `url`."""
        return self._health.setdefault(url.origin, HostHealth(url.host))

    def engine(self, url: Url, *, bulk: bool) -> Engine:
        """Return the engine for a request."""
        bulk = bulk or self._lean
        return self._bulk if bulk and BulkEngine.serves(url, self._proxies.of(url)) else self._control

    @property
    def _control(self) -> ControlEngine:
        with self._lock:
            if self._made_control is None:
                if self._closed:
                    raise closed_fault()
                from airbundle.transfer.control import ControlEngine

                self._made_control = ControlEngine(self.settings, self._route)
            return self._made_control

    def _route(self, request: Request) -> tuple[TlsSettings, Optional[Proxy]]:
        trust = self._trust(request)
        if trust.insecure_skip_verify and request.url.host not in self._unverified:
            self._unverified.add(request.url.host)
            self.reporter.warn(f"{request.url.host}: its certificate is not checked (insecure_skip_verify)")
        return trust, self._proxies.of(request.url)

    def _trust(self, request: Request) -> TlsSettings:
        if request.url.scheme == "http":
            return TlsSettings()
        return request.trust or self.tls(request.url)

    def tls(self, url: Url) -> TlsSettings:
        """Return how the host of `url` is trusted."""
        return self.registries.tls(url.host) or TlsSettings()

    def trust_after(self, source: Url, trust: TlsSettings | None, target: Url) -> TlsSettings:
        """Return how to trust a host that an answer leads to: as configured, else with the CA given for the source.

        It holds for that one request: a CA given for one registry must not come to vouch for others.

        Args:
            source, trust: whose answer it was, and how that was trusted if not as configured.
            target: where it leads.
        """
        configured = self.registries.tls(target.host)
        if configured is not None:
            return configured
        return (trust or self.tls(source)).for_follow_up(same_host=source.hostname == target.hostname)

    def close(self) -> None:
        """Close all connections and end all waits; operations under way fail."""
        self._pause.close()
        with self._lock:
            self._closed = True
            if self._made_control is not None:
                self._made_control.close()
        self._bulk.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Read:
    """An answer whose body was read already, to be looked at once more."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers: Headers = response.headers
        self._left = memoryview(response.body)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def __enter__(self) -> _Read:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _statuses(expect: Collection[int]) -> str:
    return " or ".join(str(status) for status in sorted(expect) if status < 300)
