"""What the tests of scanning share: a manifest file's text as sightings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from airbundle.scan.documents import read_manifests
from airbundle.scan.find import find_images
from airbundle.scan.model import Manifest, Origin, Rendering, Sighting

HIDING = Path(__file__).parent / "hiding"
DIGEST = "sha256:" + "0123456789abcdef" * 4
ORIGIN = Origin("chart app 1.2.3", release="app", namespace="apps")


def rendering(text: str | bytes) -> Rendering:
    """Return a render of dedented text."""
    raw = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
    return Rendering(ORIGIN, raw)


def manifests(text: str | bytes) -> list[Manifest]:
    """Return the objects of a text that must be readable."""
    found, findings = read_manifests(rendering(text))
    assert findings == []
    return found


def sightings(text: str | bytes) -> list[Sighting]:
    """Return the images in a text."""
    return find_images(manifests(text))


def brief(found: Iterable[Sighting]) -> set[tuple[str, str, str]]:
    """Return (image, certainty, path) of each."""
    return {(str(sighting.image), sighting.certainty, sighting.place.path) for sighting in found}


def certain(text: str) -> dict[str, str]:
    """Return the certain images of a text with their paths."""
    return {str(seen.image): seen.place.path for seen in sightings(text) if seen.certainty == "certain"}
