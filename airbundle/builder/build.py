"""`build`: a locked inventory becomes one signed file (design §3). One function over the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from airbundle.builder.donors import Donors
from airbundle.builder.fetch import JOBS, fetch_blobs
from airbundle.builder.images import ManifestStore
from airbundle.builder.installer_zip import kept_zip
from airbundle.builder.materialised import MaterialisedContent
from airbundle.builder.pool import worker_pool
from airbundle.builder.reuse import Origins, reuse_blobs, shared_blobs
from airbundle.builder.signing import CONFIG_LIMIT, sign_images
from airbundle.builder.unchanged import find_unchanged, has_same, known_sums
from airbundle.bundle.content import BlobSource
from airbundle.bundle.layout import BundleContent, content_of
from airbundle.bundle.lock import CACHE, Lock, LockedRoot
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import Base
from airbundle.crypto.keys import Signer
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache
from airbundle.store.checksum import restore_checksums, sign_checksums
from airbundle.store.output import remove_surplus_volumes
from airbundle.store.plan import BaseBundle, BundlePlan, plan_bundle
from airbundle.store.writer import BuiltBundle, BundleWriter, output_files
from airbundle.transfer.registry import RegistryClient

_WORKERS = 8


@dataclass(frozen=True)
class BuildOptions:
    """How a bundle is built.

    Attributes:
        signer: the release key; None leaves the bundle unsigned.
        installer: carry the zip application.
        split_size: bytes of a volume; 0 for one file.
        checksum: write `.sha256` (and `.sig`) beside the bundle.
        jobs: blobs fetched at once.
        base: makes a delta on this bundle.
        allowed_missing: patterns of images that charts run and that may be missing; the statement names them.
    """

    signer: Signer | None = None
    installer: bool = True
    split_size: int = 0
    checksum: bool = True
    jobs: int = JOBS
    base: BaseBundle | None = None
    allowed_missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
        bundle: the finished bundle.
        changed: whether it differs from what was there, or from one of the donors.
        base: of a delta; `left_out` are the bytes that it leaves to its base.
        reused, fetched, resumed: bytes of blobs that were copied from earlier bundles or the cache, that came from
            upstream, and that an earlier run which was cut off had written.
    """

    bundle: BuiltBundle
    changed: bool
    base: Base | None = None
    left_out: int = 0
    reused: int = 0
    fetched: int = 0
    resumed: int = 0


