"""`build`: a locked inventory becomes one signed file (design §3). One function over the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from airbundle.builder.fetch import JOBS, fetch_blobs
from airbundle.builder.images import ManifestStore
from airbundle.builder.installer_parts import ensure_parts
from airbundle.builder.installer_zip import build_zip
from airbundle.builder.materialised import MaterialisedContent
from airbundle.builder.pool import worker_pool
from airbundle.builder.signing import CONFIG_LIMIT, sign_images
from airbundle.bundle.content import BlobSource
from airbundle.bundle.layout import BundleContent, content_of
from airbundle.bundle.lock import CACHE, Lock, LockedRoot
from airbundle.bundle.oci import Descriptor
from airbundle.crypto.keys import Signer
from airbundle.errors import DigestMismatch, NotFound
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache
from airbundle.store.checksum import sign_checksums
from airbundle.store.plan import BundlePlan, plan_bundle
from airbundle.store.writer import BuiltBundle, BundleWriter
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
    """

    signer: Signer | None = None
    installer: bool = True
    split_size: int = 0
    checksum: bool = True
    jobs: int = JOBS


@dataclass
class Builder:
    """Builds bundles from locks.

    Attributes:
        restore: makes the content of a `cache` root again when the cache has lost it; returns whether it could.
    """

    client: RegistryClient
    cache: Cache
    reporter: Reporter = SILENT
    restore: Callable[[LockedRoot], bool] = lambda _root: False
    materialised: MaterialisedContent = field(init=False)

    def __post_init__(self) -> None:
        self.materialised = MaterialisedContent(self.cache, self.restore)

    def build(self, lock: Lock, output: Path, options: BuildOptions = BuildOptions()) -> BuiltBundle:
        """Build the bundle of `lock` as `output`.

        Raises:
            RemoteError: upstream failed or lacks something that is locked.
            MissingContent: materialised content is gone and can't be made again.
            VerificationError: bytes are not those that the lock pins.
            NoSpace: told before the first large byte arrives, where the file system can tell.
            Busy: another run builds the same file.
        """
        plan = self.plan(lock, options)
        with BundleWriter.create(
            plan,
            output,
            reporter=self.reporter,
            signatures=self._signatures(plan, options.signer),
            checksum=options.checksum,
            volume_size=options.split_size or None,
        ) as writer:
            fetch_blobs(
                writer,
                self._sources(plan.content),
                jobs=options.jobs,
                reporter=self.reporter,
                abort=self.client.close,
            )
            built = writer.finish()
        if options.signer is not None and built.sums:
            sign_checksums(built.path, options.signer.sign)
        return built

    def plan(self, lock: Lock, options: BuildOptions) -> BundlePlan:
        """Lay the bundle out: every size is known before the first large byte arrives."""
        if not options.installer:
            lock = replace(lock, installer=(), installer_version="")
        self.materialised.ensure(lock)
        manifests = self._manifests(lock)
        signer = options.signer
        extras = sign_images(lock, manifests, signer, self._read_config) if signer else ()
        return plan_bundle(content_of(lock, manifests, extras), installer=self._installer(lock))

    def _installer(self, lock: Lock) -> bytes | None:
        if not lock.installer:
            return None
        ensure_parts(lock.installer, self.cache, reporter=self.reporter)
        return build_zip(lock.installer, self.cache)

    def _manifests(self, lock: Lock) -> dict[str, bytes]:
        """Return the raw bytes of every carried manifest, by digest."""
        store = ManifestStore(self.cache)

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

    def _read_config(self, root: LockedRoot, config: Descriptor) -> bytes:
        try:
            return self.cache.read(config.digest, CONFIG_LIMIT)
        except (NotFound, DigestMismatch):
            raw = self.client.repository(root.origin).read_blob(config.digest, CONFIG_LIMIT)
        return raw

    def _sources(self, content: BundleContent) -> Callable[[Descriptor], Sequence[BlobSource]]:
        def sources(blob: Descriptor) -> Sequence[BlobSource]:
            owner = content.owners.get(blob.digest)
            if owner is not None and owner.source == CACHE:
                return [self.materialised.source(owner)]
            found: list[BlobSource] = [self.cache] if self.cache.has(blob.digest, blob.size) else []
            if owner is not None:
                found.append(self.client.repository(owner.origin))
            return found

        return sources

    @staticmethod
    def _signatures(plan: BundlePlan, signer: Signer | None) -> list[tuple[str, bytes]]:
        return [(signer.public_key.key_id, signer.sign(plan.statement))] if signer else []
