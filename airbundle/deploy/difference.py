"""What differs between two states of an object, as a digest: tells whether the same differs again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import canonical_json
from airbundle.deploy.diff import without_noise

_ABSENT = "\0"
"""A field that is not there is another thing than one that is null."""


def difference_digest(live: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the digest of all that differs: of where it is, and of both values. What is alike plays no part.

    Args:
        live: as the cluster has it.
        after: as it would have it.
    """
    return sha256(canonical_json(list(_differences([], without_noise(live), without_noise(after)))))


def _differences(path: list[object], old: Any, new: Any) -> Iterator[object]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _differences([*path, name], old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new)):
            yield from _differences([*path, place], *pair)
    elif old != new:
        yield [path, old, new]
