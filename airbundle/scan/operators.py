"""Finds the images that operators run by themselves, by what is known of them.

An operator is in a render when one of its containers is; the custom resources that make it run an image may come from
other charts. Where the render sets the image (argument, environment, field), that counts and not the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import Finding, UsageError
from airbundle.scan.fieldpath import values_at
from airbundle.scan.knowledge import AddedImage, Default, Knowledge, Part, Setter
from airbundle.scan.model import Certainty, Manifest, Place, Scanned, Sighting
from airbundle.scan.running import Running, running_operators

UNKNOWN_VERSION = "operator-unknown-version"
ABSENT = "operator-absent"
BAD_IMAGE = "operator-image"

_NAMING: tuple[Part, ...] = ("repository", "tag")


def operator_images(knowledge: Knowledge, manifests: Sequence[Manifest]) -> Scanned:
    """Find the images that the operators of a render would run.

    Args:
        knowledge: what is known of operators.
        manifests: all objects of all charts: custom resources need not come with their operator.

    Returns:
        Sightings: certain when a custom resource in the render asks for the image, likely when only the operator is
        there or its version is none that the knowledge speaks of. Findings: unknown versions, custom resources
        whose operator is in no chart, settings that are no image.
    """
    search = _Search(_by_resource(manifests))
    running = running_operators(knowledge.operators, manifests)
    for operator in knowledge.operators:
        instances = [one for one in running if one.operator is operator]
        for added in operator.images:
            if instances:
                search.added(added, instances)
            else:
                search.absent(operator.name, added)
    return search.scanned


def _by_resource(manifests: Iterable[Manifest]) -> Mapping[str, list[Manifest]]:
    found: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        group, slash, _ = manifest.api_version.partition("/")
        if slash:
            found.setdefault(f"{group}/{manifest.kind}", []).append(manifest)
    return found


@dataclass
class _Search:
    """One run over the knowledge; keeps what it found in order, each once."""

    resources: Mapping[str, list[Manifest]]
    sightings: dict[tuple[str, str, Place], Sighting] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)

    @property
    def scanned(self) -> Scanned:
        return Scanned(tuple(self.sightings.values()), tuple(self.findings))

    def added(self, added: AddedImage, instances: Sequence[Running]) -> None:
        """Look for an image of an operator that is in the render."""
        there = self._resources(added)
        for instance in instances:
            if not added.resources:
                self._add(added, instance, None, "certain")
            elif not there:
                self._add(added, instance, None, "likely")
            for resource in there:
                if _asks(added, resource):
                    self._add(added, instance, resource, "certain")

    def absent(self, operator: str, added: AddedImage) -> None:
        """Tell of custom resources that need an operator which is nowhere."""
        for resource in self._resources(added):
            own = _Parts(added.setters, partial(_of_resource, resource.body))
            if _asks(added, resource) and not own.whole:
                finding = Finding(
                    f"operator {operator} would run an image for it ({added.name}), and no chart brings the operator",
                    where=f"{resource.origin.source}: {resource}",
                    code=ABSENT,
                    hint=f"add the operator's chart, or the image that the cluster's {operator} runs",
                    severity="warning",
                )
                self.findings.setdefault(finding)

    def _resources(self, added: AddedImage) -> list[Manifest]:
        return [manifest for name in added.resources for manifest in self.resources.get(name, [])]

    def _add(self, added: AddedImage, instance: Running, resource: Manifest | None, certainty: Certainty) -> None:
        place = _place(added, instance, resource)
        parts = _Parts(added.setters, partial(_said, instance, resource))
        written, why = parts.whole, f"set by {parts.by}"
        if not written:
            default = added.default_for(instance.version)
            if default is None:
                default = added.nearest(instance.version)
                if default is None:
                    return
                certainty = "likely"
                self._unknown(added, instance, default)
                if not default.of(instance.version):
                    return
            written = [parts.laid_over(default.of(instance.version))]
            why = default.range_of(instance.version) if instance.version else default.versions
            why += f"; {parts.by} set" if parts.by else ""
        evidence = f"operator {instance.operator.name} (knowledge: {added.name}, {why})"
        for text in filter(None, written):
            image = self._parsed(text, evidence, place)
            if image is not None:
                sure = certainty if added.certain else "likely"
                self.sightings.setdefault((str(image), evidence, place), Sighting(image, text, sure, evidence, place))

    def _parsed(self, text: str, evidence: str, place: Place) -> Reference | None:
        try:
            return parse_reference(text)
        except UsageError as error:
            self.findings.setdefault(
                Finding(f"{evidence}: {error.problem}", where=str(place), code=BAD_IMAGE, hint=error.hint)
            )
            return None

    def _unknown(self, added: AddedImage, instance: Running, nearest: Default) -> None:
        version = instance.version
        finding = Finding(
            f"nothing is known of this version of operator {instance.operator.name}: which image it runs as "
            f"{added.name} is a guess",
            where=f"{instance.manifest.origin.source}: {instance.manifest}: {instance.path}.image",
            code=UNKNOWN_VERSION,
            found=version.original if version else f"{instance.image}, which names no version",
            expected=f"the nearest known is {nearest.versions}, with {nearest.image}",
            hint=f"look it up in its source ({added.source or instance.operator.source or 'not noted'}), and write it "
            "into a file named under `operators` in the inventory",
            severity="warning",
        )
        self.findings.setdefault(finding)


class _Parts:
    """What the render says of an image: the whole, or parts of it; the first setter with something to say wins."""

    def __init__(self, setters: Sequence[Setter], said: Callable[[Setter], list[str]]) -> None:
        self._parts: dict[Part, list[str]] = {}
        named: dict[Part, str] = {}
        for setter in setters:
            values = [] if setter.part in self._parts else said(setter)
            if values:
                self._parts[setter.part] = values
                named[setter.part] = str(setter)
        self.by = named.get("image") or ", ".join(named.values())
        # What already has a tag stands for the whole; so do the operators of Prometheus and Grafana see it.
        wholes: tuple[Part, ...] = tuple(part for part in _NAMING if _is_whole(self._first(part), part))
        if "image" not in self._parts and wholes:
            self._parts["image"] = self._parts[wholes[0]]
            self.by = named[wholes[0]]

    @property
    def whole(self) -> list[str]:
        """Whole images; none where only parts are set."""
        return self._parts.get("image", [])

    def laid_over(self, default: str) -> str:
        """Return the default image with the parts that are set in place of its own; empty when nothing says a tag."""
        repository, colon, tag = default.rpartition(":")
        if not colon or "/" in tag:
            repository, tag = default, ""
        repository = self._first("repository") or repository
        if self._first("registry"):
            repository = f"{self._first('registry').rstrip('/')}/{_path_of(repository)}"
        sha = self._first("sha")
        if sha:
            return f"{repository}@sha256:{sha.split(':')[-1]}"
        tag = self._first("tag") or tag
        return f"{repository}:{tag}" if tag else ""

    def _first(self, part: Part) -> str:
        return next(iter(self._parts.get(part, [])), "")


def _path_of(repository: str) -> str:
    host, slash, path = repository.partition("/")
    return path if slash and ("." in host or ":" in host) else repository


def _is_whole(text: str, part: Part) -> bool:
    if part == "tag":
        return any(mark in text for mark in ":/@")
    return "@" in text or ":" in text.rsplit("/", 1)[-1]


def _said(instance: Running, resource: Manifest | None, setter: Setter) -> list[str]:
    if setter.kind == "field":
        return _of_resource(resource.body, setter) if resource else []
    return instance.says(setter)


def _of_resource(body: Mapping[str, Any], setter: Setter) -> list[str]:
    values = values_at(body, setter.name) if setter.kind == "field" else []
    return [str(value).strip() for value in values if isinstance(value, (str, int, float)) and str(value).strip()]


def _asks(added: AddedImage, resource: Manifest) -> bool:
    return all(_present(resource, path) for path in added.has) and not any(
        _present(resource, path) for path in added.lacks
    )


def _present(resource: Manifest, path: str) -> bool:
    # An empty mapping is there: `thanos: {}` switches the sidecar on.
    return any(value is not None and value is not False and value != "" for value in values_at(resource.body, path))


def _place(added: AddedImage, instance: Running, resource: Manifest | None) -> Place:
    manifest = resource or instance.manifest
    fields: Iterator[str] = (setter.name for setter in added.setters if setter.kind == "field")
    path = next(fields, "spec") if resource else f"{instance.path}.image"
    return Place(manifest.origin, manifest.template, str(manifest), path, phase=manifest.phase)
