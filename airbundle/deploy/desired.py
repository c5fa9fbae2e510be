"""A pinned render as objects: each with its key, its namespace, and when it acts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from airbundle.deploy.dig import value
from airbundle.deploy.helm_marks import kept, owned, owner
from airbundle.deploy.objects import CRD, ObjectKey, apply_order, key_of
from airbundle.errors import DocumentError, Finding
from airbundle.scan.documents import document_spans, objects_in, phase_of
from airbundle.scan.find import find_images
from airbundle.scan.loading import load_document
from airbundle.scan.model import Manifest, Origin, Phase
from airbundle.scan.pin import Pinned

Scope = Callable[[str, str], Optional[bool]]
"""Says of an apiVersion and kind whether its objects have namespaces; None for a kind that is not known."""

_SOURCE = re.compile(r"^# Source: (\S[^\n]*)$", re.MULTILINE)
_DEFINITIONS = re.compile(r"[^/]+/(?:charts/[^/]+/)*crds/")


@dataclass(frozen=True)
class Desired:
    """An object as it is to be.

    Attributes:
        body: with its namespace.
        phase: when it acts.
        apart: it is from a chart's `crds/`, which helm does not count to the release.
    """

    key: ObjectKey
    body: dict[str, Any] = field(repr=False)
    phase: Phase = "run"
    apart: bool = False

    @property
    def definition(self) -> bool:
        """Whether it defines custom resources."""
        return self.key.kind == CRD

    @property
    def leaves(self) -> bool:
        """Whether it is a Job that takes itself away some time after its end: that it isn't there says nothing then.

        Source: Kubernetes, `spec.ttlSecondsAfterFinished` of batch/v1.
        """
        return self.key.kind == "Job" and value(self.body, "spec", "ttlSecondsAfterFinished") is not None


def desired_objects(
    pinned: Iterable[Pinned], namespace: str, scope: Scope, where: str
) -> tuple[list[Desired], list[Finding]]:
    """Return the objects of renders in the order in which they are applied, and what is wrong with them.

    Args:
        pinned: the renders.
        namespace: where objects go that name none.
        scope: of the cluster's kinds; kinds that the render itself defines need not be known.
        where: the release, for findings.
    """
    found: list[tuple[dict[str, Any], bool]] = []
    for render in pinned:
        template = ""
        for document in render.documents:
            named = _SOURCE.search(document.text)
            template = named[1] if named else template
            apart = _DEFINITIONS.match(template) is not None
            found += [(body, apart) for _, body in objects_in(load_document(document.text).value)]
    scopes = _defined([body for body, _ in found])
    desired: dict[ObjectKey, Desired] = {}
    findings: list[Finding] = []
    for body, apart in found:
        try:
            each = _desired(body, apart, namespace, scopes, scope)
        except DocumentError as error:
            findings.append(Finding(error.problem, where=where, code="object"))
            continue
        first = desired.setdefault(each.key, each)
        if first is not each and first.body != each.body:
            findings.append(Finding(f"{each.key.title} stands there twice, and differs", where=where, code="object"))
    return sorted(desired.values(), key=lambda each: apply_order(each.key.kind)), findings


def chart_applied(each: Desired, release: str, namespace: str) -> Mapping[str, Any]:
    """Return an object of a chart as airbundle applies it: what defines custom resources gets helm's marks beforehand.

    Args:
        each: the object.
        release, namespace: of the chart.
    """
    return owned(each.body, release, namespace) if each.definition and not each.apart else each.body


def helm_writes(each: Desired, live: Mapping[str, Any], release: str, namespace: str) -> bool:
    """Tell whether helm puts an object of a chart as the chart has it, whoever has set its fields, and asks nobody.

    Not so definitions of custom resources that lie in `crds/`, or aren't the release's yet: airbundle applies those.

    Args:
        each: the object.
        live: as the cluster has it.
        release, namespace: of the chart.
    """
    return not each.definition or (not each.apart and owner(live) == (namespace, release))


def _desired(
    body: dict[str, Any], apart: bool, namespace: str, scopes: dict[tuple[str, str], bool], scope: Scope
) -> Desired:
    key = key_of(body)
    kind = key.api_version, key.kind
    within = scope(*kind)
    if within is None:
        within = scopes.get(kind, True)
    metadata = {name: value for name, value in body["metadata"].items() if name != "namespace"}
    if within:
        metadata["namespace"] = key.namespace or namespace
    body = {**body, "metadata": metadata}
    return Desired(key_of(body), dict(kept(body)), phase_of(body), apart)


def _defined(bodies: Sequence[dict[str, Any]]) -> dict[tuple[str, str], bool]:
    """Return which kinds the definitions among some objects define, and whether those have namespaces."""
    kinds: dict[tuple[str, str], bool] = {}
    for body in bodies:
        spec = body.get("spec") if body.get("kind") == CRD else None
        names = spec.get("names") if isinstance(spec, dict) else None
        versions = spec.get("versions") if isinstance(spec, dict) else None
        if isinstance(spec, dict) and isinstance(names, dict) and isinstance(versions, list):
            for version in versions:
                name = version.get("name") if isinstance(version, dict) else None
                kinds[f"{spec.get('group')}/{name}", str(names.get("kind"))] = spec.get("scope") == "Namespaced"
    return kinds


def images_of(objects: Iterable[Desired]) -> tuple[str, ...]:
    """Return the images that objects run for certain, as they write them; without hooks and tests."""
    origin = Origin("")
    manifests = [Manifest(origin, each.body) for each in objects if each.phase == "run"]
    seen = {sighting.written for sighting in find_images(manifests) if sighting.certainty == "certain"}
    return tuple(sorted(seen))


def objects_of_manifest(text: bytes, namespace: str, scope: Scope) -> list[Desired]:
    """Return the objects of a manifest that was applied, in the order in which they are applied.

    Raises:
        DocumentError: one of them can't be read.
    """
    bodies = [
        body
        for start, end in document_spans(text)
        for _, body in objects_in(load_document(text[start:end].decode("utf-8", "replace")).value)
    ]
    scopes = _defined(bodies)
    found = [_desired(body, False, namespace, scopes, scope) for body in bodies]
    return sorted(found, key=lambda each: apply_order(each.key.kind))
