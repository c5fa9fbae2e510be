"""`airbundle/toc.json`: digest and size of every blob in file order. Offsets follow from it (`tar.place`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from airbundle.bundle.digest import hex_of
from airbundle.bundle.oci import canonical_json, parse_json
from airbundle.errors import VerificationError

API_VERSION = "airbundle.dev/v1"
TOC_LIMIT = 256 * 1024 * 1024
"""Largest toc in bytes that is read: about three million blobs."""

_HEX = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 53


@dataclass(frozen=True)
class Toc:
    """The blobs of a bundle.

    Attributes:
        blobs: (digest, size in bytes) in file order.
        metadata: how many of them, from the first, are manifests and configs.
        external: blobs that a delta leaves out, because its base has them.
    """

    blobs: tuple[tuple[str, int], ...]
    metadata: int
    external: tuple[tuple[str, int], ...] = ()

    def to_bytes(self) -> bytes:
        """Return the member's bytes; equal values give equal bytes."""
        return canonical_json(
            {
                "apiVersion": API_VERSION,
                "kind": "Toc",
                "metadata": self.metadata,
                "blobs": _pairs(self.blobs),
                "external": _pairs(self.external),
            }
        )


def _pairs(blobs: Iterable[tuple[str, int]]) -> list[list[str | int]]:
    return [[hex_of(digest), size] for digest, size in blobs]


def parse_toc(raw: bytes) -> Toc:
    """Read a toc.

    Raises:
        VerificationError: not in its one form, a digest or size of the wrong form, or a blob that stands twice.
    """
    body = parse_json(raw, what="airbundle/toc.json", limit=TOC_LIMIT)
    if not isinstance(body, dict) or body.get("apiVersion") != API_VERSION or body.get("kind") != "Toc":
        raise VerificationError(f"airbundle/toc.json: expected apiVersion {API_VERSION} and kind Toc")
    blobs = _blobs(body.get("blobs"), "blobs")
    external = _blobs(body.get("external"), "external")
    metadata = body.get("metadata")
    if not isinstance(metadata, int) or isinstance(metadata, bool) or not 0 <= metadata <= len(blobs):
        raise VerificationError(f"airbundle/toc.json: metadata {metadata!r} is not in 0..{len(blobs)}")
    if len({digest for digest, _ in blobs + external}) != len(blobs) + len(external):
        raise VerificationError("airbundle/toc.json: a blob stands twice")
    toc = Toc(blobs, metadata, external)
    if toc.to_bytes() != raw:
        raise VerificationError("airbundle/toc.json: not in canonical form, or with unknown fields")
    return toc


def _blobs(value: object, name: str) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, list):
        raise VerificationError(f"airbundle/toc.json: {name} is a list")
    found: list[tuple[str, int]] = []
    for pair in value:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not isinstance(pair[0], str)
            or not _HEX.fullmatch(pair[0])
            or type(pair[1]) is not int
            or not 0 <= pair[1] < _LARGEST
        ):
            raise VerificationError(f"airbundle/toc.json: {name}[{len(found)}] is no [hex digest, size]")
        found.append(("sha256:" + pair[0], pair[1]))
    return tuple(found)
