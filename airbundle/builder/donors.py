"""Earlier bundles that give a build what has not changed (`--cache`): blobs, manifests, configs. None is believed.

A bundle that airbundle's own record proves is copied as it is, inside the kernel (`builder.reuse`). All else is hashed
on its way. What is damaged is told once and taken from upstream.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from airbundle.bundle.content import BlobSource, Hasher, WriteAt
from airbundle.bundle.lock import Lock
from airbundle.bundle.oci import Descriptor
from airbundle.crypto.keys import PublicKey
from airbundle.errors import HostError, NotFound, RemoteError, UsageError, VerificationError
from airbundle.progress import SILENT, Reporter
from airbundle.store.proven import Proof, proof
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.verified import VerifiedRecords
from airbundle.store.volumes import bundles_in


@dataclass
class Donor:
    """A bundle that gives; a `BlobSource` that fails with NotFound only, and tells why.

    Attributes:
        name: for people.
        held: the bundle.
        file: the same, when it is one on this host.
        proof: airbundle's own record of it; None: it must be hashed.
        replaced: it lies where the new bundle will be.
    """

    name: str
    held: BundleFile
    file: BundleFile | None = None
    proof: Proof | None = None
    reporter: Reporter = SILENT
    replaced: bool = False
    _told: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def damaged(self) -> bool:
        """Whether it did not give something that it should have."""
        return self._told

    def has(self, digest: str, size: int | None = None) -> bool:
        """Tell whether it has a blob, of `size` bytes if given."""
        return self.held.has_blob(digest) and size in (None, self.held.blob_size(digest))

    def read_small(self, digest: str, limit: int) -> bytes | None:
        """Return the verified bytes of a manifest or config; None when it can't give them."""
        if not self.has(digest):
            return None
        try:
            return self.held.read_small(digest, limit)
        except (NotFound, VerificationError, HostError, RemoteError) as error:
            self.disappoints(error.problem)
            return None

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of a blob (see `BlobSource`). Raises NotFound, whatever is wrong with the bundle."""
        failed: list[BaseException] = []

        def put(offset: int, data: memoryview) -> None:
            try:
                write(offset, data)
            except BaseException as error:
                failed.append(error)  # the target's fault, not ours
                raise

        try:
            self.held.copy_blob(blob, put, start=start, hasher=hasher)
        except (NotFound, VerificationError, HostError, RemoteError) as error:
            if error in failed:
                raise
            self.disappoints(error.problem)
            raise NotFound(f"{self.name} does not give {blob.digest}: {error.problem}") from error

    def disappoints(self, problem: str) -> None:
        """Tell, once, that this bundle does not hold what it should."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self.reporter.warn(f"cache {self.name}: {problem}; what is damaged there is taken from elsewhere")


class Donors:
    """The bundles that a build may take from. Leaving the context closes them."""

    def __init__(self, records: VerifiedRecords, reporter: Reporter = SILENT) -> None:
        self._records = records
        self._reporter = reporter
        self._found: list[Donor] = []
        self._known: dict[tuple[tuple[int, int], ...], Donor] = {}

    @property
    def all(self) -> Sequence[Donor]:
        """All of them, the best first."""
        return sorted(self._found, key=lambda donor: (donor.proof is None, donor.file is None))

    def add_path(self, path: Path) -> None:
        """Take a bundle, any of its volumes, or all bundles of a directory. What is damaged is told and left out.

        Raises:
            UsageError: there is no such thing.
        """
        if not path.exists():
            raise UsageError(f"--cache {path}: there is no such file or directory", hint="name an earlier bundle")
        if not path.is_dir():
            self._open(path)
            return
        try:
            found = bundles_in(path)
        except HostError as error:
            self._reporter.warn(f"cache {path}: {error.problem}; it is left out")
            return
        for first in found:
            self._open(first)
        if not found:
            self._reporter.event(f"cache {path}: there is no bundle yet")

    def add_earlier(self, path: Path) -> None:
        """Take the bundle that is about to be replaced, if there is a whole one."""
        for first in (path, path.with_name(f"{path.name}.001")):
            if first.is_file():
                self._open(first, replaced=True)

    def add_published(self, name: str, open_it: Callable[[], BundleFile]) -> None:
        """Take a bundle of a registry; one that isn't there (yet), or is damaged, is told and left out.

        Raises:
            UsageError: it is something else than a bundle.
        """
        with ExitStack() as undo:
            try:
                bundle = undo.enter_context(open_it())
                _ = bundle.table
            except (VerificationError, RemoteError) as error:
                self._reporter.warn(f"cache {name}: {error.problem}; it is left out")
                return
            undo.pop_all()
        self.add(Donor(name, bundle, reporter=self._reporter))

    def add_bundle(self, name: str, bundle: BundleFile, *, replaced: bool = False) -> bool:
        """Take over an open bundle of this host, unless the same one is there already; tell whether it was taken.

        Raises:
            VerificationError: its toc is damaged, or it is truncated.
        """
        _ = bundle.table
        identity = tuple(_identity(part.fd) for part in bundle.file.parts)
        known = self._known.get(identity)
        if known is not None:
            known.replaced = known.replaced or replaced
            return False
        self._known[identity] = Donor(name, bundle, bundle, proof(self._records, bundle), self._reporter, replaced)
        self.add(self._known[identity])
        return True

    def add(self, donor: Donor) -> None:
        """Take over a bundle that is open already."""
        self._found.append(donor)

    def give(self, blob: Descriptor) -> list[BlobSource]:
        """Return those that have a blob."""
        return [donor for donor in self.all if donor.has(blob.digest, blob.size)]

    def has(self, digest: str, size: int | None = None) -> bool:
        """Tell whether one of them has a blob."""
        return any(donor.has(digest, size) for donor in self._found)

    def read_small(self, digest: str, limit: int) -> bytes | None:
        """Return the verified bytes of a manifest or config; None when none of them has it."""
        return next((raw for raw in (donor.read_small(digest, limit) for donor in self.all) if raw is not None), None)

    def installer(self, lock: Lock, key: PublicKey) -> bytes | None:
        """Return the zip application of a bundle that this key has signed, made of the same parts as `lock` pins.

        Its bytes follow from the parts, but that can't be told from the zip: so the key's word for it is needed.
        """
        for donor in self.all:
            bundle = donor.held
            if not any(name == key.key_id and key.verify(raw, bundle.statement_raw) for name, raw in bundle.signatures):
                continue
            try:
                if (bundle.lock.installer_version, bundle.lock.installer) == (lock.installer_version, lock.installer):
                    return bundle.installer_bytes()
            except (VerificationError, HostError, RemoteError) as error:
                donor.disappoints(error.problem)
        return None

    def close(self) -> None:
        """Close the files."""
        for donor in self._found:
            donor.held.close()
        self._found.clear()

    def __enter__(self) -> Donors:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self, path: Path, *, replaced: bool = False) -> None:
        with ExitStack() as undo:
            try:
                bundle = undo.enter_context(open_bundle([path]))
                if self.add_bundle(str(path), bundle, replaced=replaced):
                    undo.pop_all()
            except (VerificationError, HostError, UsageError) as error:
                # Nobody has asked for what is replaced.
                tell = self._reporter.event if replaced else self._reporter.warn
                tell(f"cache {path}: {error.problem}; it is left out")


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
