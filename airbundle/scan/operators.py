"""Finds the images that operators run by themselves, by what is known of them.

An operator is in a render when one of its containers is; the custom resources that make it run an image may come from
other charts. Where the render sets the image (argument, environment, field), that counts and not the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import Finding, UsageError
from airbundle.scan.fieldpath import values_at
from airbundle.scan.knowledge import AddedImage, Default, Knowledge, Setter
from airbundle.scan.model import Certainty, Manifest, Place, Scanned, Sighting
from airbundle.scan.running import Running, running_operators
from airbundle.scan.set_parts import SetParts

UNKNOWN_VERSION = "operator-unknown-version"
ABSENT = "operator-absent"
BAD_IMAGE = "operator-image"


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
    lost: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    guessed: dict[str, tuple[Running, dict[str, str]]] = field(default_factory=dict)

    @property
    def scanned(self) -> Scanned:
        told = [*self.findings]
        told += [_absent(operator, where, names) for (where, operator), names in self.lost.items()]
        told += [_unknown(where, instance, nearest) for where, (instance, nearest) in self.guessed.items()]
        return Scanned(tuple(self.sightings.values()), tuple(told))

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
            own = SetParts(added.setters, partial(_of_resource, resource.body))
            if _asks(added, resource) and not own.whole:
                names = self.lost.setdefault((f"{resource.origin.source}: {resource}", operator), [])
                names += [] if added.name in names else [added.name]

    def _resources(self, added: AddedImage) -> list[Manifest]:
        return [manifest for name in added.resources for manifest in self.resources.get(name, [])]

    def _add(self, added: AddedImage, instance: Running, resource: Manifest | None, certainty: Certainty) -> None:
        place = _place(added, instance, resource)
        parts = SetParts(added.setters, partial(_said, instance, resource))
        written, why = parts.whole, f"set by {parts.by}"
        if not written:
            default = added.default_for(instance.version)
            if default is None:
                default = added.nearest(instance.version)
                if default is None:
                    return
                certainty = "likely"
                if not self._guess(added, instance, default, parts):
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

    def _guess(self, added: AddedImage, instance: Running, nearest: Default, parts: SetParts) -> str:
        """Note that the nearest default is taken; return its image, empty where it makes none."""
        image = nearest.of(instance.version)
        text = parts.laid_over(image) if image else ""
        if text or not image:  # else only the resource could say the tag
            where = f"{instance.manifest.origin.source}: {instance.manifest}: {instance.path}.image"
            known = self.guessed.setdefault(where, (instance, {}))[1]
            known.setdefault(added.name, f"{nearest.versions} with {nearest.image}")
        return text


def _absent(operator: str, where: str, names: Sequence[str]) -> Finding:
    return Finding(
        f"operator {operator} would run an image for it ({', '.join(names)}), and no chart brings the operator",
        where=where,
        code=ABSENT,
        hint=f"add the operator's chart, or the image that the cluster's {operator} runs",
        severity="warning",
    )


def _unknown(where: str, instance: Running, nearest: Mapping[str, str]) -> Finding:
    version, operator = instance.version, instance.operator
    images = [image for image in operator.images if image.name in nearest and image.source]
    sources = "; ".join(dict.fromkeys(image.source for image in images)) or operator.source or "not noted"
    return Finding(
        f"nothing is known of this version of operator {operator.name}: which images it runs is a guess",
        where=where,
        code=UNKNOWN_VERSION,
        found=version.original if version else f"{instance.image}, which names no version",
        expected="the nearest known: " + "; ".join(f"{name} of {said}" for name, said in nearest.items()),
        hint=f"look it up in its source ({sources}), and write it into a file named under `operators` in the inventory",
        severity="warning",
    )


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
    fields = [setter for setter in added.setters if setter.kind == "field"]
    # What a person would set: the whole image, by the shortest way.
    fields.sort(key=lambda setter: (setter.part != "image", len(setter.name)))
    path = (fields[0].name if fields else "spec") if resource else f"{instance.path}.image"
    return Place(manifest.origin, manifest.template, str(manifest), path, phase=manifest.phase)
