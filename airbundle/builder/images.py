"""Registry images become locked roots: one HEAD a tag, one GET a manifest, ever; everything that hangs on them too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from airbundle.bundle.digest import check, hex_of
from airbundle.bundle.inventory import ImageRequest
from airbundle.bundle.lock import REGISTRY, LockedRoot
from airbundle.bundle.oci import (
    ATTESTATION_OF,
    ATTESTATION_TYPE,
    BUNDLE_REF,
    MANIFEST_LIMIT,
    Descriptor,
    Manifest,
    Platform,
    parse_manifest,
)
from airbundle.bundle.reference import Reference
from airbundle.errors import DigestMismatch, HostError, NotFound, UsageError, VerificationError
from airbundle.store.cache import Cache
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository

_log = logging.getLogger(__name__)

COSIGN_SUFFIXES = ("sig", "att", "sbom")
_REFERRER_DEPTH = 2


class ManifestStore:
    """Manifests and configs by digest: from the cache, else from earlier bundles, else from the registry.

    The registry is asked once in the cache's life.

    Args:
        cache: keeps what the registry gave.
        donated: gives the verified bytes that earlier bundles have of a digest, up to a limit; None without any.
    """

    def __init__(
        self, cache: Cache, donated: Callable[[str, int], bytes | None] = lambda _digest, _limit: None
    ) -> None:
        self._cache = cache
        self._donated = donated
        self._told = False

    def read(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """Return a manifest's verified bytes; its size may be another one than the descriptor's."""
        return self._read(descriptor, MANIFEST_LIMIT, lambda: repository.fetch_manifest(descriptor.digest)[1])

    def read_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        """Return the verified bytes of a config, of which there may be `limit`."""
        return self._read(blob, limit, lambda: repository.read_blob(blob.digest, limit))

    def _read(self, descriptor: Descriptor, limit: int, fetch: Callable[[], bytes]) -> bytes:
        try:
            return self._cache.read(descriptor.digest, limit)
        except (NotFound, DigestMismatch):  # what was wrong, the cache has dropped
            donated = self._donated(descriptor.digest, limit)
        if donated is not None:
            return donated
        raw = fetch()
        try:
            self._cache.add(raw, descriptor.media_type)
        except HostError as error:  # the cache only spares the registry
            if not self._told:
                self._told = True
                _log.warning("manifests are not kept: %s", error.problem)
        return raw


@dataclass(frozen=True)
class ImageResolver:
    """Resolves images against registries."""

    client: RegistryClient
    cache: Cache

    def current(self, reference: Reference) -> Descriptor:
        """Return what a reference points to now, by one HEAD.

        Raises:
            RemoteError: the registry fails, or has no such image.
        """
        return self.client.repository(reference.name).resolve(reference.wanted)

    def resolve(self, request: ImageRequest) -> LockedRoot:
        """Return the locked root of a registry image: its manifests, and what refers to them.

        Raises:
            RemoteError: the registry fails, or lacks the image or every platform that is wanted.
            VerificationError: a manifest is not what it should be.
        """
        reference = _own_name(request)
        repository = self.client.repository(reference.name)
        descriptor = repository.resolve(reference.wanted)
        manifests = ManifestStore(self.cache)
        raw = manifests.read(repository, descriptor)
        manifest = parse_manifest(raw, descriptor.media_type, what=str(reference))
        # What a registry says by HEAD is not what counts.
        descriptor = replace(descriptor, media_type=manifest.media_type, size=len(raw))
        children = carried_children(manifest, request.platforms, what=f"{request.where} {reference}".strip())
        for child in children:
            what = f"{reference}: manifest {child.digest}"
            raw = manifests.read(repository, child)
            check(raw, child.digest, size=child.size, what=what)
            parse_manifest(raw, child.media_type, what=what)
        subjects = [descriptor, *(child for child in children if not _is_attestation(child))]
        return LockedRoot(
            kind="image",
            ref=request.target.full_name,
            requested=request.requested,
            source=REGISTRY,
            origin=reference.name,
            descriptor=descriptor,
            children=children,
            platforms=request.platforms,
            referrers=tuple(self._referrers(repository, request.target, subjects, manifests)),
        )

    def _referrers(
        self, repository: Repository, target: Reference, subjects: Sequence[Descriptor], manifests: ManifestStore
    ) -> Iterator[Descriptor]:
        """Yield manifests that refer to `subjects` (and to those referrers), and cosign's tags."""
        seen = {subject.digest for subject in subjects}
        for depth in range(_REFERRER_DEPTH):
            found: list[Descriptor] = []
            for subject in subjects:
                for referrer, ref in self._referrers_of(repository, target, subject, with_tags=depth == 0):
                    if referrer.digest not in seen:
                        seen.add(referrer.digest)
                        raw = manifests.read(repository, referrer)
                        media_type = parse_manifest(raw, what=f"{target.name}@{referrer.digest}").media_type
                        found.append(referrer)
                        yield replace(
                            referrer,
                            media_type=media_type,
                            size=len(raw),
                            annotations={BUNDLE_REF: ref},
                            platform=None,
                        )
            subjects = found

    def _referrers_of(
        self, repository: Repository, target: Reference, subject: Descriptor, *, with_tags: bool
    ) -> Iterator[tuple[Descriptor, str]]:
        for referrer in repository.referrers(subject.digest):
            yield referrer, f"{target.name}@{referrer.digest}"
        for suffix in COSIGN_SUFFIXES if with_tags else ():
            tag = f"sha256-{hex_of(subject.digest)}.{suffix}"
            found = repository.look_beside(tag)
            if found is not None:
                yield found, f"{target.name}:{tag}"


def _own_name(request: ImageRequest) -> Reference:
    reference = request.source.own_name
    if reference is None:
        raise UsageError(f"{request.where}: {request.requested!r} names no image of a registry")
    return reference


def carried_children(manifest: Manifest, platforms: Iterable[str], *, what: str) -> tuple[Descriptor, ...]:
    """Return the children of an index that are carried, in the index's order.

    Args:
        manifest: an index; a plain manifest has no children.
        platforms: what is wanted; empty: all. Attestations travel with the manifest that they are about.
        what: the image, for errors.

    Raises:
        NotFound: a wanted platform is not in the index.
        VerificationError: it lists another index.
    """
    if not manifest.is_index:
        return ()
    inner = next((child for child in manifest.manifests if child.is_index), None)
    if inner is not None:
        raise VerificationError(
            f"{what}: the index lists another index, {inner.digest}; expected manifests of images",
            hint="name the images of the inner index one by one, or push one flat index of them",
        )
    children = [child for child in manifest.manifests if child.is_manifest]
    wanted = [Platform.parse(text) for text in platforms]
    if not wanted:
        return tuple(children)
    runnable = [child for child in children if child.platform is not None and not _is_attestation(child)]
    lacking = [
        platform
        for platform in wanted
        if not any(child.platform is not None and child.platform.satisfies(platform) for child in runnable)
    ]
    if lacking:
        found = ", ".join(sorted({str(child.platform) for child in runnable})) or "no platforms"
        raise NotFound(
            f"{what}: the index has no image for {', '.join(map(str, lacking))}; found {found}",
            hint="name platforms that it has: {ref: …, platforms: […]}",
        )
    kept = {
        child.digest
        for child in runnable
        if any(child.platform is not None and child.platform.satisfies(platform) for platform in wanted)
    }
    return tuple(child for child in children if child.digest in kept or child.annotations.get(ATTESTATION_OF) in kept)


def _is_attestation(child: Descriptor) -> bool:
    return ATTESTATION_TYPE in child.annotations
