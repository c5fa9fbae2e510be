"""Pod specs, by their shape: in any kind of object, at any depth, so that custom resources need not be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import UsageError
from airbundle.scan.names import words

Role = Literal["container", "init container", "ephemeral container", "image volume"]

_ROLES: dict[str, Role] = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}
# Fields of custom resources that hold containers, too: `sidecars`, `extraContainers`, `sideCars.containers`.
_LIKE_CONTAINERS = frozenset({"containers", "container", "sidecars", "cars", "steps"})
NO_IMAGE = frozenset({"", "auto"})
"""What stands for an image that somebody else puts there: Istio's injection writes over `auto`."""


@dataclass(frozen=True)
class Container:
    """A container within a mapping that holds some.

    Attributes:
        key, index: where it stands: `containers`, 0.
        body: the container.
    """

    role: Role
    key: str
    index: int
    body: Mapping[str, Any]


def containers_in(mapping: Mapping[str, Any]) -> Iterator[Container]:
    """Yield the containers that a mapping lists: mappings with a name and an image, below a key that says so."""
    for key, items in mapping.items():
        if not isinstance(items, list) or not is_container_list(key):
            continue
        for index, item in enumerate(items):
            if isinstance(item, dict) and isinstance(item.get("image"), str) and _looks_like_one(item, key):
                yield Container(_ROLES.get(key, _role(key)), key, index, item)


def is_container_list(key: str) -> bool:
    """Tell whether a list below this key holds containers, if it holds what looks like some."""
    return key in _ROLES or (words(key)[-1:] != () and words(key)[-1] in _LIKE_CONTAINERS)


def image_volumes_in(mapping: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield (index, reference) of the image volumes of a pod spec."""
    volumes = mapping.get("volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        source = volume.get("image") if isinstance(volume, dict) else None
        if isinstance(source, dict) and isinstance(source.get("reference"), str):
            yield index, source["reference"]


def container_image(text: str) -> Reference | None:
    """Return the image that a kubelet would run for a container's `image`; None when it would run none.

    Raises:
        UsageError: no kubelet takes it for a reference.
    """
    text = text.strip()
    if text in NO_IMAGE:
        return None
    return parse_reference(text)


def is_readable(text: str) -> bool:
    """Tell whether `container_image` would make an image of it."""
    try:
        return container_image(text) is not None
    except UsageError:
        return False


def _looks_like_one(item: Mapping[str, Any], key: str) -> bool:
    return key in _ROLES or isinstance(item.get("name"), str)


def _role(key: str) -> Role:
    return "init container" if "init" in words(key) else "container"
