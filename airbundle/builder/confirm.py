"""Whether images exist: their registries are asked, many at once, and their answers kept for a while.

A registry that can't be asked is asked once: a scan without a network must end soon. What it would have said is
unknown, and nothing else: it takes an answer to make a likely image certain, or a decoy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import replace
from pathlib import Path

from airbundle.builder.confirm_cache import Answers, Confirmed
from airbundle.builder.images import ManifestStore, carried_children
from airbundle.builder.pool import worker_pool
from airbundle.bundle.digest import check
from airbundle.bundle.inventory import DEFAULT_PLATFORMS
from airbundle.bundle.oci import ATTESTATION_TYPE, HELM_CONFIG, Descriptor, Manifest, parse_manifest
from airbundle.bundle.reference import Reference
from airbundle.errors import HostError, NotFound, Refused, RemoteError, Unauthorized, UsageError, VerificationError
from airbundle.progress import SILENT, Phase, Reporter
from airbundle.store.cache import Cache
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.settings import HttpSettings

_log = logging.getLogger(__name__)
_WORKERS = 8
_PATIENCE = 10.0
_FIRST_PATIENCE = 5.0


def hasty_settings() -> HttpSettings:
    """Return settings for a client that only confirms: what does not answer soon is unknown, and no harm done."""
    settings = HttpSettings.from_environment()
    return replace(
        settings,
        connect_timeout=min(settings.connect_timeout, _FIRST_PATIENCE),
        stall_timeout=min(settings.stall_timeout, _PATIENCE),
        retry_time=min(settings.retry_time, _PATIENCE),
        first_contact_time=min(settings.first_contact_time, _FIRST_PATIENCE),
    )


class Confirmer:
    """Asks registries for images.

    Args:
        client: for the registries; one with `hasty_settings` keeps nobody waiting for what is out of reach.
        cache_dir: the root of airbundle's cache: answers lie in it, and manifests, so that a lock need not ask again.
        platforms: whose sizes count; empty: all that an image has.
        reporter: told which image is asked for.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(
        self,
        client: RegistryClient,
        cache_dir: Path,
        *,
        platforms: Iterable[str] = DEFAULT_PLATFORMS,
        reporter: Reporter = SILENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._platforms = tuple(sorted(platforms))
        self._reporter = reporter
        self._answers = Answers(cache_dir, clock)
        self._manifests = ManifestStore(Cache(cache_dir))
        self._down: dict[str, str] = {}

    def confirm(self, images: Sequence[Reference]) -> Mapping[Reference, Confirmed]:
        """Return for each image whether it exists: from answers that are fresh, else from its registry.

        Nothing that a registry does or fails to do is raised.
        """
        wanted = dict.fromkeys(images)
        found: dict[Reference, Confirmed] = {}
        hosts: dict[str, list[Reference]] = {}
        for image in wanted:
            kept = self._answers.read(self._question(image))
            if kept is not None:
                found[image] = kept
            else:
                hosts.setdefault(image.registry, []).append(image)
        if hosts:
            with self._reporter.phase("confirm") as phase:
                found.update(self._ask_all(list(hosts.values()), phase))
        return {image: found[image] for image in wanted}

    def _ask_all(self, hosts: Sequence[Sequence[Reference]], phase: Phase) -> dict[Reference, Confirmed]:
        """Ask each registry for one image, then those that answered for the others."""
        with worker_pool(_WORKERS, "confirm", self._client.close) as pool:

            def begin(images: Iterable[Reference]) -> dict[Future[Confirmed], Reference]:
                return {pool.submit(self._ask_one, image, phase): image for image in images}

            first = begin(images[0] for images in hosts)
            others = {images[0]: images[1:] for images in hosts}
            rest: dict[Future[Confirmed], Reference] = {}
            for future in as_completed(first):
                rest.update(begin(others[first[future]]))
            return {image: future.result() for future, image in {**first, **rest}.items()}

    def _ask_one(self, image: Reference, phase: Phase) -> Confirmed:
        if image.registry in self._down:
            return Confirmed("unknown", problem=self._down[image.registry])
        with phase.item(str(image), 0):
            answer, lasting = self._ask(image)
        if lasting:
            self._answers.keep(self._question(image), answer)
        return answer

    def _ask(self, image: Reference) -> tuple[Confirmed, bool]:
        """Return what the registry says, and whether it would say the same a minute later."""
        try:
            repository = self._client.repository(image.name)
            descriptor = repository.resolve(image.wanted)
        except NotFound as error:
            return Confirmed("absent", problem=error.problem), True
        except (RemoteError, VerificationError, UsageError) as error:
            self._note(image, error)
            return Confirmed("unknown", problem=error.problem), False
        there = Confirmed("there", descriptor.digest)
        try:
            return self._measured(there, image, repository, descriptor), True
        except (NotFound, VerificationError) as error:
            return replace(there, problem=error.problem), True
        except (RemoteError, HostError) as error:  # the latter: the cache can't be read
            self._note(image, error)
            return replace(there, problem=error.problem), False

    def _measured(self, there: Confirmed, image: Reference, repository: Repository, top: Descriptor) -> Confirmed:
        """Return the answer with the size of config and layers, each blob counted once."""
        manifest = self._manifest(image, repository, top)
        if manifest.config is not None and manifest.kind_type == HELM_CONFIG:
            return Confirmed("absent", problem=f"{image} is a Helm chart and no image")
        manifests = [manifest]
        if manifest.is_index:
            children = carried_children(manifest, self._platforms, what=str(image))
            images = [child for child in children if ATTESTATION_TYPE not in child.annotations]
            manifests = [self._manifest(image, repository, child) for child in images]
        blobs = {blob.digest: blob.size for manifest in manifests for blob in manifest.blobs}
        return replace(there, size=sum(blobs.values()))

    def _manifest(self, image: Reference, repository: Repository, descriptor: Descriptor) -> Manifest:
        what = f"{image}: manifest {descriptor.digest}"
        raw = self._manifests.read(repository, descriptor)
        check(raw, descriptor.digest, what=what)
        return parse_manifest(raw, descriptor.media_type, what=what)

    def _note(self, image: Reference, error: Exception) -> None:
        """Remember a registry that failed by itself: it is not asked for its other images."""
        _log.info("%s: %s", image, error)
        if isinstance(error, RemoteError) and not isinstance(error, (Unauthorized, Refused)):
            self._down.setdefault(image.registry, str(error))

    def _question(self, image: Reference) -> list[object]:
        """Return all that an answer depends on: the image, where it is looked for, and what counts of it."""
        try:
            endpoints = self._client.registries.endpoints(image.registry, image.repository)
        except UsageError:
            endpoints = []
        places = [[str(endpoint.url), endpoint.repository] for endpoint in endpoints]
        return [image.name, image.wanted, places, list(self._platforms)]
