"""Images of a render, renamed where they stand: what runs at a site is what was signed (design §5).

The text is changed, not written anew: everything but the references stays as the chart has it, byte for byte. What is
no reference in one piece (registry and tag in fields of their own, base64) stays as it is, and is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import yaml

from airbundle.bundle.reference import Reference
from airbundle.errors import Finding
from airbundle.scan.documents import document_spans, objects_in, phase_of
from airbundle.scan.find import find_each
from airbundle.scan.loading import compose, load_document
from airbundle.scan.model import Manifest, Rendering, Sighting
from airbundle.scan.seen import ARROW
from airbundle.scan.walk import join

Pins = Callable[[Reference], Optional[str]]
"""Says what an image is called at the site; None for one that the bundle lacks."""

_BEFORE, _AFTER = r"(?<![A-Za-z0-9_./:@+-])", r"(?![A-Za-z0-9_/:@+-]|\.[A-Za-z0-9])"


@dataclass(frozen=True)
class PinnedDocument:
    """One document of a render.

    Attributes:
        text: with its images renamed.
        objects: what it holds, as it was.
    """

    text: str = field(repr=False)
    objects: tuple[Manifest, ...]


@dataclass(frozen=True)
class Pinned:
    """A render with its images renamed.

    Attributes:
        documents: in their order; those without content are left out.
        images: what each reference became, by how it was written.
        kept: certain images of the bundle that stand there in pieces, and keep their names.
        missing: certain images that the bundle lacks.
        findings: what stands in the place of an image and is none.
    """

    documents: tuple[PinnedDocument, ...]
    images: dict[str, str]
    kept: tuple[Sighting, ...]
    missing: tuple[Sighting, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Part:
    text: str
    objects: tuple[tuple[str, Manifest], ...]


def pin_images(rendering: Rendering, pins: Pins) -> Pinned:
    """Rename the images of a render.

    Args:
        rendering: read with `read_manifests` before, which tells what can't be read.
        pins: what images are called at the site.
    """
    parts = list(_parts(rendering))
    scanned = list(find_each([manifest for part in parts for _, manifest in part.objects]))
    findings = tuple(finding for each in scanned for finding in each.findings)
    found = iter(scanned)
    pinner = _Pinner(pins)
    documents = []
    for part in parts:
        seen = [(path, sighting) for path, _ in part.objects for sighting in next(found).sightings]
        documents.append(PinnedDocument(pinner.renamed(part.text, seen), tuple(each for _, each in part.objects)))
    return Pinned(tuple(documents), pinner.images, tuple(pinner.kept), tuple(pinner.missing), findings)


def _parts(rendering: Rendering) -> Iterator[_Part]:
    output = rendering.output
    for start, end in document_spans(output):
        text = output[start:end].decode("utf-8", "replace")
        objects = objects_in(load_document(text).value)
        yield _Part(
            text, tuple((path, Manifest(rendering.origin, body, phase=phase_of(body))) for path, body in objects)
        )


class _Pinner:
    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self.images: dict[str, str] = {}
        self.kept: list[Sighting] = []
        self.missing: list[Sighting] = []

    def renamed(self, text: str, seen: Sequence[tuple[str, Sighting]]) -> str:
        """Return the text of a document with the images that were seen in it renamed; `seen` has objects' paths."""
        wanted = []
        for path, sighting in seen:
            pinned = self._pins(sighting.image) if sighting.certainty != "decoy" else None
            if pinned is not None:
                wanted.append((path, sighting, pinned))
            elif sighting.certainty == "certain":
                self.missing.append(sighting)
        if not wanted:
            return text
        spans = dict(_spans(text))
        changes: dict[tuple[int, int], str] = {}
        for path, sighting, pinned in wanted:
            inner = sighting.place.path.split(ARROW, 1)[0]
            span = spans.get(f"{path}.{inner}" if path else inner)
            places = list(_occurrences(text, span, sighting)) if span else []
            changes.update(dict.fromkeys(places, pinned))
            if places:
                self.images[sighting.written] = pinned
            elif sighting.certainty == "certain":
                self.kept.append(sighting)
        return _changed(text, changes)


def _occurrences(text: str, span: tuple[int, int], sighting: Sighting) -> Iterator[tuple[int, int]]:
    """Yield where a reference stands within a scalar; one that is only likely must be all that the scalar holds."""
    start, end = span
    if sighting.certainty != "certain" and text[start:end].strip().strip("\"'") != sighting.written:
        return
    for match in re.finditer(_BEFORE + re.escape(sighting.written) + _AFTER, text[start:end]):
        yield start + match.start(), start + match.end()


def _changed(text: str, changes: dict[tuple[int, int], str]) -> str:
    pieces, position = [], 0
    for (start, end), new in sorted(changes.items()):
        pieces += [text[position:start], new]
        position = end
    return "".join([*pieces, text[position:]])


def _spans(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield path, start and end in the text of each scalar of a document; of what is shared the first path alone."""
    try:
        root = compose(text)
    except yaml.YAMLError:  # read only after its tabs or odd characters were mended
        return
    left: list[tuple[str, Any]] = [("", root)] if root is not None else []
    done: set[int] = set()
    while left:
        path, node = left.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield path, (node.start_mark.index, node.end_mark.index)
        elif isinstance(node, yaml.MappingNode):
            left += [(join(path, str(key.value)), value) for key, value in node.value]
        else:
            left += [(f"{path}[{number}]", item) for number, item in enumerate(node.value)]
