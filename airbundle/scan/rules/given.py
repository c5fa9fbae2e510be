"""Which value a text of a render stems from: the file and key that somebody wrote, or a key of the chart's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airbundle.scan.model import Rendering
from airbundle.scan.value_images import DEPTH_LIMIT, NODE_LIMIT, join_key

_WORDS = re.compile(r"[^a-z0-9]+")
OF_SITE = "site "
"""How the variants that are sites begin."""
_TELLING = 5
"""Characters of a text that may stand for several things."""
_SUBCHART = re.compile(r"charts/([^/]+)/")


@dataclass(frozen=True)
class Leaf:
    """One text of values: where it stands. `file` is empty for the chart's own."""

    file: str
    key: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.file}: {self.key}" if self.file else self.key


class ValueIndex:
    """The texts among the values of one render."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering

    @property
    def is_of_site(self) -> bool:
        """Whether a site's own values are among the given ones."""
        return self._rendering.origin.variant.startswith(OF_SITE)

    @cached_property
    def given(self) -> list[Leaf]:
        """What the inventory and the site wrote."""
        return [leaf for file, values in self._rendering.given for leaf in leaves(values, file)]

    @cached_property
    def _given_by_text(self) -> dict[str, list[Leaf]]:
        return _by_text(self.given)

    @cached_property
    def _all_by_text(self) -> dict[str, list[Leaf]]:
        return _by_text(leaves(self._rendering.values))

    def written(self, token: str, text: str, name: str, *, same_name: bool = False) -> Leaf | None:
        """Return the given value that is `text`, or that holds `token`, a part of it which is found nowhere else.

        Args:
            token: empty when there is no such part.
            text: what a render has.
            name: what it is called there: the variable, the key, the field.
            same_name: the value must be called alike: texts such as passwords stand for other things, too.
        """
        exact = self._given_by_text.get(text.strip(), [])
        alike = [leaf for leaf in exact if _alike(leaf.key, name)]
        if alike or (exact and not same_name and len(text.strip()) > _TELLING):
            return _best(alike or exact, name)
        return next((leaf for leaf in self.given if token in leaf.value), None) if token else None

    def key(self, text: str, name: str = "", template: str = "") -> str:
        """Return the key of the value that is `text`; empty unless there is just one that it can be.

        Args:
            text: what a render has.
            name: what it is called there: the variable, the key, the field.
            template: the file of the chart that it comes from; tells the subchart.
        """
        found = self._all_by_text.get(text.strip(), [])
        alike = [leaf for leaf in found if _alike(leaf.key, name)] or (found if len(text.strip()) > _TELLING else [])
        if len(alike) > 1:
            inside = ".".join(_SUBCHART.findall(template))
            alike = [leaf for leaf in alike if inside and leaf.key.startswith(inside + ".")]
        return alike[0].key if len(alike) == 1 else ""


def leaves(values: Mapping[str, Any], file: str = "") -> Iterator[Leaf]:
    """Yield the texts among `values`, up to a bound."""
    left = [NODE_LIMIT]

    def walk(node: object, path: str, depth: int) -> Iterator[Leaf]:
        left[0] -= 1
        if left[0] < 0 or depth > DEPTH_LIMIT:
            return
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, join_key(path, str(key)), depth + 1)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                yield from walk(value, f"{path}[{index}]", depth + 1)
        elif isinstance(node, str) and node.strip():
            yield Leaf(file, path, node)

    return walk(values, "", 0)


def _by_text(found: Iterator[Leaf] | list[Leaf]) -> dict[str, list[Leaf]]:
    by_text: dict[str, list[Leaf]] = {}
    for leaf in found:
        by_text.setdefault(leaf.value.strip(), []).append(leaf)
    return by_text


def _best(found: list[Leaf], name: str) -> Leaf:
    """Return the value whose key has most words of `name`; the first of equals."""
    words = set(_WORDS.split(name.lower())) - {""}

    def fit(leaf: Leaf) -> int:
        key = _WORDS.sub("", leaf.key.lower())
        return sum(word in key for word in words)

    return max(found, key=fit)


def _alike(key: str, name: str) -> bool:
    """Whether the last part of a key and a name hold one another: `auth.password` and `postgres-password`."""
    last = _WORDS.sub("", key.lower().rpartition(".")[2])
    own = _WORDS.sub("", name.lower())
    return min(len(last), len(own)) > 2 and (last in own or own in last)
