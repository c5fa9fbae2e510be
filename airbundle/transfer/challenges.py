"""WWW-Authenticate (RFC 9110 §11.6.1): several challenges in one or more headers, with quoted parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110's "token", not a secret
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}|[^\s,"]+))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|\s*(?=,)|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?:,|$)")
HEADER_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Challenge:
    """One challenge: scheme and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all WWW-Authenticate headers; what can't be parsed ends its header."""
    found: list[Challenge] = []
    for value in values:
        found.extend(_parse(value[:HEADER_LIMIT]))
    return found


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while True:
        scheme = _SCHEME.match(text, position)
        if scheme is None:
            return found
        position = scheme.end()
        parameters: dict[str, str] = {}
        parameter = _PARAMETER.match(text, position)
        if parameter is None:
            blob = _TOKEN68.match(text, position)
            position = blob.end() if blob is not None and "," in blob[0] else position
        while parameter is not None:
            quoted, plain = parameter[2], parameter[3]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            parameters.setdefault(parameter[1].lower(), value)
            position = parameter.end()
            parameter = _PARAMETER.match(text, position)
        found.append(Challenge(scheme[1].lower(), parameters))
