"""Every hiding place: what would run is found, and no decoy is called certain."""

from __future__ import annotations

import re

from tests.scan.support import HIDING, sightings

_TOLD = re.compile(r"(certain-[0-9]+|likely|decoy)")


def _objects() -> str:
    return (HIDING / "objects.yaml").read_text()


def test_what_the_tags_of_the_hiding_places_say_is_found() -> None:
    best: dict[str, str] = {}
    order = {"certain": 0, "likely": 1, "decoy": 2}
    for sighting in sightings(_objects()):
        image = str(sighting.image)
        best[image] = min(best.get(image, "decoy"), sighting.certainty, key=lambda word: order[word])
    wrong = {}
    for image, certainty in best.items():
        told = _TOLD.search(image)
        expected = told.group(1).partition("-")[0] if told else "certain"
        if certainty != expected:
            wrong[image] = f"{certainty}, expected {expected}"
    assert wrong == {}


def test_no_image_of_the_hiding_places_is_missed() -> None:
    text = _objects()
    found = " ".join(str(sighting.image) for sighting in sightings(text))
    numbers = set(range(1, 62))
    assert numbers - {int(n) for n in re.findall(r"certain-([0-9]+)", found)} == set()
    for name in ("related@sha256", "number:1.5", "likely-v1", "likely-v2", "likely-v3", "likely-v5", "likely-v6"):
        assert name in found
    for name in ("unnamed-flag", "bare", "plugin", "pulled", "unknown-field", "allowed", "unnamed", "toml-list"):
        assert f"hide/{name}:" in found


def test_nothing_else_is_taken_for_an_image() -> None:
    strange = {str(s.image) for s in sightings(_objects()) if "hide/" not in s.image.repository}
    assert strange == set()
