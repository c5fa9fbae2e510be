"""`--base`: what a delta may leave out, told by an earlier bundle, by its lock, or by the site itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from airbundle.builder.donors import Donors
from airbundle.builder.published import open_published
from airbundle.bundle.digest import sha256
from airbundle.bundle.lock import REGISTRY, Lock, LockedRoot, parse_lock
from airbundle.bundle.oci import Descriptor, parse_json, parse_manifest
from airbundle.bundle.site_state import KIND as SITE_STATE
from airbundle.bundle.site_state import STATE_LIMIT, parse_site_state
from airbundle.bundle.statement import Base
from airbundle.errors import DocumentError, NotFound, UsageError, VerificationError
from airbundle.store.host import host_errors
from airbundle.store.plan import BaseBundle
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.transfer.registry import RegistryClient

_LOCK = "Lock"

ReadManifest = Callable[[LockedRoot, Descriptor], bytes]
"""Gives the verified bytes of a manifest that a lock pins."""


@dataclass(frozen=True)
class BaseDocument:
    """A JSON document that tells of a base: a lock, or a site's state.

    Attributes:
        path: of the file.
        kind: what it says it is.
        raw: its bytes.
    """

    path: Path
    kind: str
    raw: bytes


def read_document(path: Path) -> BaseDocument | None:
    """Return the document in a file; None when it is no JSON, but perhaps a bundle.

    Raises:
        UsageError: there is no such file.
        DocumentError: it is too large, or JSON of another kind.
    """
    if not path.exists():
        raise UsageError(f"--base {path}: there is no such file", hint="name a bundle, its lock, or a site's state")
    if not path.is_file():
        return None
    with host_errors("read", path), path.open("rb") as file:
        if not file.read(64).lstrip().startswith(b"{"):
            return None
        file.seek(0)
        raw = file.read(STATE_LIMIT + 1)
    try:
        body = parse_json(raw, what=str(path), limit=STATE_LIMIT)
    except VerificationError as error:
        raise DocumentError(f"--base {error.problem}") from None
    kind = body.get("kind") if isinstance(body, dict) else None
    if kind not in (_LOCK, SITE_STATE):
        raise DocumentError(
            f"--base {path}: found a document of kind {str(kind)[:40]!r}, expected {_LOCK} or {SITE_STATE}",
            hint="name a bundle, its lock, or what `airbundle status --json` wrote on site",
        )
    return BaseDocument(path, str(kind), raw)


def find_base(path: Path, name: str, donors: Donors, read: ReadManifest) -> BaseBundle | None:
    """Return the base that a file tells of; None when a site has nothing yet.

    Args:
        path: a bundle, any of its volumes or a directory with them; a lock; or a site's state.
        name: of the bundle that is built.
        donors: take a base bundle over: it has manifests and configs that need not be fetched.
        read: gives the manifests of a lock.

    Raises:
        UsageError: there is nothing of the kind.
        VerificationError: the bundle is damaged.
        NotFound, RemoteError: a manifest of the lock is no longer to be had.
    """
    document = read_document(path)
    if document is not None:
        return base_of_document(document, name, read)
    with ExitStack() as undo:
        bundle = undo.enter_context(open_bundle([path]))
        base = base_of_bundle(bundle)
        if donors.add_bundle(str(path), bundle):
            undo.pop_all()
    return base


def base_of_published(url: str, donors: Donors, client: RegistryClient) -> BaseBundle:
    """Return a published bundle as a base; it gives manifests and configs, too.

    Raises:
        NotFound, UsageError, VerificationError, RemoteError: as `open_published`.
    """
    bundle = open_published(client, url)
    base = base_of_bundle(bundle)
    donors.add_published(url, lambda: bundle)
    return base


def base_of_bundle(bundle: BundleFile) -> BaseBundle:
    """Return a bundle as a base: with the blobs that it carries and those that its own base has."""
    statement = bundle.statement
    base = Base(statement.name, statement.version, statement.serial, sha256(bundle.statement_raw))
    return BaseBundle(base, frozenset(digest for digest, _ in bundle.toc.blobs + bundle.toc.external))


def base_of_document(document: BaseDocument, name: str, read: ReadManifest) -> BaseBundle | None:
    """Return the base that a document tells of; None when the site has nothing yet.

    Args:
        document: from `read_document`.
        name: of the bundle that is built; the base is a site's newest bundle of this name, else its newest of all.
        read: for a lock: gives its manifests.

    Raises:
        DocumentError: it doesn't parse.
        NotFound, RemoteError: a manifest of the lock is no longer to be had.
    """
    where = f"--base {document.path}"
    if document.kind == _LOCK:
        lock = parse_lock(document.raw, where=where)
        base = Base(lock.name, lock.version, lock.serial, lock=sha256(lock.to_bytes()))
        return BaseBundle(base, frozenset(_blobs_of(lock, read)))
    state = parse_site_state(document.raw, where=where)
    newest = state.newest(name)
    if newest is None:
        if state.blobs:
            raise DocumentError(f"{where}: there are blobs, and no bundle that brought them")
        return None
    return BaseBundle(newest, state.blobs.keys())


def _blobs_of(lock: Lock, read: ReadManifest) -> set[str]:
    """Return the digests of all blobs of a lock; what it materialised is listed there, all else in manifests."""
    found = {blob.digest for root in lock.roots for blob in root.blobs}
    for root in lock.roots:
        if root.source != REGISTRY:
            continue
        for descriptor in (root.descriptor, *root.children, *root.referrers):
            if not (descriptor.is_manifest or descriptor.is_index):
                continue
            try:
                raw = read(root, descriptor)
            except NotFound as error:
                error.hint = "give the base bundle itself, or an earlier bundle that has it as --cache"
                raise
            what = f"{root.ref} ({descriptor.digest})"
            found.update(blob.digest for blob in parse_manifest(raw, descriptor.media_type, what=what).blobs)
    return found
