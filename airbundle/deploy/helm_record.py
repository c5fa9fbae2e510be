"""helm's own record of a revision, as it lies in a Secret: read with bounds, and changed so that helm keeps objects.

`helm uninstall` deletes all that a revision's manifest lists, volume claims and definitions too, except what has the
annotation `helm.sh/resource-policy: keep` in that manifest; one at the live object means nothing to it. So data is kept
by writing the annotation into the record, before helm is asked to take the release away.
Source: Helm 3, `pkg/storage/driver/util.go`, `pkg/action/resource_policy.go`.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airbundle.deploy.keeping import HELM_KEEP, metadata_of
from airbundle.errors import RemoteError
from airbundle.scan.documents import document_spans, objects_in
from airbundle.scan.loading import load_document

RECORD_LIMIT = 64 << 20
"""Most bytes of a record that is unpacked; etcd holds some 1.5 MiB of it, packed."""
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class HelmRecord:
    """A revision of a release as helm keeps it; `body` has what helm wrote, and all of it is written back."""

    body: Mapping[str, Any]

    @property
    def manifest(self) -> str:
        """What was applied, without hooks."""
        return str(self.body.get("manifest") or "")

    def objects(self) -> list[dict[str, Any]]:
        """Return the objects of the manifest; what does not parse is left out."""
        return list(_objects(self.manifest))

    def hooks(self) -> list[dict[str, Any]]:
        """Return the objects that hooks make; helm leaves those behind that no policy of theirs deletes."""
        listed = self.body.get("hooks")
        texts = (
            [each.get("manifest") for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
        )
        return [body for text in texts if isinstance(text, str) for body in _objects(text)]

    def keeping(self, keep: Callable[[Mapping[str, Any]], bool]) -> HelmRecord:
        """Return this with the annotation at each object of the manifest that `keep` says yes to."""
        return replace(self, body={**self.body, "manifest": _annotated(self.manifest, keep)})

    def adding(self, bodies: Iterable[Mapping[str, Any]]) -> HelmRecord:
        """Return this with further objects at the end of the manifest."""
        text = "".join(f"\n---\n{json.dumps(body)}\n" for body in bodies)
        return replace(self, body={**self.body, "manifest": self.manifest + text})

    def to_data(self) -> str:
        """Return what the Secret's `data.release` holds."""
        packed = gzip.compress(json.dumps(self.body).encode(), mtime=0)
        return base64.b64encode(base64.b64encode(packed)).decode()


def parse_record(secret: Mapping[str, Any], *, what: str) -> HelmRecord:
    """Read a record.

    Args:
        secret: the Secret `sh.helm.release.v1.NAME.vN`.
        what: its name, for errors.

    Raises:
        RemoteError: it is none of helm's, or unpacks to more than `RECORD_LIMIT` bytes.
    """
    data = secret.get("data")
    packed = data.get("release") if isinstance(data, Mapping) else None
    try:
        written = base64.b64decode(packed if isinstance(packed, str) else "", validate=True)
        raw = base64.b64decode(written, validate=True)
        unpacked = zlib.decompressobj(_GZIP).decompress(raw, RECORD_LIMIT + 1) if raw[:2] == b"\x1f\x8b" else raw
        if len(unpacked) > RECORD_LIMIT:
            raise ValueError(f"it unpacks to more than {RECORD_LIMIT} bytes")
        body = json.loads(unpacked)
        if not isinstance(body, dict) or not isinstance(body.get("manifest", ""), str):
            raise TypeError("it is no release")
    except (binascii.Error, zlib.error, ValueError, TypeError, RecursionError) as error:
        raise RemoteError(f"{what}: not a record of helm: {error}", side="site") from None
    return HelmRecord(body)


def is_kept(body: Mapping[str, Any]) -> bool:
    """Tell whether helm leaves an object of a manifest when it takes the release away."""
    annotations = metadata_of(body).get("annotations")
    policy = annotations.get(HELM_KEEP) if isinstance(annotations, Mapping) else None
    return isinstance(policy, str) and policy.strip().lower() == "keep"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    raw = text.encode()
    for start, end in document_spans(raw):
        yield from (body for _, body in objects_in(load_document(raw[start:end].decode(errors="replace")).value))


def _annotated(text: str, keep: Callable[[Mapping[str, Any]], bool]) -> str:
    raw, parts, last = text.encode(), [], 0
    for start, end in document_spans(raw):
        value = load_document(raw[start:end].decode(errors="replace")).value
        if isinstance(value, dict) and keep(value) and not is_kept(value):
            parts += [raw[last:start], b"\n", json.dumps(_with_annotation(value)).encode(), b"\n"]
            last = end
    return b"".join([*parts, raw[last:]]).decode(errors="replace")


def _with_annotation(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = metadata_of(body)
    annotations = metadata.get("annotations")
    kept = {**(annotations if isinstance(annotations, Mapping) else {}), HELM_KEEP: "keep"}
    return {**body, "metadata": {**metadata, "annotations": kept}}
