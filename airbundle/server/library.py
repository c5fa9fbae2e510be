"""The open bundles as one store: the first that is named has a tag; a blob is served by the first that has it whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor
from airbundle.bundle.serving import BASE, BUNDLE, PARTLY, SUPPLEMENT, ServedBundle
from airbundle.bundle.statement import Statement
from airbundle.errors import DigestMismatch, NotFound
from airbundle.server.body import Body
from airbundle.server.gate import Gate
from airbundle.store.delta import refuse_lacking, server_blobs
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.supplement import Supplement
from airbundle.store.table_file import TableFile

logger = logging.getLogger(__name__)

Check = Callable[[BundleFile], None]
"""Raises when a bundle is not to be served, such as for its signature."""


@dataclass(frozen=True)
class Held:
    """A file of blobs and the gate before them."""

    file: TableFile
    gate: Gate


@dataclass(frozen=True)
class Opened(Held):
    """A bundle whose head has verified, and the gate before its blobs."""

    bundle: BundleFile

    @property
    def statement(self) -> Statement:
        """What the bundle is."""
        return self.bundle.statement


class Library:
    """Open bundles. Made before the workers are forked; safe for many threads and for forked processes.

    Attributes:
        bundles: those that are served, in the order of the configuration: what the first one says of a name counts.
        held: all files that blobs are served from: the bundles, then those that are there for their blobs alone.
    """

    def __init__(self, served: Sequence[ServedBundle], check: Check | None = None) -> None:
        """Open the bundles, `check` each, and verify its head unless its files are as they were when all verified.

        What is served for its blobs alone needs neither: its blobs are asked for by digests that other heads say.

        Raises:
            UsageError: one isn't there.
            VerificationError: one is damaged.
        """
        with ExitStack() as undo:
            # Not by serial: a site that went back to an older bundle has its tags, while copies of newer ones are kept.
            self.bundles = tuple(_open(item, check, undo) for item in served if item.holds in (BUNDLE, PARTLY))
            wanted = frozenset(blob.digest for each in self.bundles for blob in each.bundle.missing())
            others = [_hold(item, wanted, undo) for item in served if item.holds in (BASE, SUPPLEMENT)]
            self.held = (*self.bundles, *others)
            self._undo = undo.pop_all()

    def check_whole(self, *, images: bool) -> None:
        """Refuse deltas of which something is nowhere here.

        Args:
            images: whether images are served; else only what charts, files and databases need is looked for.

        Raises:
            CheckFailed: lists it.
        """
        for each in self.bundles:
            lacking = [blob for blob in each.bundle.missing() if not self.has(blob.digest, blob.size)]
            if lacking and not images:
                needed = server_blobs(each.bundle)
                lacking = [blob for blob in lacking if blob.digest in needed]
            refuse_lacking(each.bundle, lacking, {}, [other.bundle for other in self.bundles])

    def close(self) -> None:
        """Close the bundles."""
        self._undo.close()

    def has(self, digest: str, size: int | None = None) -> bool:
        """Tell whether any file has this blob or manifest, of `size` bytes where that is given."""
        return any(size is None or each.file.blob_size(digest) == size for each in self._having(digest))

    def body(self, digest: str, start: int, length: int) -> Body:
        """Return a range of a blob whose digest has verified.

        Raises:
            NotFound: no bundle has it.
            DigestMismatch: each that has it is damaged there.
            HostError: it can't be read.
        """
        failure: DigestMismatch | None = None
        for each in self._having(digest):
            try:
                each.gate.admit(digest)
            except DigestMismatch as error:
                failure = error
            else:
                return Body(each.file, digest, start, length)
        raise failure or NotFound(f"no bundle has {digest}", side="site")

    def read_small(self, digest: str, limit: int = MANIFEST_LIMIT) -> bytes:
        """Return a manifest or another small blob, verified.

        Raises:
            NotFound: no bundle has it.
            VerificationError: each that has it is damaged there, or it is larger than `limit` bytes.
        """
        failure: DigestMismatch | None = None
        for each in self._having(digest):
            try:
                return each.file.read_small(digest, limit)
            except DigestMismatch as error:
                failure = error
        raise failure or NotFound(f"no bundle has {digest}", side="site")

    def load(self, descriptor: Descriptor) -> bytes | None:
        """Return a manifest's bytes, or None when no bundle carries it (`content.walk`)."""
        return self.read_small(descriptor.digest) if self.has(descriptor.digest) else None

    def prove_all(self, stop: threading.Event) -> None:
        """Hash all blobs that are not proven yet; returns early on `stop`."""
        for each in self.held:
            each.gate.prove_all(stop)

    def _having(self, digest: str) -> Iterator[Held]:
        return (each for each in self.held if each.gate.has(digest))


def _open(item: ServedBundle, check: Check | None, undo: ExitStack) -> Opened:
    bundle = undo.enter_context(open_bundle(item.volumes))
    if check is not None:
        check(bundle)
    gate = _gate(bundle, item, undo, server_blobs(bundle) if item.holds == PARTLY else None)
    if not gate.is_proven:
        bundle.verify_head()
    return Opened(bundle, gate, bundle)


def _hold(item: ServedBundle, wanted: Collection[str], undo: ExitStack) -> Held:
    """Open a file for its blobs alone: of a base, whose statement nobody believes, those that a delta leaves out."""
    if item.holds == SUPPLEMENT:
        supplement = undo.enter_context(Supplement.open(item.volumes[0]))
        return Held(supplement, _gate(supplement, item, undo))
    base = undo.enter_context(open_bundle(item.volumes))
    return Held(base, _gate(base, item, undo, wanted))


def _gate(file: TableFile, item: ServedBundle, undo: ExitStack, present: Collection[str] | None = None) -> Gate:
    gate = Gate(file, item.verified, present)
    undo.callback(gate.close)
    return gate
