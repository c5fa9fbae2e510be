"""The WSGI application over open bundles: all is looked up in tables made at the start, no path reaches a disk."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

from airbundle import __version__
from airbundle.bundle.chart_index import ChartEntry
from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import CHARTS, CLAMAV, FILES, REGISTRY, ServerConfig
from airbundle.errors import AirbundleError
from airbundle.server.charts import build_charts
from airbundle.server.clamav import build_clamav
from airbundle.server.deliver import deliver
from airbundle.server.library import Check, Library
from airbundle.server.pages import Served, front_page, listing, shelf_json
from airbundle.server.registry import Registry, refuse
from airbundle.server.repositories import Repository, build_repositories
from airbundle.server.shelf import Shelf, build_files
from airbundle.server.trust import TRUST, answer_trust
from airbundle.server.web import HTML, BadRequest, Reply, Request, send

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_ALLOW = ("Allow", "GET, HEAD")
_DAMAGED_SHOWN = 20


def make_app(config: ServerConfig, check: Check | None = None) -> App:
    """Open the bundles of a configuration and return the WSGI application over them.

    Args:
        config: what to serve.
        check: raises when a bundle is not to be served; sees it before anything but its statement is read.

    Raises:
        UsageError: a bundle isn't there.
        VerificationError: a bundle's head is damaged, or a name in it is impossible.
        CheckFailed: one is a delta, and something that it leaves out is in none of the others.
    """
    library = Library(config.bundles, check)
    try:
        library.check_whole(images=REGISTRY in config.serves)
        return App(config, library)
    except BaseException:
        library.close()
        raise


class App:
    """Answers requests.

    Attributes:
        library: the bundles.
        repositories: what `/v2/` serves; None where it is not served.
    """

    def __init__(self, config: ServerConfig, library: Library) -> None:
        self.config = config
        self.library = library
        self.instance = sha256(config.to_bytes())
        self.repositories: dict[str, Repository] | None = None
        self._registry: Registry | None = None
        if REGISTRY in config.serves:
            roots = [root for opened in reversed(library.bundles) for root in opened.bundle.index]
            self.repositories = build_repositories(roots, library.load, prefix=config.prefix)
            self._registry = Registry(library, self.repositories)
        self.shelves: dict[str, Shelf] = {}
        self.charts: tuple[ChartEntry, ...] = ()
        if CHARTS in config.serves:
            self.shelves[CHARTS], self.charts = build_charts(library)
        if FILES in config.serves:
            self.shelves[FILES] = build_files(library)
        if CLAMAV in config.serves:
            self.shelves[CLAMAV] = build_clamav(library)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        try:
            reply = self._answer(Request.of(environ))
        except BadRequest as error:
            reply = Reply.text(HTTPStatus.BAD_REQUEST, str(error))
        except AirbundleError as error:
            # What the bundle or the disk does wrong is no fault of the request; the client sees which blob it is.
            logger.error("%s", error.problem)  # noqa: TRY400 - the problem is told in full
            reply = refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "UNKNOWN", error.problem)
        return send(reply, environ, start)

    def close(self) -> None:
        """Close the bundles."""
        self.library.close()

    def _answer(self, request: Request) -> Reply:
        is_registry = request.path == "/v2" or request.path.startswith("/v2/")
        if request.method not in {"GET", "HEAD"}:
            text = "this registry is read-only: it serves what was installed from bundles"
            if is_registry:
                return refuse(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", text, None, _ALLOW)
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, (_ALLOW,))
        if is_registry and self._registry is not None:
            return self._registry.answer(request)
        if request.path == "/":
            return Reply(HTTPStatus.OK, (("Content-Type", HTML),), self._front(request))
        if request.path == "/healthz":
            return self._health()
        _, name, *rest = request.path.split("/", 2)
        if name == TRUST and self.config.ca is not None:
            return answer_trust(self.config.ca, rest[0] if rest else None)
        shelf = self.shelves.get(name)
        if shelf is not None:
            return self._from_shelf(request, name, shelf, rest[0] if rest else None)
        return Reply.text(HTTPStatus.NOT_FOUND, "there is nothing at this path")

    def _from_shelf(self, request: Request, name: str, shelf: Shelf, path: str | None) -> Reply:
        if path is None:
            return Reply(HTTPStatus.MOVED_PERMANENTLY, (("Location", f"/{name}/"),))
        if not path:
            if "application/json" in request.header("Accept"):
                return Reply.json(shelf_json(shelf))
            return Reply(HTTPStatus.OK, (("Content-Type", HTML),), listing(f"/{name}/", shelf))
        item = shelf.get(path)
        if item is None:
            return Reply.text(HTTPStatus.NOT_FOUND, f"no bundle has this; /{name}/ lists what there is")
        return deliver(self.library, item, request)

    def _front(self, request: Request) -> bytes:
        host = request.header("Host")
        url = self.config.url or f"{self.config.scheme}://{host if _HOST.fullmatch(host) else 'HOST'}"
        scheme, _, host = url.partition("://")
        statements = [opened.statement for opened in self.library.bundles]
        shelves = tuple(name for name, shelf in self.shelves.items() if shelf)
        served = Served(statements, self.repositories, self.charts, shelves, trust=self.config.ca is not None)
        return front_page(served, host=host, scheme=scheme)

    def _health(self) -> Reply:
        bundles, others = [], []
        healthy = True
        for opened in self.library.bundles:
            verified, damaged = opened.gate.counts()
            healthy = healthy and not damaged
            bundles.append(
                {
                    "name": opened.statement.name,
                    "version": opened.statement.version,
                    "serial": opened.statement.serial,
                    "blobs": len(opened.bundle.toc.blobs),
                    "verified": verified,
                    "damaged": list(islice(opened.gate.damaged(), _DAMAGED_SHOWN)),
                }
            )
        for held in self.library.held[len(bundles) :]:
            verified, damaged = held.gate.counts()
            healthy = healthy and not damaged
            found = list(islice(held.gate.damaged(), _DAMAGED_SHOWN))
            others.append({"blobs": len(held.file.toc.blobs), "verified": verified, "damaged": found})
        body = {
            "status": "ok" if healthy else "damaged",
            "server": f"airbundle/{__version__}",
            "instance": self.instance,
            "bundles": bundles,
            "others": others,
        }
        return Reply.json(body, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)
