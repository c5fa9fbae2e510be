"""`/v2/`: the pull half of the OCI distribution specification 1.1."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from airbundle.bundle.digest import is_digest
from airbundle.bundle.oci import OCI_INDEX, Descriptor
from airbundle.server.deliver import Item, content_type, deliver
from airbundle.server.library import Library
from airbundle.server.repositories import Repository
from airbundle.server.web import JSON, Reply, Request

_VERSION = ("Docker-Distribution-API-Version", "registry/2.0")
_ROUTE = re.compile(r"/v2/(?P<name>[^:@]+)/(?:(?P<kind>manifests|blobs|referrers)/(?P<what>[^/]+)|tags/(?P<tags>list))")
_PAGE = 1000
_PAGE_LIMIT = 10_000


def refuse(status: HTTPStatus, code: str, message: str, detail: Any = None, *headers: tuple[str, str]) -> Reply:
    """Return an error in the form of the specification ("error codes")."""
    error = {"code": code, "message": message, "detail": detail}
    return Reply.json({"errors": [error]}, status, _VERSION, *headers)


class Registry:
    """Answers GET and HEAD below `/v2/`."""

    def __init__(self, library: Library, repositories: Mapping[str, Repository]) -> None:
        self._library = library
        self._repositories = repositories

    def answer(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            VerificationError, HostError: what is asked for is damaged or can't be read.
        """
        if request.path in {"/v2", "/v2/"}:
            return Reply.json({}, HTTPStatus.OK, _VERSION)
        if request.path == "/v2/_catalog":
            return self._page(request, list(self._repositories), "repositories")
        match = _ROUTE.fullmatch(request.path)
        if match is None:
            return refuse(HTTPStatus.NOT_FOUND, "UNSUPPORTED", "there is nothing at this path", request.path)
        name = match["name"]
        repository = self._repositories.get(name)
        if repository is None:
            return refuse(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "no bundle has this repository", {"name": name})
        if match["tags"]:
            return self._page(request, sorted(repository.tags), "tags", name)
        handler = {"manifests": self._manifest, "blobs": self._blob, "referrers": self._referrers}[match["kind"]]
        return handler(request, repository, match["what"])

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Reply:
        known = repository.manifests if ":" in reference else repository.tags
        descriptor = known.get(reference)
        if descriptor is None:
            return refuse(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "no such tag or manifest here", reference)
        # Manifests are read, and so verified, each time: they are small.
        raw = self._library.read_small(descriptor.digest)
        item = Item(descriptor.digest, len(raw), content_type(descriptor.media_type), data=raw)
        return deliver(self._library, item, request, _VERSION, ("Docker-Content-Digest", descriptor.digest))

    def _blob(self, request: Request, repository: Repository, digest: str) -> Reply:
        if not is_digest(digest):
            return refuse(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "this is no sha256 digest", digest[:100])
        # Clients may fetch manifests as blobs, too: containerd does for foreign types.
        blob = repository.blobs.get(digest) or repository.manifests.get(digest)
        if blob is None or not self._library.has(digest):
            return refuse(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "no image here has this blob", digest)
        item = Item(digest, blob.size, content_type(blob.media_type))
        return deliver(self._library, item, request, _VERSION, ("Docker-Content-Digest", digest))

    def _referrers(self, request: Request, repository: Repository, digest: str) -> Reply:
        if not is_digest(digest):
            return refuse(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "this is no sha256 digest", digest[:100])
        found: Sequence[Descriptor] = list(repository.referrers.get(digest, {}).values())
        headers = [("Content-Type", OCI_INDEX), _VERSION]
        wanted = request.query.get("artifactType")
        if wanted:
            found = [entry for entry in found if entry.artifact_type == wanted]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in found]}
        return Reply(HTTPStatus.OK, tuple(headers), json.dumps(body).encode())

    def _page(self, request: Request, names: list[str], key: str, name: str = "") -> Reply:
        """Return one page of sorted names ("listing tags"): up to `n`, after `last`."""
        count = request.query.get("n", "")
        if count and not (count.isascii() and count.isdigit() and len(count) < 10):
            return refuse(
                HTTPStatus.BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is a whole number", {"n": count[:100]}
            )
        limit = min(int(count), _PAGE_LIMIT) if count else _PAGE
        last = request.query.get("last", "")
        after = [each for each in names if each > last]
        page = after[:limit]
        headers = [("Content-Type", JSON), _VERSION]
        if page and len(after) > limit:
            query = urlencode({"n": limit, "last": page[-1]})
            headers.append(("Link", f'<{quote(request.path)}?{query}>; rel="next"'))
        body = {"name": name, key: page} if name else {key: page}
        return Reply(HTTPStatus.OK, tuple(headers), json.dumps(body).encode())
