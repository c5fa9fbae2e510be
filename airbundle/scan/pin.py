"""Images of a render, renamed where they stand: what runs at a site is what was signed (design §5).

The text is changed, not written anew: everything but the references stays as the chart has it, byte for byte. What is
no reference in one piece (registry and tag in fields of their own, base64) stays as it is, and is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional

from airbundle.bundle.reference import Reference
from airbundle.errors import Finding
from airbundle.scan.documents import as_utf8, document_spans, objects_in, phase_of
from airbundle.scan.find import find_each
from airbundle.scan.loading import load_document
from airbundle.scan.model import Manifest, Rendering, Sighting
from airbundle.scan.pin_places import Scalar, scalars_of
from airbundle.scan.seen import ARROW

Pins = Callable[[Reference], Optional[str]]
"""Says what an image is called at the site; None for one that the bundle lacks."""

_BEFORE = re.compile(r"(?<![A-Za-z0-9_./:@+-])")
_AFTER = re.compile(r"(?![A-Za-z0-9_/:@+-]|\.[A-Za-z0-9])")


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
    output = as_utf8(rendering.output)
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
                field_path, _, inner = sighting.place.path.partition(ARROW)
                wanted.append((f"{path}.{field_path}" if path else field_path, inner, sighting, pinned))
            elif sighting.certainty == "certain":
                self.missing.append(sighting)
        if not wanted:
            return text
        scalars = scalars_of(text)
        images = {path for path, _, _, _ in wanted}
        free: dict[int, bool] = {}
        changes: dict[tuple[int, int], str] = {}
        for path, inner, sighting, pinned in wanted:
            # What an anchor shares with a field that is no image would change there, too.
            found: dict[tuple[int, int], str] = {}
            for scalar in scalars.get(path, ()):
                if id(scalar) not in free:
                    free[id(scalar)] = scalar.paths <= images
                if free[id(scalar)]:
                    found.update(_renamed(text, scalar, inner, sighting, pinned))
            changes.update(found)
            if found:
                self.images[sighting.written] = pinned
            elif sighting.certainty == "certain":
                self.kept.append(sighting)
        return _changed(text, changes)


def _renamed(
    text: str, scalar: Scalar, inner: str, sighting: Sighting, pinned: str
) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield what of a scalar's text becomes what; a reference that is only likely must be all that it holds."""
    written, value = sighting.written, scalar.value
    whole = value.strip() == written
    if sighting.certainty != "certain" and not whole:
        return
    found = list(_occurrences(written, text, scalar.start, scalar.end))
    if whole and not found and text.startswith('"', scalar.start):  # its characters are escaped
        yield (scalar.start, scalar.end), f'"{pinned}"'
        return
    held = [start for start, _ in _occurrences(written, value, 0, len(value))]
    meant = held if whole else scalar.meant(inner, held)
    # Text and value differ in escapes and breaks of lines: the nth of the one is the nth of the other.
    same = len(found) == len(held)
    for number, span in enumerate(found if meant else ()):
        if not same or held[number] in meant:
            yield span, pinned


def _occurrences(written: str, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where a reference stands that is no part of a longer one."""
    place = text.find(written, start, end)
    while place >= 0:
        after = place + len(written)
        whole = _BEFORE.match(text, place) and _AFTER.match(text, after, end)
        if whole:
            yield place, after
        place = text.find(written, after if whole else place + 1, end)


def _changed(text: str, changes: dict[tuple[int, int], str]) -> str:
    pieces, position = [], 0
    for (start, end), new in sorted(changes.items()):
        pieces += [text[position:start], new]
        position = end
    return "".join([*pieces, text[position:]])
