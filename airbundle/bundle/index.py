"""`index.json`: the roots of a bundle and their annotations (design §3). It decides what the content is.

Only images carry the names that `ctr` and skopeo look for; on anything else those names make `ctr` refuse the import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from airbundle.bundle.oci import (
    BUNDLE_KIND,
    BUNDLE_REF,
    CONTAINERD_NAME,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    REF_NAME,
    Descriptor,
    canonical_json,
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

_START, _END = '{"manifests":[', f'],"mediaType":"{OCI_INDEX}","schemaVersion":2}}'
_TEXT = r'((?!")[^"\\\x00-\x1f]*(?:\\["\\][^"\\\x00-\x1f]*)*)'
_TYPE = "|".join(map(re.escape, sorted(INDEX_TYPES | MANIFEST_TYPES)))
_ANNOTATED = f'"{BUNDLE_KIND}":"TEXT","{BUNDLE_REF}":"TEXT","{BUNDLE_SIZE}":"(0|[1-9][0-9]{{0,18}})"'.replace(
    ".", r"\."
)
_NAMED = rf'(?:(,)"{CONTAINERD_NAME}":"\2","{REF_NAME}":"\2")?'.replace(".", r"\.")
_ROOT = (
    rf'\{{"annotations":\{{{_ANNOTATED}{_NAMED}\}}(?:,"artifactType":"TEXT")?,"digest":"(sha256:[0-9a-f]{{64}})"'
    rf',"mediaType":"({_TYPE})","size":(0|[1-9][0-9]{{0,15}})\}}(?:,(?=\{{)|\Z)'
)
# What is no root, and all that follows it, is found as one piece: no byte is skipped.
_ENTRY = re.compile(f"{_ROOT.replace('TEXT', _TEXT)}|(.+)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")


class RootRow(NamedTuple):
    """What `index.json` says of a root: cheaper than a descriptor where 10,000 are only shown.

    Attributes:
        total: bytes of the root and of all that it needs.
        size: bytes of its manifest or index.
    """

    kind: str
    ref: str
    total: int
    digest: str
    media_type: str
    size: int
    artifact_type: str


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
    annotations = _annotations(kind, ref, str(total))
    artifact_type = "" if kind == IMAGE else artifact_type
    return Descriptor(target.media_type, target.digest, target.size, annotations, artifact_type=artifact_type)


def _annotations(kind: str, ref: str, total: str) -> dict[str, str]:
    found = {BUNDLE_KIND: kind, BUNDLE_REF: ref, BUNDLE_SIZE: total}
    if kind == IMAGE:
        found[REF_NAME] = found[CONTAINERD_NAME] = ref
    return found


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
    """Read `index.json` as airbundle writes it: canonical JSON of one form, and no other.

    Raises:
        VerificationError: another form, unknown fields, a root without kind or name, or one that stands twice.
    """
    return tuple(map(_descriptor, read_roots(raw)))


def _descriptor(row: RootRow) -> Descriptor:
    annotations = _annotations(row.kind, row.ref, str(row.total))
    return Descriptor(row.media_type, row.digest, row.size, annotations, artifact_type=row.artifact_type)


def read_roots(raw: bytes) -> list[RootRow]:
    """Read `index.json` as `parse_index` does, for who only shows it.

    Raises:
        VerificationError: as `parse_index`.
    """
    if len(raw) > INDEX_LIMIT:
        raise VerificationError(f"index.json: {len(raw)} bytes are more than the {INDEX_LIMIT} allowed")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise VerificationError("index.json: not UTF-8") from None
    if not text.startswith(_START) or not text.endswith(_END):
        raise VerificationError("index.json: not the index of a bundle of version airbundle.dev/v1")
    rows = [_row(groups) for groups in _ENTRY.findall(text, len(_START), len(text) - len(_END))]
    if len({(row.kind, row.ref) for row in rows}) != len(rows):
        raise VerificationError("index.json: a root stands twice")
    return rows


def _row(groups: tuple[str, ...]) -> RootRow:
    kind, ref, total, named, artifact_type, digest, media_type, size, rest = groups
    if rest:
        raise VerificationError(
            f"index.json: found {rest[:60]!r}…; expected a root as airbundle writes it:"
            " canonical JSON, kind, name and size in its annotations, no other fields"
        )
    if (kind == IMAGE) != bool(named) or (named and artifact_type):
        raise VerificationError(f"index.json: {digest}: an image's names belong to images, and to all of them")
    shown = kind + ref + artifact_type
    # Shown to people before it is believed: no control characters.
    if not shown.isprintable():
        raise VerificationError(f"index.json: {digest}: kind, name and type are printable text")
    if "\\" in shown:
        kind, ref, artifact_type = (_ESCAPED.sub(r"\1", text) for text in (kind, ref, artifact_type))
    return RootRow(kind, ref, int(total), digest, media_type, int(size), artifact_type)
