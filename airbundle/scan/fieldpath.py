"""Paths to fields of an object, as the knowledge of operators writes them.

`spec.image` is a field; `spec.solvers[].http01` that field of each item of a list; `containers[name=pgbouncer].image`
of the items whose `name` is so; `spec[type=filebeat]` a mapping, if its `type` is so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from airbundle.errors import UsageError

_STEP = re.compile(r"([^.\[\]=\s]+)(\[(?:([^.\[\]=\s]+)=([^\[\]\s]*))?\])?(?:\.(?=[^.])|$)")


def check_path(path: str) -> None:
    """Raise UsageError unless `path` can be followed."""
    _steps(path)


def values_at(body: Any, path: str) -> list[Any]:
    """Return what stands at `path` in `body`, in order; nothing where a step leads nowhere."""
    found = [body]
    for key, each, name, wanted in _steps(path):
        found = [item for value in found for item in _step(value, key, each, name, wanted)]
    return found


def _steps(path: str) -> list[tuple[str, bool, str, str]]:
    steps: list[tuple[str, bool, str, str]] = []
    position = 0
    while position < len(path) or not steps:
        match = _STEP.match(path, position)
        if match is None:
            raise UsageError(
                f"the path {path!r} can't be followed from {path[position:]!r}",
                hint="write for example spec.image, spec.solvers[].http01 or spec.containers[name=app].image",
            )
        steps.append((match.group(1), match.group(2) is not None, match.group(3) or "", match.group(4) or ""))
        position = match.end()
    return steps


def _step(value: Any, key: str, each: bool, name: str, wanted: str) -> Iterator[Any]:
    if not isinstance(value, dict) or key not in value:
        return
    inner = value[key]
    if not each:
        yield inner
        return
    for item in inner if isinstance(inner, list) else [inner] if name else []:
        if not name or (isinstance(item, dict) and str(item.get(name)) == wanted):
            yield item
