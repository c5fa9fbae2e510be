"""Pod specs, by their shape: in any kind of object, at any depth, so that custom resources need not be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.scan.names import words

Role = Literal["container", "init container", "ephemeral container", "image volume"]

_ROLES: dict[str, Role] = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}
# Fields of custom resources that hold containers, too: `sidecars`, `extraContainers`, `sideCars.containers`.
_LIKE_CONTAINERS = frozenset({"containers", "container", "sidecars", "cars", "steps"})
_OF_CONTAINERS = frozenset({"command", "args", "env", "ports", "volumeMounts", "securityContext", "resources"})
NO_IMAGE = frozenset({"", "auto"})
"""What stands for an image that somebody else puts there: Istio's injection writes over `auto`."""


@dataclass(frozen=True)
class Container:
    """A container within a mapping that holds some.

    Attributes:
        place: where it stands in the mapping: `containers[0]`, `container`.
        body: the container.
    """

    role: Role
    place: str
    body: Mapping[str, Any]


def containers_in(mapping: Mapping[str, Any]) -> Iterator[Container]:
    """Yield the containers that a mapping holds: mappings with a name and an image, below a key that says so."""
    for key, value in mapping.items():
        if isinstance(value, list) and is_container_list(key):
            for index, item in enumerate(value):
                if _has_image(item) and (key in _ROLES or isinstance(item.get("name"), str)):
                    yield Container(_ROLES.get(key, _role(key)), f"{key}[{index}]", item)
        elif words(key)[-1:] == ("container",) and _has_image(value) and not _OF_CONTAINERS.isdisjoint(value):
            yield Container(_role(key), key, value)


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


def _has_image(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("image"), str)


def _role(key: str) -> Role:
    return "init container" if "init" in words(key) else "container"
