"""The same fault at many places is told once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from airbundle.errors import Finding

_NAMED = 2
"""Further places that are named; more are counted."""


def united(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for those that differ in their place alone, errors first, in the order they came in.

    A host that leads to the internet is not told as written out, too.
    """
    findings = list(findings)
    public = {finding.where for finding in findings if finding.code == "internet-url"}
    findings = [each for each in findings if each.code != "hard-coded-host" or each.where not in public]
    places: dict[tuple[str, str, str, str], list[Finding]] = {}
    for finding in findings:
        source = finding.where.partition(": ")[0].partition(" [")[0]
        places.setdefault((finding.code, finding.message, finding.found, source), []).append(finding)
    told = [_with_places(group) for group in places.values()]
    return sorted(told, key=lambda finding: finding.severity != "error")


def _with_places(group: list[Finding]) -> Finding:
    first, *others = group
    by_place = {_without_variant(finding.where): finding.where for finding in reversed(others)}
    by_place.pop(_without_variant(first.where), None)
    wheres = list(reversed(by_place.values()))
    if not wheres:
        return first
    rest = len(wheres) - _NAMED
    more = "; also at " + "; ".join(wheres[:_NAMED]) + (f"; and {rest} more" if rest > 0 else "")
    return replace(first, message=first.message + more)


def _without_variant(where: str) -> str:
    """The same field of the same object in another variant is the same place."""
    source, colon, rest = where.partition(": ")
    return source.partition(" [")[0] + colon + rest
