"""What scanning passes between its parts: renders, their objects, and images seen in them with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airbundle.bundle.reference import Reference
from airbundle.errors import Finding

Certainty = Literal["certain", "likely", "decoy"]
"""`certain`: it would run. `likely`: something names it, and no proof either way. `decoy`: it would not run."""
Phase = Literal["run", "hook", "test"]
"""When an object acts: as long as the release is there, as one of Helm's hooks, or on `helm test`."""
ORDER: Mapping[Certainty, int] = {"certain": 0, "likely": 1, "decoy": 2}


@dataclass(frozen=True)
class Origin:
    """Where a render comes from.

    Attributes:
        source: what a person calls it: `chart cert-manager v1.21.1`, `manifests/base`, `cluster`.
        release: the release's name; empty where there is none.
        namespace: where its objects go when they name no namespace.
        variant: the value set or site that it was rendered with; empty for the inventory's own.
        chart: the chart's name, version and appVersion; empty for plain manifests.
    """

    source: str
    release: str = ""
    namespace: str = ""
    variant: str = ""
    chart: str = ""
    version: str = ""
    app_version: str = ""


@dataclass(frozen=True)
class Rendering:
    """The text of one render, and the values that it was made with.

    Attributes:
        output: YAML documents as `helm template --include-crds` prints them, or a manifest file's bytes.
        defaults: the chart's own values, its subcharts' below their names.
        values: the same with what the inventory and the site give laid over.
        given: (file's name, its content filled in) of the inventory and the site, in order.
    """

    origin: Origin
    output: bytes = field(repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    given: Sequence[tuple[str, Mapping[str, Any]]] = field(default=(), repr=False)


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object of a render.

    Attributes:
        body: the object; lists (`kind: List`) are taken apart.
        template: the file it comes from, as `# Source:` says; empty where nothing says it.
    """

    origin: Origin
    body: Mapping[str, Any] = field(repr=False)
    template: str = ""
    phase: Phase = "run"

    @property
    def kind(self) -> str:
        """Its kind; empty where it has none."""
        return str(self.body.get("kind") or "")

    @property
    def api_version(self) -> str:
        """Its apiVersion; empty where it has none."""
        return str(self.body.get("apiVersion") or "")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, or an empty mapping."""
        found = self.body.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        return str(self.metadata.get("name") or self.metadata.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Its namespace: its own, else the release's."""
        return str(self.metadata.get("namespace") or self.origin.namespace)

    def __str__(self) -> str:
        return f"{self.kind or 'object without kind'} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Place:
    """Where something was seen.

    Attributes:
        object: `Deployment matrix/synapse`; empty for places in values alone.
        path: field path: `spec.template.spec.containers[0].image`, with `→` into text held by a field.
        values_key: the value that sets it: `image.repository, image.tag`; empty where none is known.
    """

    origin: Origin
    template: str = ""
    object: str = ""
    path: str = ""
    values_key: str = ""
    phase: Phase = "run"

    def __str__(self) -> str:
        variant = f" [{self.origin.variant}]" if self.origin.variant else ""
        parts = [self.origin.source + variant, self.object, self.path]
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True)
class Sighting:
    """An image, seen at a place.

    Attributes:
        image: normalised as Docker does; a reference without tag and digest has the tag `latest`.
        written: as it stands there; several values put together stand as what they make.
        evidence: why it is thought an image, in words: `container`, `init container`, `image volume`,
            `field spec.imageName`, `argument --x-image`, `environment FOO_IMAGE`, `ConfigMap`, `Secret`, `annotation`,
            `values of a disabled part`, `operator cloudnative-pg (knowledge: …)`.
    """

    image: Reference
    written: str
    certainty: Certainty
    evidence: str
    place: Place

    def at(self, **changes: Any) -> Sighting:
        """Return the sighting with another place."""
        return replace(self, place=replace(self.place, **changes))


@dataclass(frozen=True)
class Scanned:
    """What a part of the scan found: images, and what is wrong. Parts are added up."""

    sightings: tuple[Sighting, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __add__(self, other: Scanned) -> Scanned:
        return Scanned(self.sightings + other.sightings, self.findings + other.findings)
