"""The gate before the blobs: none is served before its digest has verified (design §6, docs/decisions).

What has verified is kept in memory that all worker processes share, one byte for each blob, together with the
fingerprints of the files it was true for. Requests look at the files' inode, size, mtime and ctime; when one changed,
everything is unproven again. A blob that is asked for before the background pass got to it is hashed first.

Blobs are locked for hashing by byte-range locks on the file beneath that memory; the kernel frees them when a worker
dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from airbundle.bundle.serving import Fingerprint, fingerprint
from airbundle.errors import DigestMismatch, HostError
from airbundle.store.table_file import TableFile

logger = logging.getLogger(__name__)

_UNPROVEN, _GOOD, _DAMAGED = 0, 1, 2
_HEAD = 32  # SHA-256 of the fingerprints that the states are true for
_PIECE = 1024 * 1024


class Gate:
    """Which blobs of one file have proved their digest. Made before the workers are forked.

    Attributes:
        is_proven: whether the files were, when the gate was made, those that an installer has verified whole.
    """

    def __init__(
        self, bundle: TableFile, verified: Sequence[Fingerprint] = (), present: Collection[str] | None = None
    ) -> None:
        """Make the gate of `bundle`.

        Args:
            bundle: an open bundle, or another file of blobs.
            verified: fingerprints of its files from when every blob had verified.
            present: the blobs that it has, where others are holes in the file; None for all of its toc.
        """
        self._bundle = bundle
        self._digests = [digest for digest, _ in bundle.toc.blobs if present is None or digest in present]
        self._place = {digest: i for i, digest in enumerate(self._digests)}
        self._lock_file = _memory_file()
        os.ftruncate(self._lock_file, _HEAD + max(1, len(self._digests)))
        self._states = mmap.mmap(self._lock_file, 0)
        self._busy: set[int] = set()
        self._free = threading.Condition()
        self._states[:_HEAD] = self._now()
        self.is_proven = bool(verified) and tuple(verified) == self._fingerprints()
        if self.is_proven:
            self._states[_HEAD:] = bytes([_GOOD]) * (len(self._states) - _HEAD)

    def close(self) -> None:
        """Give the memory back."""
        self._states.close()
        os.close(self._lock_file)

    def has(self, digest: str) -> bool:
        """Tell whether there is such a blob: a hole in the file is none."""
        return digest in self._place

    def admit(self, digest: str) -> None:
        """Return when the blob's bytes are known to be right; hash them first where that is not yet known.

        Raises:
            DigestMismatch: they are not.
            HostError: they can't be read.
        """
        self._check_files()
        place = self._place[digest]
        if self._states[_HEAD + place] == _UNPROVEN:
            self._prove(place, wait=True)
        if self._states[_HEAD + place] != _GOOD:
            raise DigestMismatch(
                f"blob {digest} is damaged in {self._bundle.path.name}",
                hint="copy the bundle again; `airbundle verify` lists all that is damaged",
            )

    def counts(self) -> tuple[int, int]:
        """Return how many blobs have verified and how many are damaged."""
        states = self._states[_HEAD : _HEAD + len(self._digests)]
        return states.count(_GOOD), states.count(_DAMAGED)

    def damaged(self) -> Iterator[str]:
        """Yield the digests of damaged blobs that were found so far."""
        states = self._states[_HEAD : _HEAD + len(self._digests)]
        place = states.find(_DAMAGED)
        while place >= 0:
            yield self._digests[place]
            place = states.find(_DAMAGED, place + 1)

    def prove_all(self, stop: threading.Event) -> None:
        """Hash every blob that is not proven yet, beside other workers that do the same, until done or `stop`."""
        self._check_files()
        for place in range(len(self._digests)):
            if stop.is_set():
                return
            if self._states[_HEAD + place] == _UNPROVEN:
                try:
                    self._prove(place, wait=False)
                except HostError:
                    logger.exception("blob %s can't be read", self._digests[place])
                    return

    def _prove(self, place: int, *, wait: bool) -> None:
        """Hash one blob, unless its state is known once its lock is held. Without `wait`, leave it to who holds it."""
        with self._locked(place, wait) as held:
            if not held or self._states[_HEAD + place] != _UNPROVEN:
                return
            before = self._states[:_HEAD]
            good = self._hash(self._digests[place]) == self._digests[place]
            if self._now() == before == self._states[:_HEAD]:
                self._states[_HEAD + place] = _GOOD if good else _DAMAGED
            if not good:
                logger.error("blob %s is damaged in the file", self._digests[place])

    def _hash(self, digest: str) -> str:
        hasher = hashlib.sha256()
        position = 0
        with memoryview(bytearray(_PIECE)) as buffer:
            while count := self._bundle.read_into(digest, position, buffer):
                hasher.update(buffer[:count])
                position += count
        return "sha256:" + hasher.hexdigest()

    @contextmanager
    def _locked(self, place: int, wait: bool) -> Iterator[bool]:
        """Hold `place` against other threads and processes; without `wait`, give False when another holds it."""
        with self._free:
            while place in self._busy:
                if not wait:
                    yield False
                    return
                self._free.wait()
            self._busy.add(place)
        try:
            try:
                flags = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
                fcntl.lockf(self._lock_file, flags, 1, _HEAD + place)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.lockf(self._lock_file, fcntl.LOCK_UN, 1, _HEAD + place)
        finally:
            with self._free:
                self._busy.discard(place)
                self._free.notify_all()

    def _check_files(self) -> None:
        now = self._now()
        if now == self._states[:_HEAD]:
            return
        with self._locked(-_HEAD, True):
            if now != self._states[:_HEAD]:
                logger.warning("%s has changed on disk: its blobs are verified again", self._bundle.path.name)
                self._states[_HEAD:] = bytes(len(self._states) - _HEAD)
                self._states[:_HEAD] = now

    def _fingerprints(self) -> tuple[Fingerprint, ...]:
        return tuple(fingerprint(os.fstat(part.fd)) for part in self._bundle.file.parts)

    def _now(self) -> bytes:
        return hashlib.sha256(repr(self._fingerprints()).encode()).digest()


def _memory_file() -> int:
    """Return the descriptor of an empty file that lies in memory; where Python can't make one, a temporary file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("airbundle-gate")
    with tempfile.TemporaryFile(prefix="airbundle-gate-") as stream:
        return os.dup(stream.fileno())