@dataclass
class Builder:
    """Builds bundles from locks.

    Attributes:
        restore: makes the content of a `cache` root again when the cache has lost it; returns whether it could.
        donors: earlier bundles to take from what has not changed.
    """

    client: RegistryClient
    cache: Cache
    reporter: Reporter = SILENT
    restore: Callable[[LockedRoot], bool] = lambda _root: False
    donors: Donors | None = None
    materialised: MaterialisedContent = field(init=False)
    _given: Donors = field(init=False)

    def __post_init__(self) -> None:
        self._given = self.donors or Donors(self.cache.records)
        self.materialised = MaterialisedContent(self.cache, self.restore, self._given)

    def build(self, lock: Lock, output: Path, options: BuildOptions = BuildOptions()) -> BuildResult:
        """Build the bundle of `lock` as `output`; when it is there already, nothing is written.

        Raises:
            RemoteError: upstream failed or lacks something that is locked.
            MissingContent: materialised content is gone and can't be made again.
            VerificationError: bytes are not those that the lock pins.
            NoSpace: told before the first large byte arrives, where the file system can tell.
            Busy: another run builds the same file.
        """
        plan = self.plan(lock, options)
        base = options.base.base if options.base else None
        left_out = sum(size for _, size in plan.toc.external)
        if base is not None and not left_out:
            self.reporter.warn(f"the base, {base.name} {base.version}, has nothing that this delta could leave out")
        signatures = self._signatures(plan, options.signer)
        sign = options.signer.sign if options.signer else None
        files = output_files(plan, output, options.split_size or None)
        there = find_unchanged(
            plan, output, files, signatures, self.cache.records, checksum=options.checksum, reporter=self.reporter
        )
        if there is not None:
            if options.checksum:
                restore_checksums(output, there.sums, sign)
            if options.split_size:
                remove_surplus_volumes(output, len(files))
            return BuildResult(there, changed=False, base=base, left_out=left_out)
        origins = Origins()
        with BundleWriter.create(
            plan,
            output,
            reporter=self.reporter,
            signatures=signatures,
            checksum=options.checksum,
            sums=known_sums(self._given, plan, signatures, [size for _, size in files]),
            volume_size=options.split_size or None,
            records=self.cache.records,
            shared=shared_blobs(plan.blobs_to_fetch, self._given, output.parent, volume_size=options.split_size),
        ) as writer:
            resumed = writer.resumed
            self._fill(writer, plan, origins, options.jobs)
            built = writer.finish()
        changed = not has_same(self._given, plan, signatures)
        if sign is not None and built.sums:
            sign_checksums(built.path, sign)
        return BuildResult(built, changed, base, left_out, origins.reused, origins.fetched, resumed)

    def _fill(self, writer: BundleWriter, plan: BundlePlan, origins: Origins, jobs: int) -> None:
        """Put every blob to its place: from proven bundles first, then from wherever it may be had."""
        reuse_blobs(writer, plan.blobs_to_fetch, self._given, origins, reporter=self.reporter)
        fetch_blobs(
            writer, self._sources(plan.content, origins), jobs=jobs, reporter=self.reporter, abort=self.client.close
        )

    def plan(self, lock: Lock, options: BuildOptions) -> BundlePlan:
        """Lay the bundle out: every size is known before the first large byte arrives."""
        if not options.installer:
            lock = replace(lock, installer=(), installer_version="")
        self.materialised.ensure(lock, options.base.blobs if options.base else ())
        manifests = self._manifests(lock)
        signer = options.signer
        extras = sign_images(lock, manifests, signer, self._read_config) if signer else ()
        return plan_bundle(
            content_of(lock, manifests, extras),
            installer=self._installer(lock, signer),
            base=options.base,
            allowed_missing=options.allowed_missing,
        )

    def _installer(self, lock: Lock, signer: Signer | None) -> bytes | None:
        if not lock.installer:
            return None

        def donated() -> bytes | None:
            return self._given.installer(lock, signer.public_key) if signer else None

        return kept_zip(lock.installer, self.cache, donated, reporter=self.reporter)

    def _manifests(self, lock: Lock) -> dict[str, bytes]:
        """Return the raw bytes of every carried manifest, by digest."""
        store = self._store

        def read(wanted: tuple[LockedRoot, Descriptor]) -> tuple[str, bytes]:
            root, descriptor = wanted
            if root.source == CACHE:
                return descriptor.digest, self.materialised.read_manifest(root, descriptor)
            return descriptor.digest, store.read(self.client.repository(root.origin), descriptor)

        wanted = [
            (root, descriptor)
            for root in lock.roots
            for descriptor in (root.descriptor, *root.children, *root.referrers)
            if descriptor.is_manifest or descriptor.is_index
        ]
        with self.reporter.phase("manifests"), worker_pool(_WORKERS, "manifests", self.client.close) as pool:
            return dict(pool.map(read, wanted))

    @cached_property
    def _store(self) -> ManifestStore:
        return ManifestStore(self.cache, self._given.read_small)

    def read_manifest(self, root: LockedRoot, descriptor: Descriptor) -> bytes:
        """Return the verified bytes of a manifest of a registry's root, from wherever it may be had.

        Raises:
            NotFound, RemoteError: upstream doesn't have it any more, or fails.
        """
        return self._store.read(self.client.repository(root.origin), descriptor)

    def _read_config(self, root: LockedRoot, config: Descriptor) -> bytes:
        return self._store.read_blob(self.client.repository(root.origin), config, CONFIG_LIMIT)

    def _sources(self, content: BundleContent, origins: Origins) -> Callable[[Descriptor], Sequence[BlobSource]]:
        def sources(blob: Descriptor) -> Sequence[BlobSource]:
            owner = content.owners.get(blob.digest)
            found = self._given.give(blob)
            if owner is not None and owner.source == CACHE:
                found.append(self.materialised.source(owner))
            elif self.cache.has(blob.digest, blob.size):
                found.append(self.cache)
            counted = [origins.local(source) for source in found]
            if owner is not None and owner.source != CACHE:
                counted.append(origins.upstream(self.client.repository(owner.origin)))
            return counted

        return sources

    @staticmethod
    def _signatures(plan: BundlePlan, signer: Signer | None) -> list[tuple[str, bytes]]:
        return [(signer.public_key.key_id, signer.sign(plan.statement))] if signer else []
