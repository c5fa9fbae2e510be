"""Values deep in objects from outside: of the type that is expected, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def value(body: object, *path: str) -> Any:
    """Return what stands at a path of fields; None where a field is missing, or no mapping is on the way."""
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def mapping(body: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at a path; an empty one where there is none."""
    found = value(body, *path)
    return found if isinstance(found, Mapping) else {}


def items(body: object, *path: str) -> Sequence[Mapping[str, Any]]:
    """Return the mappings of the list at a path; nothing where there is none."""
    found = value(body, *path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def text(body: object, *path: str) -> str:
    """Return the text at a path; an empty one where there is none."""
    found = value(body, *path)
    return found if isinstance(found, str) else ""


def number(body: object, *path: str, default: int = 0) -> int:
    """Return the whole number at a path; `default` where there is none."""
    found = value(body, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def condition(body: object, kind: str) -> Mapping[str, Any]:
    """Return the condition of a type in an object's status; an empty mapping where it isn't told."""
    return next((each for each in items(body, "status", "conditions") if each.get("type") == kind), {})


def group(body: object) -> str:
    """Return the API group of an object; empty for that of `v1`."""
    return text(body, "apiVersion").rpartition("/")[0]
