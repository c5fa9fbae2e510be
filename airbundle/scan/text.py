"""A scan's answer as text and as Markdown. Lines, not printing: that is the command line's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from airbundle.bundle.sizes import human
from airbundle.errors import Finding
from airbundle.scan.model import Sighting
from airbundle.scan.report import ScannedImage, ScanReport

_PLACES = 4
"""Places of one image that text names; JSON has all of them."""
_MARKUP = re.compile(r"[\\`*|]|(?<=\])\(")
_TITLES = {
    "certain": "MISSING: certain to run, and not in the inventory",
    "likely": "Likely to run, and not in the inventory",
}


def text_lines(report: ScanReport, *, every: bool = False, mending: str = "") -> Iterator[str]:
    """Yield the lines of the answer.

    Args:
        report: the answer.
        every: list what the inventory has and what is a decoy, too.
        mending: the command that adds what is missing; empty where nothing shall be said of it.
    """
    yield from _section("COULD NOT BE LOOKED AT: what these run is not known", report.failed)
    missing = report.missing
    yield from _images(_TITLES["certain"], missing, mending=mending)
    allowed = [image for image in report.of("certain", held=False) if image not in missing]
    yield from _images("Missing, and allowed to be", allowed)
    yield from _images(_TITLES["likely"], report.of("likely", held=False))
    if every:
        yield from _images("In the inventory", [image for image in report.images if image.held])
        yield from _images("Decoys: named somewhere, and not run", report.of("decoy", held=False))
    stale = [image for image in report.images if image.stale]
    yield from _list("Stale", [f"{image.image}  {image.stale}" for image in stale])
    yield from _list("In the inventory, and not seen in any chart or manifest", report.unused)
    order = {"error": 0, "warning": 1}
    yield from _section(
        "Findings", sorted(report.findings, key=lambda finding: (order[finding.severity], finding.code))
    )
    yield summary(report)


def summary(report: ScanReport) -> str:
    """Return the answer in one line."""
    held = sum(image.held is not None for image in report.of("certain"))
    missing, failed = len(report.lacking), len(report.failed)
    parts = [
        _counted(report.sources, "render"),
        f"{held} of {len(report.of('certain'))} certain images in the inventory",
    ]
    parts += [f"{missing} missing"] if missing else []
    parts += [f"{len(report.added)} added"] if report.added else []
    parts += [f"{failed} could not be looked at"] if failed else []
    likely = len(report.of("likely", held=False))
    parts += [f"{likely} likely ones not in it"] if likely else []
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    parts += [f"{_counted(errors, 'error')} and {_counted(warnings, 'warning')}"] if report.findings else []
    whole = "complete once it is locked" if report.added else "complete"
    return f"{whole if report.complete else 'NOT COMPLETE'}: {', '.join(parts)}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"{title} ({len(lines)})"
        yield from (f"  {line}" for line in lines)
        yield ""


def _section(title: str, findings: Iterable[Finding]) -> Iterator[str]:
    return _list(title, [f"{finding.severity:<7} {finding.code:<18} {finding}" for finding in findings])


def _images(title: str, images: Iterable[ScannedImage], *, mending: str = "") -> Iterator[str]:
    images = list(images)
    if not images:
        return
    yield f"{title} ({len(images)})"
    for image in images:
        notes: list[str] = [image.pin] if image.pin == "floating" else []
        notes += [human(image.size)] if image.size else []
        yield f"  {image.image}" + (f"  ({', '.join(notes)})" if notes else "")
        places = _places(image.sightings)
        for place in places[:_PLACES]:
            yield f"      {place}"
        left = len(places) - _PLACES
        if left > 0:
            yield f"      and {left} more {'place' if left == 1 else 'places'}"
        if image.why:
            yield f"      but {image.why}"
    if mending:
        yield f"  mend: `{mending}` adds them to bundle.yaml, then `airbundle lock`"
    yield ""


def _places(sightings: Iterable[Sighting]) -> list[str]:
    """Return the places in words; one that several variants and sites have is one."""
    variants: dict[Sighting, list[str]] = {}
    for sighting in sightings:
        origin = sighting.place.origin
        variants.setdefault(sighting.at(origin=replace(origin, variant="")), []).append(origin.variant)
    return [_place(sighting, names) for sighting, names in variants.items()]


def _place(sighting: Sighting, variants: Sequence[str]) -> str:
    named = ", ".join(filter(None, variants))
    if named and "" in variants:
        named = f"and {named}"
    place = replace(sighting.place, origin=replace(sighting.place.origin, variant=named))
    key = sighting.place.values_key
    about = sighting.evidence + (f"; set by {key}" if key else "")
    phase = "" if sighting.place.phase == "run" else f" [{sighting.place.phase}]"
    return f"{place}{phase} ({about})"


def markdown_lines(report: ScanReport) -> Iterator[str]:
    """Yield the lines of a Markdown document, for a pull request or a release's notes."""
    yield "# What would run"
    yield ""
    yield summary(report)
    yield ""
    yield "| image | certainty | in inventory | pin | size | places |"
    yield "|---|---|---|---|---:|---|"
    for image in report.images:
        held = "yes" if image.held else "allowed" if report.is_allowed(image) else "**no**"
        if image.certainty == "decoy" and not image.held:
            held = "no"
        places = "<br>".join(_cell(place) for place in _places(image.sightings)[:_PLACES])
        size = human(image.size) if image.size else ""
        yield f"| `{image.image}` | {image.certainty} | {held} | {image.pin} | {size} | {places} |"
    for title, findings in (("Could not be looked at", report.failed), ("Findings", report.findings)):
        if findings:
            yield ""
            yield f"## {title}"
            yield ""
            yield "| severity | code | finding |"
            yield "|---|---|---|"
            for finding in findings:
                yield f"| {finding.severity} | {finding.code} | {_cell(str(finding))} |"
    if report.unused:
        yield ""
        yield "## In the inventory, and not seen"
        yield ""
        yield from (f"- `{entry}`" for entry in report.unused)


def _cell(text: str) -> str:
    # Names of objects are anybody's: no links, pictures, code or cells of their own.
    text = _MARKUP.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(text.splitlines())
