"""The door to registries: `RegistryClient` makes repositories that share connections, tokens and patience."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from airbundle.bundle.reference import parse_reference
from airbundle.errors import AirbundleError, Refused, Side
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.hosts import Endpoint, Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.upload_session import UploadRecord

logger = logging.getLogger(__name__)


class RegistryClient:
    """Talks to registries by the distribution spec 1.1; for many threads at once. A context manager.

    Args:
        registries: mirrors, trust and credentials per host; the empty ones by default.
        side: "site" makes errors of these registries the site's (exit code 6); small requests go through http.client.
        reporter: gets warnings and long waits.
        settings: times and limits; by default those of the environment.
        uploads: remembers upload sessions for later runs; nothing does by default.
    """

    def __init__(
        self,
        registries: Registries | None = None,
        *,
        side: Side = "upstream",
        reporter: Reporter = SILENT,
        settings: HttpSettings | None = None,
        uploads: UploadRecord | None = None,
    ) -> None:
        self.uploads = uploads
        self.registries = registries or Registries()
        lean = side == "site"
        self.http = HttpClient(settings, side=side, registries=self.registries, reporter=reporter, lean=lean)
        self._reporter = reporter
        self._lock = threading.Lock()
        self._push_locks: dict[tuple[str, str], threading.Lock] = {}
        self._pushed: set[tuple[str, str]] = set()
        self._tag_locks: dict[tuple[str, str], threading.Lock] = {}
        self._passed_over: set[str] = set()
        self._without_referrers: set[tuple[str, str, int]] = set()

    def repository(self, name: str) -> Repository:
        """Return the repository `host[:port]/path`; nothing is sent yet.

        Raises:
            UsageError: no such name.
        """
        reference = parse_reference(name + ":x")
        endpoints = self.registries.endpoints(reference.registry, reference.repository)
        push = self.registries.push_endpoint(reference.registry, reference.repository)
        return Repository(self, reference.name, endpoints or [push], push)

    def check(self, registry: str) -> None:
        """Ask whether there is a registry at `host[:port]` (distribution spec, "Determining support"); logs in nowhere.

        Raises:
            Unreachable: nothing answers.
            Refused: what answers is no registry.
        """
        base = self.registries.push_endpoint(registry, "any").url
        what = f"{registry}: ask whether it is a registry"
        response = self.http.request("GET", f"{base}/", what=what, expect=range(200, 500), bare=True)
        page = "html" in response.headers.get("content-type", "").lower() or response.body.lstrip()[:1] == b"<"
        if response.status == 400:
            raise self.http.refusal(response, what=what, expected="200 or 401")
        if response.status in (401, 403) or 300 <= response.status < 400 or (response.status == 200 and not page):
            return
        found = "a web page" if page else f"status {response.status}"
        raise Refused(
            f"{what}: it is none: /v2/ gives {found}; expected 200 or 401, as registries answer",
            side=self.http.side,
            status=response.status,
            hint="check host and port; a registry's API is at /v2/ of its host, whatever path comes before names",
        )

    def passed_over(self, endpoint: Endpoint, error: AirbundleError) -> None:
        """Tell, once for each mirror, that the next endpoint is asked instead."""
        logger.info("%s: %s", endpoint.host, error.problem)
        if endpoint.host not in self._passed_over:
            self._passed_over.add(endpoint.host)
            self._reporter.warn(f"mirror {endpoint.host} passed over: {error.problem}")

    def has_referrers_api(self, endpoint: Endpoint) -> bool:
        """Tell whether it is worth asking this endpoint's referrers API."""
        return endpoint.url.origin not in self._without_referrers

    def lacks_referrers_api(self, endpoint: Endpoint) -> None:
        """Remember that this endpoint has no referrers API."""
        self._without_referrers.add(endpoint.url.origin)

    def tag_lock(self, repository: str, tag: str) -> threading.Lock:
        """Return the lock under which this process changes a tag in three steps."""
        with self._lock:
            return self._tag_locks.setdefault((repository, tag), threading.Lock())

    @contextmanager
    def pushing(self, repository: str, digest: str) -> Iterator[bool]:
        """Let one thread at a time push a blob to a repository; gives whether another has pushed it meanwhile.

        registry:2 rewrites the link of a blob that is pushed again, and whoever reads it just then is told that the
        blob is unknown.
        """
        key = (repository, digest)
        with self._lock:
            lock = self._push_locks.setdefault(key, threading.Lock())
        with lock:
            yield key in self._pushed
            # Only a push that ended well comes here.
            self._pushed.add(key)
        with self._lock:
            self._push_locks.pop(key, None)

    def close(self) -> None:
        """Close all connections; operations under way fail."""
        self.http.close()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
