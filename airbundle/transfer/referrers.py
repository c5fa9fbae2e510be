"""Referrers: the API, and the fallback tag `sha256-<hex>` where there is none (distribution spec, "Referrers")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airbundle.bundle.digest import hex_of
from airbundle.bundle.oci import OCI_INDEX, Descriptor, Manifest, canonical_json, parse_json, parse_manifest


def fallback_tag(digest: str) -> str:
    """Return the tag under which referrers of `digest` are listed."""
    return f"sha256-{hex_of(digest)}"


def with_referrers(index: bytes | None, referrers: Sequence[Descriptor], *, what: str) -> bytes | None:
    """Return the fallback index with `referrers` in it; None when they are all in there already.

    Args:
        index: the bytes that the tag points to now, or None.
        referrers: with artifact type and annotations, as the API would list them.
        what: the thing, for errors.

    Raises:
        VerificationError: what is there is no index.
    """
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if index is not None:
        known = {entry.digest for entry in parse_manifest(index, OCI_INDEX, what=what).manifests}
        referrers = [referrer for referrer in referrers if referrer.digest not in known]
        if not referrers:
            return None
        body = parse_json(index, what=what)
    body["manifests"] = [*(body.get("manifests") or ()), *(referrer.to_json() for referrer in referrers)]
    return canonical_json(body)


def referrer_descriptor(manifest: Manifest, digest: str) -> Descriptor:
    """Return how a manifest with a subject is listed among its subject's referrers."""
    return Descriptor(
        manifest.media_type,
        digest,
        len(manifest.raw),
        annotations=manifest.annotations,
        artifact_type=manifest.kind_type if not manifest.is_index else manifest.artifact_type,
    )
