"""Values and images: which values make an image that a render has, and images that only values have.

Charts put an image's name together as they like; here the values' spellings (`value_images`) are compared with it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airbundle.bundle.reference import DOCKER_HUB, Reference
from airbundle.scan.model import Certainty, Place, Rendering, Sighting
from airbundle.scan.spelling import Spelled, joined
from airbundle.scan.value_images import Composed, Part, spelled_images

_ON: tuple[Certainty, str] = ("likely", "values")
_OFF: tuple[Certainty, str] = ("decoy", "values of a disabled part")

_SOURCE = re.compile(r"charts/([^/]+)/")
_VERSIONED = re.compile(
    rb"""(?m)^# Source: (\S+)|^[ \t]+["']?app\.kubernetes\.io/version["']?: ["']?([^\s"']+)""",
)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_HITS = 500
"""Most occurrences of one name in a render that are looked at."""


def images_in_values(rendering: Rendering) -> list[Sighting]:
    """Return the images that the values spell and the render doesn't have.

    Those of parts that are switched off are decoys, the others likely: a template may use them under a condition.
    """
    versions = _app_versions(rendering)
    found: dict[tuple[str, str], Sighting] = {}
    for composed in spelled_images(rendering.values):
        made = None if composed.guess else _made(composed, versions, rendering.output)
        if made is None or _in_render(rendering.output, made.image, composed):
            continue
        key = ", ".join(part.key for part in _parts(composed, _registry_of(composed)))
        place = Place(rendering.origin, values_key=key)
        certainty, evidence = _OFF if composed.off else _ON
        sighting = Sighting(made.image, made.written, certainty, evidence, place)
        found.setdefault((str(made.image), key), sighting)
    return list(found.values())


def explain(sightings: Sequence[Sighting], rendering: Rendering) -> list[Sighting]:
    """Return `sightings` with the values that make them, where that is known.

    Only those of this rendering that have no `values_key` yet are looked at. Of several values that make the same
    image those count that are nearest to the object: in its subchart, with words of its name and field.
    """
    by_name: dict[str, list[Composed]] = defaultdict(list)
    for composed in spelled_images(rendering.values):
        by_name[_last_name(composed.path)].append(composed)
    subcharts = frozenset(rendering.values) & _subcharts(rendering.output)
    explained = []
    for sighting in sightings:
        if sighting.place.origin == rendering.origin and not sighting.place.values_key:
            key = _key_for(sighting, by_name[_last_name(sighting.image.repository)], subcharts)
            sighting = sighting.at(values_key=key) if key else sighting
        explained.append(sighting)
    return explained


def _key_for(sighting: Sighting, candidates: Sequence[Composed], subcharts: frozenset[str]) -> str:
    best: tuple[tuple[int, ...], str] = ((), "")  # the empty tuple is less than any other
    for composed in candidates:
        fit = _fit(sighting.image, composed)
        if fit is None:
            continue
        exactness, parts = fit
        near = _nearness(sighting.place, parts[-1].key if len(parts) == 1 else composed.repository[-1].key, subcharts)
        key = ", ".join(part.key for part in parts)
        score = (min(exactness[0], 1), near[0], *exactness, *near[1:], -len(key))
        if score > best[0]:
            best = (score, key)
    return best[1]


def _fit(image: Reference, composed: Composed) -> tuple[tuple[int, ...], list[Part]] | None:
    """How well a spelling makes `image` (tag, digest, registry), and by which of its values; None: not at all."""
    for registry in (*composed.registries, None):
        made = joined(registry.text if registry else "", composed.path)
        if made is None or made.image.name != image.name:
            continue
        parts = [registry] if registry else []
        parts += composed.repository
        exact = [int(bool(registry)), 1, 0]
        if composed.tag and composed.tag.text:
            exact[1] = _tag_fits(image.tag, composed.tag.text)
            parts += [composed.tag] if exact[1] else []
        elif made.pinned:
            exact[1] = 2 if made.image.tag == image.tag else 0
        if composed.digest and composed.digest.text and image.digest.endswith(composed.digest.text):
            exact[2] = 1
            parts.append(composed.digest)
        return (exact[1], int(not composed.off), exact[2], exact[0], -int(composed.guess)), parts
    return None


def _tag_fits(found: str, given: str) -> int:
    """2: the tag itself; 1: with `v`, a digest or a suffix added; 0: another."""
    given = given.partition("@")[0]
    if found == given:
        return 2
    return int(
        bool(found)
        and (found.lstrip("v") == given.lstrip("v") or found.lstrip("v").startswith(given.lstrip("v") + "-"))
    )


