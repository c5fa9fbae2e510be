"""The open bundles as one store: newest first, a blob is served by the first that has it whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor
from airbundle.bundle.serving import ServedBundle
from airbundle.bundle.statement import Statement
from airbundle.errors import DigestMismatch, NotFound
from airbundle.server.body import Body
from airbundle.server.gate import Gate
from airbundle.store.reader import BundleFile, open_bundle

logger = logging.getLogger(__name__)

Check = Callable[[BundleFile], None]
"""Raises when a bundle is not to be served, such as for its signature."""


@dataclass(frozen=True)
class Opened:
    """A bundle whose head has verified, and the gate before its blobs."""

    bundle: BundleFile
    gate: Gate

    @property
    def statement(self) -> Statement:
        """What the bundle is."""
        return self.bundle.statement


class Library:
    """Open bundles. Made before the workers are forked; safe for many threads and for forked processes."""

    def __init__(self, served: Sequence[ServedBundle], check: Check | None = None) -> None:
        """Open the bundles, `check` each, and verify its head unless its files are as they were when all verified.

        Raises:
            UsageError: one isn't there.
            VerificationError: one is damaged.
        """
        with ExitStack() as undo:
            opened = []
            for item in served:
                bundle = undo.enter_context(open_bundle(item.volumes))
                if check is not None:
                    check(bundle)
                gate = Gate(bundle, item.verified)
                undo.callback(gate.close)
                if not gate.is_proven:
                    bundle.verify_head()
                opened.append(Opened(bundle, gate))
            # Newest first; of equal serials the one named first.
            self.bundles = tuple(sorted(opened, key=lambda each: each.statement.serial, reverse=True))
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Close the bundles."""
        self._undo.close()

    def has(self, digest: str) -> bool:
        """Tell whether any bundle has this blob or manifest."""
        return any(each.bundle.has_blob(digest) for each in self.bundles)

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
                return Body(each.bundle, digest, start, length)
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
                return each.bundle.read_small(digest, limit)
            except DigestMismatch as error:
                failure = error
        raise failure or NotFound(f"no bundle has {digest}", side="site")

    def load(self, descriptor: Descriptor) -> bytes | None:
        """Return a manifest's bytes, or None when no bundle carries it (`content.walk`)."""
        return self.read_small(descriptor.digest) if self.has(descriptor.digest) else None

    def prove_all(self, stop: threading.Event) -> None:
        """Hash all blobs that are not proven yet; returns early on `stop`."""
        for each in self.bundles:
            each.gate.prove_all(stop)

    def _having(self, digest: str) -> Iterator[Opened]:
        return (each for each in self.bundles if each.bundle.has_blob(digest))
