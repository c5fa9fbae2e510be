"""What a registry in a container needs of the engine and of the bundle; nothing is changed here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from airbundle.bundle.content import BlobReader
from airbundle.bundle.digest import is_digest
from airbundle.errors import SiteError
from airbundle.installer.container_config import volume_name
from airbundle.installer.container_image import RegistryImage, find_registry_image, has_registry
from airbundle.store.reader import BundleFile
from airbundle.transfer.containers import Container, ContainerEngine

ROLE, CONFIG = "dev.airbundle.role", "dev.airbundle.config"
"""Labels: whose a container or volume is; the digest of all that a container runs with."""

IMAGE_REF, IMAGE_DIGEST, IMAGE_USER = "dev.airbundle.image", "dev.airbundle.image.digest", "dev.airbundle.image.user"
"""Labels of a container: its image's name in the bundle, the manifest's digest, whom it runs as."""

OURS = "registry"
ASIDE = "-before"
"""Ending of the name of a container that a new one is to replace."""

_LOG_LINES, _SHOWN_LINES = 60, 2
_TELLING = re.compile(r"level=(?:fatal|panic)|^panic:|error", re.IGNORECASE)
_ROUTINE = re.compile(r'level=(?:info|debug)|" [1-5]\d\d \d+ "')  # requests that were answered tell nothing


class Blobs(BlobReader, Protocol):
    """Blobs that an image is made of: a bundle, or a delta with what it leaves out."""

    def has_blob(self, digest: str) -> bool:
        """Tell whether a blob is there."""
        ...


def is_ours(labels: Mapping[str, str]) -> bool:
    """Tell whether airbundle made what has these labels."""
    return labels.get(ROLE) == OURS


def check_name(engine: ContainerEngine, name: str) -> None:
    """Refuse to touch what somebody else called by the names that we give."""
    for each in (name, name + ASIDE):
        found = engine.find(each)
        if found is not None and not is_ours(found.labels):
            raise SiteError(
                f"the Docker engine has a container {each} that airbundle did not make (image {found.image})",
                outcome="unchanged",
                hint=f"rename it (`docker rename {each} NEW`), or remove it",
            )
    labels = engine.volume_labels(volume_name(name))
    if labels is not None and not is_ours(labels):
        raise SiteError(
            f"the Docker engine has a volume {volume_name(name)} that airbundle did not make",
            outcome="unchanged",
            hint="copy what is in it to a volume of another name, then remove it",
        )


def choose_image(engine: ContainerEngine, bundle: BundleFile, *, name: str, wanted: str) -> RegistryImage:
    """Return the image to run.

    A bundle that carries no registry is for a site that has one already: then the one that runs stays.

    Args:
        engine: of the site.
        bundle: whose head has verified.
        name: of the container.
        wanted: name of an image in the bundle; empty: it is found.

    Raises:
        UsageError, SiteError, VerificationError: there is none that can be used; the outcome is `unchanged`.
    """
    running = engine.find(name) or engine.find(name + ASIDE)
    if wanted or running is None or has_registry(bundle):
        return find_registry_image(bundle, engine.platform, wanted)
    digest = running.labels.get(IMAGE_DIGEST, "")
    layers = engine.image_layers(running.image)
    if layers is None or not is_digest(digest):
        return find_registry_image(bundle, engine.platform)
    ref, user = running.labels.get(IMAGE_REF, ""), running.labels.get(IMAGE_USER, "")
    return RegistryImage(ref, digest, b"", (), layers, user)


def check_loadable(engine: ContainerEngine, bundle: BundleFile, image: RegistryImage, blobs: Blobs) -> None:
    """Refuse an image that can't come into the engine; one that is there already may lack its layers here."""
    if engine.image_layers(image.name) == image.diff_ids:
        return
    missing = [layer for layer in image.layers if not blobs.has_blob(layer.digest)]
    if missing:
        base = bundle.statement.base
        raise SiteError(
            f"{image.ref}: {bundle.path.name} is a delta and leaves out {len(missing)} of its layers, "
            "which the Docker engine does not have",
            outcome="unchanged",
            hint=f"install its base, {base.name} {base.version}, first, or give it with --base" if base else "",
        )
    if image.zstd and not engine.takes_zstd:
        raise SiteError(
            f"{image.ref} has layers packed with zstd, which the Docker engine {engine.version} can't load",
            outcome="unchanged",
            hint="carry one with gzip layers, use an engine of version 23 or newer, or use --registry embedded",
        )


def last_words(engine: ContainerEngine, container: Container) -> str:
    """Return why a container ended, for an error; one that the engine has restarted since may run again."""
    if container.error:
        return container.error
    lines = engine.log(container, _LOG_LINES)
    # Below a panic stands a long trace that tells nobody anything.
    telling = [line for line in lines if _TELLING.search(line)]
    telling = telling or [line for line in lines if not _ROUTINE.search(line)]
    code = f"exit code {container.exit_code}: " if container.exit_code else ""
    return code + (" | ".join(telling[-_SHOWN_LINES:]) or ("it told no reason" if lines else "it printed nothing"))