def _nearness(place: Place, key: str, subcharts: frozenset[str]) -> tuple[int, ...]:
    """How near a value is to a place: in its subchart, words that both have, depth."""
    chain = _SOURCE.findall(place.template)
    keys = re.split(r"\.|\[\d+\]\.?", key)
    inside = next((n for n, (name, part) in enumerate(zip(chain, keys)) if name != part), min(len(chain), len(keys)))
    if keys[0] in subcharts and chain[:1] != keys[:1]:
        inside = -1
    around = f"{place.object} {place.template.rpartition('templates/')[2]} {place.path}"
    words = {word.lower() for word in _WORD.findall(around)}
    mine = {word.lower() for word in _WORD.findall(" ".join(keys[len(chain) :]))} - {"image", "repository", "tag"}
    return inside, len(words & mine), -len(mine - words), len(keys)


def _made(composed: Composed, versions: Mapping[str, str], output: bytes) -> Spelled | None:
    registry = _registry_of(composed)
    tag = composed.tag.text if composed.tag else ""
    digest = composed.digest.text if composed.digest else ""
    if not tag and not digest and not _has_tag(composed.path):
        tag = _default_tag(composed, versions, output)
        if not tag:
            return None
    return joined(registry.text if registry else "", composed.path, tag, digest)


def _registry_of(composed: Composed) -> Part | None:
    first = composed.path.partition("/")[0]
    has_host = "/" in composed.path and ("." in first or ":" in first or first == "localhost")
    return composed.registries[0] if composed.registries and not has_host else None


def _default_tag(composed: Composed, versions: Mapping[str, str], output: bytes) -> str:
    """The chart's appVersion, with or without `v` as the rest of the render has it."""
    key = composed.repository[0].key
    name = max((name for name in versions if not name or key.startswith(name + ".")), key=len, default="")
    version = versions.get(name, "")
    other = version[1:] if version.startswith("v") else f"v{version}"
    if version and f":{version}".encode() not in output and f":{other}".encode() in output:
        return other
    return version


def _app_versions(rendering: Rendering) -> dict[str, str]:
    """appVersion of the chart and of each subchart, by its values' key; empty where it isn't known.

    Labels of their objects tell those of subcharts; of a subchart without objects nothing does.
    """
    versions = {key: "" for key, value in rendering.values.items() if isinstance(value, dict) and _is_chart(value)}
    versions[""] = rendering.origin.app_version
    name = ""
    for match in _VERSIONED.finditer(rendering.output):
        if match[1]:
            name = ".".join(_SOURCE.findall(match[1].decode("utf-8", "replace")))
        elif name:
            versions[name] = versions.get(name) or match[2].decode("utf-8", "replace")
    return versions


def _is_chart(values: Mapping[str, Any]) -> bool:
    """Whether values are a subchart's: nearly every chart has these two keys at its root."""
    return "nameOverride" in values and "fullnameOverride" in values


def _subcharts(output: bytes) -> frozenset[str]:
    found = re.findall(rb"(?m)^# Source: [^/\s]+/charts/([^/\s]+)/", output)
    return frozenset(name.decode("utf-8", "replace") for name in set(found))


def _in_render(output: bytes, image: Reference, composed: Composed) -> bool:
    """Whether the render has this image: its repository, with a tag or digest that comes from the same values."""
    path = image.repository
    if image.registry == DOCKER_HUB and path.startswith("library/"):
        path = path[len("library/") :]
    for after in _occurrences(output, path.encode()):
        if not after.startswith((":", "@")) or (
            not composed.tag and not composed.digest and not _has_tag(composed.path)
        ):
            return True
        tag, _, digest = after[1:].partition("@") if after[0] == ":" else ("", "", after[1:])
        if (image.digest and digest == image.digest) or (image.tag and tag and _tag_fits(tag, image.tag)):
            return True
        if not tag and not image.digest:
            return True
    return False


def _occurrences(output: bytes, name: bytes) -> Iterator[str]:
    """What follows each occurrence of a name in a render that is not part of a longer one."""
    start = -1
    for _ in range(_HITS):
        start = output.find(name, start + 1)
        if start < 0:
            return
        before = output[start - 1 : start]
        after = output[start + len(name) : start + len(name) + 220]
        if before in (b"-", b"_", b".") or before.isalnum() or after[:1] in (b"-", b"_", b"/") or after[:1].isalnum():
            continue
        yield re.split(rb"""[\s"',\\]""", after, maxsplit=1)[0].decode("utf-8", "replace")


def _parts(composed: Composed, registry: Part | None) -> list[Part]:
    parts = [registry, *composed.repository, composed.tag, composed.digest]
    return [part for part in parts if part is not None and part.text]


def _last_name(path: str) -> str:
    return path.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]


def _has_tag(path: str) -> bool:
    return "@" in path or ":" in path.rsplit("/", 1)[-1]
