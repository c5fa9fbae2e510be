"""An operator as a render runs it: its container, its version, and what its arguments and environment say."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.semver import Version, parse_version
from airbundle.bundle.yamldoc import load
from airbundle.errors import DocumentError, UsageError
from airbundle.scan.commands import Variables
from airbundle.scan.fieldpath import values_at
from airbundle.scan.knowledge import Operator, Setter
from airbundle.scan.model import Manifest

_LISTS = ("containers", "initContainers")
_DEPTH_LIMIT = 12  # a CronJob's pod spec lies six deep; operators' own resources are no deeper than this
_CORE = re.compile(r"v?[0-9]+(?:\.[0-9]+){1,2}")


class Settings:
    """What the ConfigMaps and Secrets of a render hold, as text by key."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._held: dict[tuple[str, str, str], Mapping[str, str]] = {}
        for manifest in manifests:
            if manifest.kind in ("ConfigMap", "Secret"):
                self._held[manifest.kind, manifest.namespace, manifest.name] = dict(_texts(manifest))

    def of(self, kind: str, namespace: str, name: str) -> Mapping[str, str]:
        """Return what a ConfigMap or Secret holds; nothing when no render makes it."""
        return self._held.get((kind, namespace, name), {})

    def keyed(self, namespace: str, key: str) -> Iterator[str]:
        """Return what stands at `key` in any ConfigMap or Secret of a namespace."""
        for (_, where, _), texts in self._held.items():
            if where == namespace and key in texts:
                yield texts[key]


def _texts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for key, value in _mapping(manifest.body.get("data")).items():
        if isinstance(value, str):
            yield str(key), _decoded(value) if manifest.kind == "Secret" else value
    for key, value in _mapping(manifest.body.get("stringData")).items():
        if isinstance(value, str):
            yield str(key), value


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""  # bytes; no image stands in there


@dataclass(frozen=True)
class Running:
    """A container of a render that is an operator.

    Attributes:
        path: field path of the container.
    """

    operator: Operator
    manifest: Manifest
    container: Mapping[str, Any] = field(repr=False)
    path: str
    image: Reference
    settings: Settings = field(repr=False)

    @cached_property
    def version(self) -> Version | None:
        """Its version: by its tag, else by what the object or the chart say; suffixes of builds left out."""
        labels = _mapping(self.manifest.metadata.get("labels"))
        said = (self.image.tag, str(labels.get("app.kubernetes.io/version", "")), self.manifest.origin.app_version)
        found = next((match for match in map(_CORE.match, said) if match), None)
        return parse_version(found.group()) if found else None

    @cached_property
    def environment(self) -> Variables:
        """Its environment, as far as the render has it."""
        known = Variables()
        for source in _mappings(self.container.get("envFrom")):
            prefix = source.get("prefix")
            for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                name = str(_mapping(source.get(key)).get("name", ""))
                held = self.settings.of(kind, self.manifest.namespace, name)
                for inner, text in held.items():
                    known.add(f"{prefix or ''}{inner}", text)
        for variable in _mappings(self.container.get("env")):
            known.add(str(variable.get("name", "")), self._value(variable, known))
        return known

    def _value(self, variable: Mapping[str, Any], known: Variables) -> str:
        if isinstance(variable.get("value"), str):
            return known.expanded(variable["value"])
        source = _mapping(variable.get("valueFrom"))
        for kind, name in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            reference = _mapping(source.get(name))
            if reference:
                held = self.settings.of(kind, self.manifest.namespace, str(reference.get("name", "")))
                return held.get(str(reference.get("key", "")), "")
        return ""

    @cached_property
    def arguments(self) -> Sequence[str]:
        """Its command and arguments, with variables filled in."""
        words = [*_list(self.container.get("command")), *_list(self.container.get("args"))]
        return [self.environment.expanded(str(word)) for word in words]

    def flag(self, name: str) -> str:
        """Return what an argument says: `--name=value`, `-name=value`, or in two items; the last one counts."""
        found = ""
        for number, word in enumerate(self.arguments):
            spelled, equals, value = word.partition("=")
            if not spelled.startswith("-") or spelled.lstrip("-") != name:
                continue
            following = self.arguments[number + 1 : number + 2]
            found = value if equals else following[0] if following and not following[0].startswith("-") else ""
        return found

    def says(self, setter: Setter) -> list[str]:
        """Return what the render says of a setting that is the operator's own."""
        if setter.kind == "flag":
            said = [self.flag(setter.name)]
        elif setter.kind == "env":
            said = [self.environment.get(setter.name)]
        else:
            said = list(self.settings.keyed(self.manifest.namespace, setter.name))
        if setter.inside:
            said = [value for text in said for value in _inside(text, setter.inside)]
        return [text.strip() for text in said if text.strip()]


def running_operators(operators: Sequence[Operator], manifests: Sequence[Manifest]) -> list[Running]:
    """Return the containers of a render that are one of `operators`."""
    settings = Settings(manifests)
    return [
        Running(operator, manifest, container, path, image, settings)
        for manifest in manifests
        for path, container in _containers(manifest.body, "", 0)
        for image in _images(container.get("image"))
        for operator in operators
        if _is(operator, container, image)
    ]


def _containers(body: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(body, dict) or depth > _DEPTH_LIMIT:
        return
    for key, value in body.items():
        place = f"{path}.{key}" if path else str(key)
        if key in _LISTS:
            for number, container in enumerate(_list(value)):
                if isinstance(container, dict):
                    yield f"{place}[{number}]", container
        else:
            yield from _containers(value, place, depth + 1)


def _images(written: Any) -> list[Reference]:
    try:
        return [parse_reference(written.strip())] if isinstance(written, str) else []
    except UsageError:
        return []  # whoever finds images tells it


def _is(operator: Operator, container: Mapping[str, Any], image: Reference) -> bool:
    path = f"/{image.repository}"
    if not any(path.endswith(f"/{repository}") for repository in operator.repositories):
        return False
    words = [str(word) for key in ("command", "args") for word in _list(container.get(key))]
    return all(argument in words for argument in operator.arguments)


def _inside(text: str, path: str) -> list[str]:
    try:
        body = load(text.encode(), where="configuration").root.plain()
    except DocumentError:
        return []
    return [str(value) for value in values_at(body, path) if isinstance(value, (str, int, float))]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]
