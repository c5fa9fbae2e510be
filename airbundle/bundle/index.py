"""`index.json`: the roots of a bundle and their annotations (design §3). It decides what the content is.

Only images carry the names that `ctr` and skopeo look for; on anything else those names make `ctr` refuse the import.
"""

from __future__ import annotations

from collections.abc import Iterable

from airbundle.bundle.oci import (
    BUNDLE_KIND,
    BUNDLE_REF,
    CONTAINERD_NAME,
    OCI_INDEX,
    REF_NAME,
    Descriptor,
    canonical_json,
    parse_json,
)
from airbundle.errors import VerificationError

INDEX_LIMIT = 64 * 1024 * 1024
BUNDLE_SIZE = "dev.airbundle.size"
"""Annotation: bytes of the root and of all that it needs, in the bundle or its base, in decimal."""

IMAGE = "image"
CHART = "chart"
SIGNATURE = "signature"
"""Kind of a manifest that is found by a tag made from its subject's digest, as cosign's `sha256-<hex>.sig`."""
REFERRER = "referrer"
"""Kind of a manifest that names its subject itself."""

_FIRST = {IMAGE: 0, CHART: 1, SIGNATURE: 3, REFERRER: 4}


def root_order(kind: str, ref: str) -> tuple[int, str, str]:
    """Return the sort key of roots: images, charts, other kinds by name, signatures, referrers; then by ref."""
    return _FIRST.get(kind, 2), kind, ref


def make_root(kind: str, ref: str, target: Descriptor, total: int, artifact_type: str = "") -> Descriptor:
    """Return the entry of `index.json` for one root.

    Args:
        kind: `image`, `chart`, `signature`, …
        ref: its full name.
        target: media type, digest and size of the manifest or index.
        total: bytes of everything it needs.
        artifact_type: of roots that are no images.
    """
    annotations = {BUNDLE_KIND: kind, BUNDLE_REF: ref, BUNDLE_SIZE: str(total)}
    if kind == IMAGE:
        annotations[REF_NAME] = annotations[CONTAINERD_NAME] = ref
        artifact_type = ""
    return Descriptor(
        target.media_type, target.digest, target.size, annotations=annotations, artifact_type=artifact_type
    )


def kind_of(root: Descriptor) -> str:
    """Return the kind of a root."""
    return root.annotations.get(BUNDLE_KIND, "")


def ref_of(root: Descriptor) -> str:
    """Return the full name of a root."""
    return root.annotations.get(BUNDLE_REF, "")


def total_of(root: Descriptor) -> int:
    """Return the bytes of a root and of all that it needs."""
    return int(root.annotations.get(BUNDLE_SIZE, "0"))


def encode_index(roots: Iterable[Descriptor]) -> bytes:
    """Return the bytes of `index.json`; equal roots give equal bytes."""
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root.to_json() for root in roots]}
    return canonical_json(body)


def parse_index(raw: bytes) -> tuple[Descriptor, ...]:
    """Read `index.json` as airbundle writes it.

    Raises:
        VerificationError: another form, unknown fields, a root without kind or name, or one that stands twice.
    """
    body = parse_json(raw, what="index.json", limit=INDEX_LIMIT)
    entries = body.get("manifests") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise VerificationError("index.json: manifests is a list")
    roots = tuple(Descriptor.from_json(entry, what=f"index.json: [{i}]") for i, entry in enumerate(entries))
    if encode_index(_remade(root) for root in roots) != raw:
        raise VerificationError("index.json: not in canonical form, or with fields that airbundle does not write")
    if len({(kind_of(root), ref_of(root)) for root in roots}) != len(roots):
        raise VerificationError("index.json: a root stands twice")
    return roots


def _remade(root: Descriptor) -> Descriptor:
    kind, ref, total = (root.annotations.get(key, "") for key in (BUNDLE_KIND, BUNDLE_REF, BUNDLE_SIZE))
    if not kind or not ref or not (root.is_index or root.is_manifest):
        raise VerificationError(f"index.json: {root.digest} has no kind or name, or is no manifest")
    # Shown to people before it is believed: no control characters, no unpaired surrogates.
    if not (kind + ref + root.artifact_type).isprintable():
        raise VerificationError(f"index.json: {root.digest}: kind, name and type are printable text")
    if not (total.isascii() and total.isdigit() and len(total) < 20):
        raise VerificationError(f"index.json: {root.digest}: {BUNDLE_SIZE} {total[:30]!r} is no number")
    return make_root(kind, ref, root, int(total), root.artifact_type)
