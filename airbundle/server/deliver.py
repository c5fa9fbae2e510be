"""Serving one thing that has bytes: ranges, conditions, HEAD. The same for blobs, charts, files and databases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from airbundle.server.library import Library
from airbundle.server.ranges import Span, Unsatisfiable, http_date, not_modified, parse_range, range_applies
from airbundle.server.web import OCTETS, Reply, Request

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True)
class Item:
    """Something to serve.

    Attributes:
        digest: of its bytes; the entity tag. Without `data` it is a blob of a bundle.
        size: in bytes.
        media_type: as its descriptor says.
        modified: Last-Modified, in seconds since the epoch.
        data: bytes that were made at the start, such as an index of charts.
    """

    digest: str
    size: int
    media_type: str = OCTETS
    modified: int | None = None
    data: bytes | None = None

    @property
    def etag(self) -> str:
        """The strong entity tag."""
        return f'"{self.digest}"'


def content_type(media_type: str) -> str:
    """Return a descriptor's media type when it has the form of one (RFC 6838 §4.2), else the one for any bytes."""
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else OCTETS


def deliver(library: Library, item: Item, request: Request, *headers: tuple[str, str]) -> Reply:
    """Return the reply to a GET or HEAD for `item`.

    Raises:
        DigestMismatch: its bytes are damaged in every bundle that has them.
        HostError: they can't be read.
    """
    common = [("ETag", item.etag), ("Accept-Ranges", "bytes"), *headers]
    if item.modified is not None:
        common.append(("Last-Modified", http_date(item.modified)))
    if not_modified(
        request.header("If-None-Match"),
        request.header("If-Modified-Since"),
        etag=item.etag,
        modified=item.modified,
    ):
        return Reply(HTTPStatus.NOT_MODIFIED, tuple(common))
    typed = (("Content-Type", item.media_type), *common)
    if request.method == "HEAD":
        return Reply(HTTPStatus.OK, typed, length=item.size)
    span = None
    if range_applies(request.header("If-Range"), etag=item.etag, modified=item.modified):
        try:
            span = parse_range(request.header("Range"), item.size)
        except Unsatisfiable:
            return Reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, (("Content-Range", f"bytes */{item.size}"),))
    if span is None:
        return _bytes(library, item, HTTPStatus.OK, typed, Span(0, item.size))
    typed += (("Content-Range", span.content_range(item.size)),)
    return _bytes(library, item, HTTPStatus.PARTIAL_CONTENT, typed, span)


def _bytes(library: Library, item: Item, status: HTTPStatus, headers: tuple[tuple[str, str], ...], span: Span) -> Reply:
    if item.data is not None:
        return Reply(status, headers, item.data[span.start : span.start + span.length])
    return Reply(status, headers, library.body(item.digest, span.start, span.length))
