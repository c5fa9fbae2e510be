"""Images of Helm's hooks and tests, which no post-renderer sees: only the nodes' mirrors lead them to the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from airbundle.errors import Finding
from airbundle.scan.find import find_images
from airbundle.scan.model import Manifest, Phase, Sighting

_WOULD_RUN: Mapping[Phase, frozenset[str]] = {
    "hook": frozenset({"certain"}),
    # A test runs when somebody asks for it: scanning never calls its image certain.
    "test": frozenset({"certain", "likely"}),
    "run": frozenset(),
}


def hook_images(manifests: Iterable[Manifest], *, registry: str) -> tuple[Sighting, ...]:
    """Return the images that hooks and tests of a render run for certain, and that are not named at the registry.

    Args:
        manifests: a render as helm makes it, before any image is pinned.
        registry: host and port of the private registry.
    """
    acting = [manifest for manifest in manifests if manifest.phase != "run"]
    found = [sighting for sighting in find_images(acting) if sighting.certainty in _WOULD_RUN[sighting.place.phase]]
    return tuple(sighting for sighting in found if sighting.image.registry != registry)


def unpinned_hooks(release: str, images: Sequence[Sighting], *, unmirrored: str, untried: str = "") -> list[Finding]:
    """Return a finding for each image that hooks would pull from where the site can't reach.

    Args:
        release: its name.
        images: of `hook_images`.
        unmirrored: why the nodes don't pull it by its name from the private registry; empty where they do.
        untried: why that can't be found out yet, which is a warning; empty where it was.
    """
    if not unmirrored and not untried:
        return []
    words = "and nodes have no mirror" if unmirrored else "and whether nodes have a mirror can't be told yet"
    hint = (
        "let airbundle set up the nodes (phase `nodes`), or an administrator run nodes.sh of the handoff on each; "
        "or switch the hook off in the values"
    )
    return [
        Finding(
            f"release {release}: a hook runs {sighting.written}, which helm lets nobody pin, {words}",
            where=str(sighting.place),
            code="hook-image",
            found=unmirrored or untried,
            hint=hint,
            severity="error" if unmirrored else "warning",
        )
        for sighting in images
    ]
