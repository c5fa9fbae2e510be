"""What operators run by themselves: images compiled into them, which no chart names (docs/scan.md, "Operators")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from airbundle.bundle.reading import Reading, Values
from airbundle.bundle.semver import Constraint, Version, parse_version
from airbundle.bundle.yamldoc import load
from airbundle.scan.knowledge_fields import DOCUMENT, VERSION_MARK

SetterKind = Literal["field", "flag", "env", "config"]
Part = Literal["image", "registry", "repository", "tag", "sha"]

_KINDS: tuple[SetterKind, ...] = ("field", "flag", "env", "config")
_PARTS: Mapping[str, Part] = {
    "image": "image",
    "registry": "registry",
    "repository": "repository",
    "tag": "tag",
    "sha": "sha",
}
_VERSIONS = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}")


@dataclass(frozen=True)
class Setter:
    """What sets an image in place of the default.

    Attributes:
        name: a field path of the custom resource; an argument without dashes; an environment variable; a key of a
            ConfigMap or Secret.
        inside: a path into the YAML that stands at that key.
    """

    kind: SetterKind
    name: str
    part: Part = "image"
    inside: str = ""

    def __str__(self) -> str:
        if self.kind == "flag":
            return f"argument --{self.name}"
        named = {"field": "field", "env": "environment", "config": "configuration"}[self.kind]
        return f"{named} {self.name}" + (f" {self.inside}" if self.inside else "")


@dataclass(frozen=True)
class Default:
    """The image that versions of an operator run when nothing sets another."""

    versions: str
    image: str

    def holds(self, version: Version) -> bool:
        """Tell whether `version` of the operator is one of them."""
        return Constraint(self.versions).holds(version)

    def range_of(self, version: Version) -> str:
        """Return the part of the range that has `version`, for people."""
        parts = (part.strip() for part in self.versions.split("||"))
        return next((part for part in parts if Constraint(part).holds(version)), self.versions)

    def of(self, version: Version | None) -> str:
        """Return the image for a version of the operator; empty when it takes a version to tell."""
        if VERSION_MARK not in self.image:
            return self.image
        number = f"{version.major}.{version.minor}.{version.patch}" if version else ""
        return self.image.replace(VERSION_MARK, number) if number else ""

    @property
    def ends(self) -> tuple[Version, ...]:
        """The versions that the range names."""
        parsed = (parse_version(text) for text in _VERSIONS.findall(self.versions))
        return tuple(version for version in parsed if version is not None)


@dataclass(frozen=True)
class AddedImage:
    """An image that an operator runs.

    Attributes:
        resources: `group/Kind` of the custom resources that make it run; empty: it runs as soon as the operator does.
        has, lacks: paths of fields that such a resource must have, and must not have.
        defaults: tried in order.
        certain: False when whether it runs depends on what no render says.
    """

    name: str
    resources: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    setters: tuple[Setter, ...] = ()
    defaults: tuple[Default, ...] = ()
    certain: bool = True
    source: str = ""
    note: str = ""

    def default_for(self, version: Version | None) -> Default | None:
        """Return the default whose range has `version`, or None."""
        if version is None:
            return None
        return next((default for default in self.defaults if default.holds(version)), None)

    def nearest(self, version: Version | None) -> Default | None:
        """Return the default of the closest older version; of the oldest where all are newer, or None."""
        ends = sorted(((end, -number) for number, default in enumerate(self.defaults) for end in default.ends))
        if not ends:
            return None
        older = [end for end in ends if version is None or end[0] <= version]
        return self.defaults[-(older or ends[:1])[-1][1]]

    def over(self, other: AddedImage) -> AddedImage:
        """Return this laid over another: defaults of both, this one's first; what is left out here is as there."""
        return AddedImage(
            name=self.name,
            resources=self.resources or other.resources,
            has=self.has or other.has,
            lacks=self.lacks or other.lacks,
            setters=self.setters or other.setters,
            defaults=self.defaults + other.defaults,
            certain=self.certain,
            source=self.source or other.source,
            note=self.note or other.note,
        )


@dataclass(frozen=True)
class Operator:
    """An operator, how its container is recognised, and the images that it runs.

    Attributes:
        repositories: last parts of its own image's repository.
        arguments: what its container's command or arguments must hold.
    """

    name: str
    repositories: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    images: tuple[AddedImage, ...] = ()
    source: str = ""
    note: str = ""

    def over(self, other: Operator) -> Operator:
        """Return this laid over another of the same name."""
        theirs = {image.name: image for image in other.images}
        mine = tuple(image.over(theirs.pop(image.name)) if image.name in theirs else image for image in self.images)
        return replace(
            self,
            repositories=tuple(dict.fromkeys(self.repositories + other.repositories)),
            arguments=self.arguments or other.arguments,
            images=mine + tuple(theirs.values()),
            source=self.source or other.source,
            note=self.note or other.note,
        )


@dataclass(frozen=True)
class Knowledge:
    """All that is known of operators."""

    operators: tuple[Operator, ...] = ()

    def over(self, other: Knowledge) -> Knowledge:
        """Return this knowledge laid over another: where both speak of an operator's image, this one wins."""
        theirs = {operator.name: operator for operator in other.operators}
        mine = tuple(item.over(theirs.pop(item.name)) if item.name in theirs else item for item in self.operators)
        return Knowledge(mine + tuple(theirs.values()))


def parse_knowledge(raw: bytes, where: str) -> Knowledge:
    """Read a file of knowledge.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: with everything that is wrong in it.
    """
    reading = Reading(load(raw, where=where))
    top = reading.record(DOCUMENT)
    operators = top.records("operators")
    _refuse_doubles(operators, "operators", reading)
    for operator in operators:
        images = operator.records("images")
        _refuse_doubles(images, "images", reading)
        for image in images:
            if not image.records("defaults") and not image.records("set"):
                reading.wrong(
                    "neither a default nor what sets the image", image.where, expected="one of defaults and set"
                )
    reading.finish("docs/scan.md has the form, under Operators")
    return Knowledge(tuple(_operator(values) for values in operators))


def _refuse_doubles(records: Sequence[Values], what: str, reading: Reading) -> None:
    seen: dict[str, str] = {}
    for record in records:
        name = record.text("name")
        if seen.setdefault(name, record.where) != record.where:
            reading.wrong(f"{what} have names of their own", record.where, found=f"{name!r} twice: {seen[name]}")


def _operator(values: Values) -> Operator:
    return Operator(
        name=values.text("name"),
        repositories=values.texts("repositories"),
        arguments=values.texts("arguments"),
        images=tuple(_image(image) for image in values.records("images")),
        source=values.text("source"),
        note=values.text("note"),
    )


def _image(values: Values) -> AddedImage:
    defaults = (Default(item.text("versions"), item.text("image")) for item in values.records("defaults"))
    return AddedImage(
        name=values.text("name"),
        resources=values.texts("resources"),
        has=values.texts("has"),
        lacks=values.texts("lacks"),
        setters=tuple(_setter(item) for item in values.records("set")),
        defaults=tuple(defaults),
        certain=values.flag("certain", True),
        source=values.text("source"),
        note=values.text("note"),
    )


def _setter(values: Values) -> Setter:
    kind = next(kind for kind in _KINDS if kind in values)
    return Setter(kind, values.text(kind), _PARTS[values.text("part", "image")], values.text("inside"))
