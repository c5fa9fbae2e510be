"""What is in each render: its objects and the images in them, remembered beside the render.

Reading YAML takes ten times as long as reading JSON, and what is in a render does not change while the render and
airbundle stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.builder.render_cache import RenderCache
from airbundle.builder.scan_options import code_digest
from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import canonical_json
from airbundle.bundle.reference import parse_reference
from airbundle.errors import Finding
from airbundle.scan.documents import read_manifests
from airbundle.scan.find import find
from airbundle.scan.model import Manifest, Origin, Place, Rendering, Sighting
from airbundle.scan.values import explain, images_in_values

_FORM = 1
"""Part of each key: another number whenever an entry holds something else."""


@dataclass(frozen=True)
class Looked:
    """What is in a render.

    Attributes:
        manifests: its objects.
        findings: what of it could not be read.
        sightings: images in its objects, with the values that set them, and images that only its values name.
    """

    manifests: Sequence[Manifest]
    findings: Sequence[Finding]
    sightings: Sequence[Sighting]


def look(rendering: Rendering, cache: RenderCache | None) -> Looked:
    """Return what is in a render; `cache` remembers it."""
    if cache is None:
        return _look(rendering)
    key = _key(rendering)
    known = cache.read_entry(key, lambda facts, _: _restored(facts, rendering.origin))
    if known is None:
        known = _look(rendering)
        cache.write_entry(key, _facts(known))
    return known


def _look(rendering: Rendering) -> Looked:
    manifests, findings = read_manifests(rendering)
    scanned = find(manifests)
    sightings = [*explain(list(scanned.sightings), rendering), *images_in_values(rendering)]
    return Looked(manifests, [*findings, *scanned.findings], sightings)


def _key(rendering: Rendering) -> str:
    origin = rendering.origin
    names = [origin.source, origin.release, origin.namespace, origin.variant, origin.app_version]
    values = sha256(canonical_json([rendering.defaults, rendering.values]))
    return sha256(canonical_json([_FORM, code_digest(), names, sha256(rendering.output), values]))


def _facts(looked: Looked) -> dict[str, Any]:
    return {
        "objects": [[each.template, each.phase, each.body] for each in looked.manifests],
        "findings": [finding.to_json() for finding in looked.findings],
        "sightings": list(map(_sighting_facts, looked.sightings)),
    }


def _sighting_facts(sighting: Sighting) -> list[str]:
    place = sighting.place
    said = [str(sighting.image), sighting.written, sighting.certainty, sighting.evidence]
    return [*said, place.template, place.object, place.path, place.values_key, place.phase]


def _restored(facts: Any, origin: Origin) -> Looked:
    return Looked(
        [Manifest(origin, body, template, phase) for template, phase, body in facts["objects"]],
        [Finding(**finding) for finding in facts["findings"]],
        list(_sightings(facts["sightings"], origin)),
    )


def _sightings(facts: Any, origin: Origin) -> Iterator[Sighting]:
    for image, written, certainty, evidence, *place in facts:
        yield Sighting(parse_reference(image), written, certainty, evidence, Place(origin, *place))
