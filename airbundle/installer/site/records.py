"""Records of a site as files: JSON that says its kind and version. What does not parse is refused, not repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import parse_digest
from airbundle.errors import AirbundleError, DocumentError
from airbundle.installer.files import PRIVATE_FILE, read_file, write_file
from airbundle.installer.site.deployment import DeployedRelease, Deployment

API_VERSION = "airbundle.dev/v1"
VERSION = 1
LIMIT = 16 * 1024 * 1024
"""Bytes that a record has at most."""


def read_deployment(path: Path, number: int) -> Deployment:
    """Return a deployment as it was written.

    Raises:
        DocumentError: it does not parse, or a newer airbundle wrote it.
    """
    body = read_record(read_file(path, limit=LIMIT) or b"", "Deployment", path)
    try:
        releases = tuple(_release(each) for each in body["releases"])
        texts = {name: str(body[name]) for name in ("name", "version", "statement", "time")}
        return Deployment(
            number=number,
            serial=int(body["serial"]),
            complete=body["complete"] is True,
            who=dict(body["who"]),
            releases=releases,
            **texts,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, AirbundleError) as error:
        raise broken(path, f"{type(error).__name__}: {error}") from None


def write_record(path: Path, kind: str, body: Mapping[str, Any]) -> None:
    """Write a record, durably.

    Raises:
        HostError: it can't be written.
    """
    document = {"apiVersion": API_VERSION, "kind": kind, "formatVersion": VERSION, **body}
    write_file(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode(), PRIVATE_FILE)


def read_record(raw: bytes, kind: str, path: Path) -> Mapping[str, Any]:
    """Return a record's fields.

    Args:
        raw: the file's bytes.
        kind: what it has to be.
        path: of the file, for errors.

    Raises:
        DocumentError: it does not parse, or a newer airbundle wrote it.
    """
    try:
        body = json.loads(raw)
        version = body["formatVersion"]
        if body["kind"] != kind or not isinstance(version, int):
            raise ValueError(f"it is no {kind}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise broken(path, str(error)) from None
    if version > VERSION:
        raise DocumentError(
            f"{path}: has version {version}, expected {VERSION} at most",
            hint="a newer airbundle manages this site: run that one",
        )
    found: Mapping[str, Any] = body
    return found


def broken(path: Path, why: str) -> DocumentError:
    """Return the error for a file of a site that is not what it has to be."""
    return DocumentError(
        f"{path}: does not parse as a record of a site: {why}",
        hint="restore it with `airbundle state restore`, or from a backup",
    )


def _release(body: Mapping[str, Any]) -> DeployedRelease:
    manifest, values = str(body["manifest"]), str(body.get("values", ""))
    for what, digest in (("manifest", manifest), ("values", values)):
        if digest:
            parse_digest(digest, what=what)
    return DeployedRelease(
        name=str(body["name"]),
        namespace=str(body["namespace"]),
        kind=str(body["kind"]),
        inputs=str(body["inputs"]),
        revision=int(body["revision"]),
        rollback=str(body["rollback"]),
        needs=tuple(map(str, body["needs"])),
        images=tuple(map(str, body["images"])),
        objects=tuple(map(str, body["objects"])),
        manifest=manifest,
        bundle=str(body.get("bundle", "")),
        values=values,
    )
