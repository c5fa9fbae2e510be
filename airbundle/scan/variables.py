"""Variables that containers take from ConfigMaps and Secrets: they say what the keys there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airbundle.scan.model import Manifest
from airbundle.scan.names import says_image, words

_SOURCES = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
_HOLDERS = frozenset({"ConfigMap", "Secret", "CustomResourceDefinition"})
_DEPTH_LIMIT = 40

Keys = Mapping[tuple[str, str], Mapping[str, str]]
"""(kind, name of the object) → key → the variable that a container takes from it."""


def image_variables(manifests: Sequence[Manifest]) -> Keys:
    """Return the keys of ConfigMaps and Secrets that containers take as variables which have to do with images."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for manifest in manifests:
        if manifest.kind in _HOLDERS:
            continue
        for variable, kind, name, key in _taken(manifest.body, 0):
            if "image" in words(variable) and not says_image(key):
                found.setdefault((kind, name), {}).setdefault(key, variable)
    return found


def _taken(node: Any, depth: int) -> Iterator[tuple[str, str, str, str]]:
    if depth > _DEPTH_LIMIT:
        return
    if isinstance(node, list):
        for item in node:
            if isinstance(item, (dict, list)):
                yield from _taken(item, depth + 1)
    elif isinstance(node, dict):
        source = node.get("valueFrom")
        if isinstance(source, dict) and isinstance(node.get("name"), str):
            for field, kind in _SOURCES.items():
                reference = source.get(field)
                if isinstance(reference, dict):
                    yield node["name"], kind, str(reference.get("name")), str(reference.get("key"))
            return
        for value in node.values():
            if isinstance(value, (dict, list)):
                yield from _taken(value, depth + 1)
