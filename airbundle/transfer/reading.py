"""Reading from one repository of a registry (distribution spec 1.1, "Pull", "Content Discovery")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.digest import is_digest, parse_digest, sha256
from airbundle.bundle.oci import (
    INDEX_TYPES,
    MANIFEST_LIMIT,
    MANIFEST_TYPES,
    OCI_INDEX,
    Descriptor,
    parse_json,
    parse_manifest,
)
from airbundle.errors import DigestMismatch, NotFound, RemoteError, UsageError
from airbundle.transfer.download import Download
from airbundle.transfer.endpoints import Endpoints
from airbundle.transfer.hosts import Endpoint
from airbundle.transfer.links import next_link
from airbundle.transfer.problems import Response, clean
from airbundle.transfer.referrers import fallback_tag
from airbundle.transfer.wire import BadUrl, Url

if TYPE_CHECKING:
    from airbundle.transfer.registry import RegistryClient

_PAGE = 1000
_MOST_PAGES = 10_000
_WHOLE_LIMIT = 64 * 1024 * 1024
"""Largest blob in bytes that is taken whole for the sake of a range."""
_NO_API = (200, 400, 404, 405, 406, 501)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
ACCEPT = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))


class Reading:
    """The reading half of `Repository`.

    Args:
        client: whose connections and settings it uses.
        name: `host/path`, as in image names.
        endpoints: where to read, in order.
    """

    def __init__(self, client: RegistryClient, name: str, endpoints: list[Endpoint]) -> None:
        self.name = name
        self.http = client.http
        self._client = client
        self._endpoints = Endpoints(
            endpoints,
            client.http.settings.mirror_time,
            client.passed_over,
            lambda endpoint: client.http.is_down(endpoint.url),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def resolve(self, ref: str) -> Descriptor:
        """Ask what a tag or digest stands for, by HEAD, which registries do not count as a pull.

        Args:
            ref: a tag or a digest.

        Returns:
            The manifest's media type, digest and size.

        Raises:
            NotFound, Unauthorized, RemoteError, DigestMismatch.
        """
        checked_ref(ref, self.name)
        return self._endpoints.manifest(lambda endpoint, budget: self._resolve(endpoint, ref, budget))

    def look_beside(self, tag: str) -> Descriptor | None:
        """Ask what a tag stands for that may hang on an image of this repository, such as cosign's `sha256-<hex>.sig`.

        The endpoint that gave this object its first manifest decides: it knows its images. The others, which may be
        out of reach or know other images, are asked only when it fails.

        Returns:
            As `resolve`; None when there is no such tag.

        Raises:
            Unauthorized, RemoteError, DigestMismatch.
        """
        checked_ref(tag, self.name)
        try:
            return self._endpoints.beside(lambda endpoint, budget: self._resolve(endpoint, tag, budget))
        except NotFound:
            return None

    def _resolve(self, endpoint: Endpoint, ref: str, budget: float | None) -> Descriptor:
        what = f"{self.label(ref)}: resolve"
        response = self._ask(endpoint, "HEAD", f"/manifests/{ref}", what, budget, expect=(200, 405))
        digest = response.headers.get("docker-content-digest", "").strip()
        size = response.headers.number("content-length")
        media_type = media_type_of(response)
        known = media_type in INDEX_TYPES or media_type in MANIFEST_TYPES
        if response.status != 200 or size is None or not known or not is_digest(digest):
            return self._fetch(endpoint, ref, budget)[0]
        if is_digest(ref) and digest != ref:
            raise DigestMismatch(f"{what}: {endpoint.host} answered with digest {digest}, expected {ref}")
        return Descriptor(media_type, digest, size)

    def fetch_manifest(self, ref: str) -> tuple[Descriptor, bytes]:
        """Fetch a manifest or index by tag or digest.

        Returns:
            Its descriptor, and the bytes as served; digest computed, body checked by `parse_manifest`.

        Raises:
            DigestMismatch: the bytes have another digest than was asked for or than the registry says.
            VerificationError: schema 1, or a body that is no manifest.
            NotFound, Unauthorized, RemoteError.
        """
        checked_ref(ref, self.name)
        return self._endpoints.manifest(lambda endpoint, budget: self._fetch(endpoint, ref, budget))

    def _fetch(self, endpoint: Endpoint, ref: str, budget: float | None) -> tuple[Descriptor, bytes]:
        what = f"{self.label(ref)}: fetch manifest"
        for last in (False, True):
            response = self._ask(endpoint, "GET", f"/manifests/{ref}", what, budget, limit=MANIFEST_LIMIT)
            digest = sha256(response.body)
            said = response.headers.get("docker-content-digest", "").strip()
            expected = ref if is_digest(ref) else said
            if not is_digest(expected) or digest == expected:
                break  # of a tag whose digest the registry does not say, what came is what counts
            if last:
                raise DigestMismatch(f"{what}: found digest {digest}, expected {expected}, twice")
        manifest = parse_manifest(response.body, media_type_of(response), what=what)
        return Descriptor(manifest.media_type, digest, len(response.body)), response.body

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Fetch a blob; see `BlobSource.copy_blob`."""
        digest = parse_digest(blob.digest, what=f"{self.name}: blob")
        what = f"{self.label(digest)}: fetch blob"

        def one(endpoint: Endpoint, budget: float | None) -> None:
            download.run(self.url(endpoint, f"/blobs/{digest}"), scopes=self.scopes(endpoint), budget=budget)

        if hasher is None or not start:
            start, hasher = 0, hashlib.sha256()
        download = Download(self.http, what, blob, write, start, hasher)
        self._endpoints.each(one)

    def read_blob(self, digest: str, limit: int) -> bytes:
        """Return a small blob's verified bytes.

        Args:
            digest: of the blob.
            limit: largest size in bytes that is taken.
        """
        parse_digest(digest, what=f"{self.name}: blob")
        what = f"{self.label(digest)}: fetch blob"

        def one(endpoint: Endpoint, budget: float | None) -> bytes:
            body = b""
            for _ in range(2):
                body = self._ask(endpoint, "GET", f"/blobs/{digest}", what, budget, limit=limit).body
                if sha256(body) == digest:
                    return body
            raise DigestMismatch(f"{what}: found digest {sha256(body)}, expected {digest}, twice")

        return self._endpoints.each(one)

    def read_range(self, blob: Descriptor, start: int, count: int) -> bytes:
        """Return `count` bytes of a blob from `start` on; they are not verified.

        Args:
            blob: a registry that knows no ranges sends all of its bytes, which are taken up to 64 MiB.
            start, count: lie within the blob; the caller has bounded `count`.

        Raises:
            RemoteError: another range came, or it is shorter, or too much; and as `read_blob`.
        """
        digest = parse_digest(blob.digest, what=f"{self.name}: blob")
        what = f"{self.label(digest)}: fetch bytes {start} to {start + count - 1}"

        def one(endpoint: Endpoint, budget: float | None) -> bytes:
            response = self.http.request(
                "GET",
                self.url(endpoint, f"/blobs/{digest}"),
                what=what,
                expect=(200, 206),
                headers={"Accept": "*/*", "Range": f"bytes={start}-{start + count - 1}"},
                scopes=self.scopes(endpoint),
                limit=max(count, min(blob.size, _WHOLE_LIMIT)),
                budget=budget,
            )
            whole = response.status == 200
            said = response.headers.get("content-range", "").strip()
            found = response.body[start : start + count] if whole else response.body
            if len(found) != count or not (whole or said.startswith(f"bytes {start}-")):
                sent = f"{len(response.body)} bytes" + ("" if whole else f" as {clean(said)[:80]!r}")
                raise RemoteError(f"{what}: found {sent}", side=self.http.side)
            return found

        return self._endpoints.each(one)

    def tags(self) -> list[str]:
        """Return all tags, in the registry's order; what is no tag by the grammar is left out."""
        return self._endpoints.each(lambda endpoint, budget: list(self._tags(endpoint, budget)))

    def _tags(self, endpoint: Endpoint, budget: float | None) -> Iterator[str]:
        what = f"{self.name}: list tags"
        first = self.url(endpoint, "/tags/list").with_query(("n", str(_PAGE)))
        for response in self._pages(endpoint, first, what, budget, accept="application/json"):
            body = parse_json(response.body, what=what, limit=self.http.settings.body_limit)
            tags = body.get("tags") if isinstance(body, dict) else None
            yield from (tag for tag in tags or () if isinstance(tag, str) and _TAG.fullmatch(tag))

    def referrers(self, digest: str) -> list[Descriptor]:
        """Return the manifests whose subject is `digest`: by the API, else from the tag `sha256-<hex>`.

        The endpoint that gave this object its first manifest decides, as in `look_beside`.

        Raises:
            VerificationError: the answer is no index.
            Unauthorized, RemoteError.
        """
        parse_digest(digest, what=f"{self.name}: subject")
        return self._endpoints.beside(lambda endpoint, budget: self._referrers(endpoint, digest, budget))

    def _referrers(self, endpoint: Endpoint, digest: str, budget: float | None) -> list[Descriptor]:
        what = f"{self.label(digest)}: list referrers"
        first = self.url(endpoint, f"/referrers/{digest}")
        found: dict[str, Descriptor] = {}
        if self._client.has_referrers_api(endpoint):
            for response in self._pages(endpoint, first, what, budget, accept=OCI_INDEX, expect=_NO_API):
                if response.status != 200 or media_type_of(response) != OCI_INDEX:
                    self._client.lacks_referrers_api(endpoint)
                    break
                index = parse_manifest(response.body, OCI_INDEX, what=what)
                found.update((entry.digest, entry) for entry in index.manifests)
            else:
                return list(found.values())
        try:
            index = parse_manifest(self._fetch(endpoint, fallback_tag(digest), budget)[1], what=what)
        except NotFound:
            return []
        return list(index.manifests)

    def _pages(
        self,
        endpoint: Endpoint,
        url: Url,
        what: str,
        budget: float | None,
        *,
        accept: str,
        expect: tuple[int, ...] = (200,),
    ) -> Iterator[Response]:
        """Yield the pages of a list, following Link within the registry's own origin."""
        seen = {str(url)}
        for _ in range(_MOST_PAGES):
            response = self._ask(endpoint, "GET", url, what, budget, expect=expect, accept=accept)
            yield response
            link = next_link(response.headers)
            if link is None:
                return
            try:
                following = url.join(link)
            except BadUrl as error:
                raise RemoteError(f"{what}: the next page has no URL: {error}", side=self.http.side) from None
            if following.hostname != url.hostname or str(following) in seen:
                raise RemoteError(
                    f"{what}: the next page is {clean(following.shown)}, expected one that is new and on {url.host}",
                    side=self.http.side,
                )
            url = replace(url, target=following.target)
            seen.add(str(following))
        raise RemoteError(f"{what}: more than {_MOST_PAGES} pages", side=self.http.side)

    # What the other modules of this package build on.

    def label(self, ref: str) -> str:
        """Return the full name of something in this repository."""
        return f"{self.name}@{ref}" if is_digest(ref) else f"{self.name}:{ref}"

    def url(self, endpoint: Endpoint, path: str) -> Url:
        """Return the URL of `path` below this repository at an endpoint."""
        base = endpoint.url
        url = Url(base.scheme, base.hostname, base.port, f"{base.target}/{endpoint.repository}{path}")
        return url.with_query(("ns", endpoint.namespace)) if endpoint.namespace else url

    def scopes(self, endpoint: Endpoint, *actions: str) -> tuple[str, ...]:
        """Return the token scope for `actions` (default: pull)."""
        return (f"repository:{endpoint.repository}:{','.join(actions or ('pull',))}",)

    def _ask(
        self,
        endpoint: Endpoint,
        method: str,
        path: str | Url,
        what: str,
        budget: float | None,
        *,
        expect: tuple[int, ...] = (200,),
        limit: int | None = None,
        accept: str = ACCEPT,
    ) -> Response:
        return self.http.request(
            method,
            self.url(endpoint, path) if isinstance(path, str) else path,
            what=what,
            expect=expect,
            headers={"Accept": accept},
            scopes=self.scopes(endpoint),
            limit=limit,
            budget=budget,
        )


def checked_ref(ref: str, name: str) -> str:
    """Return a tag or digest that may become part of a URL.

    Raises:
        UsageError: it is neither.
    """
    if is_digest(ref) or _TAG.fullmatch(ref):
        return ref
    raise UsageError(
        f"{name}: {ref[:150]!r} is neither a tag nor a digest",
        hint="a tag is up to 128 letters, digits, '_', '.' and '-', and starts with none of '.-'",
    )


def media_type_of(response: Response) -> str:
    """Return the Content-Type without parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip()
