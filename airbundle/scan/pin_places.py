"""Where in a text the scalars of a document stand, and where within a scalar's text an image is meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from airbundle.scan.loading import compose, is_merge, key_text, without_unprintable
from airbundle.scan.seen import ARROW
from airbundle.scan.texts import SEPARATOR, comment_spans
from airbundle.scan.walk import join

_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_HEADER = re.compile(r"[|>][^\n]*\n?")
_UNFOLD, _UNFOLD_FLOOR = 16, 4000  # more than `load_document` lets aliases make of each character


@dataclass
class Scalar:
    """A scalar of a document.

    Attributes:
        start: in the text, in characters; after anchor, tag and a block's header.
        paths: all that lead to it; aliases and merge keys share one.
    """

    start: int
    end: int
    value: str = field(repr=False)
    paths: set[str] = field(default_factory=set)

    def meant(self, inner: str, places: Sequence[int]) -> Collection[int]:
        """Return which places of a reference in the value are meant: at its path in it, or all that no comment has.

        Args:
            inner: the path within the value's text; empty where none is known.
            places: where the reference stands in `value`.
        """
        spans = self._fields.get(inner.split(ARROW, 1)[0], ()) if inner else ()
        if spans:
            return {place for place in places if any(start <= place < end for start, end in spans)}
        return {place for place in places if not any(start <= place < end for start, end in self._comments)}

    @cached_property
    def _fields(self) -> Mapping[str, Sequence[tuple[int, int]]]:
        return _inner_spans(self.value)

    @cached_property
    def _comments(self) -> Sequence[tuple[int, int]]:
        return comment_spans(self.value)


def scalars_of(text: str) -> Mapping[str, Sequence[Scalar]]:
    """Return the scalars of a document by their paths, several where a key stands twice; none if it can't be read."""
    try:
        root = compose(text)
    except yaml.YAMLError:
        try:
            root = compose(without_unprintable(text))
        except yaml.YAMLError:  # read only after its tabs were mended
            return {}
    scalars: dict[int, Scalar] = {}
    found: dict[str, list[Scalar]] = {}
    for path, node in _leaves(root, len(text) * _UNFOLD + _UNFOLD_FLOOR):
        scalar = scalars.get(id(node))
        if scalar is None:
            scalar = scalars[id(node)] = _scalar(text, node)
        if path not in scalar.paths:
            scalar.paths.add(path)
            found.setdefault(path, []).append(scalar)
    return found


def _inner_spans(value: str) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for match in [*SEPARATOR.finditer(value), None]:
        end = match.start() if match else len(value)
        for path, scalars in scalars_of(value[start:end]).items():
            found.setdefault(path, []).extend((start + scalar.start, start + scalar.end) for scalar in scalars)
        start = match.end() if match else end
    return found


def _leaves(root: Any, budget: int) -> Iterator[tuple[str, Any]]:
    left: list[tuple[str, Any]] = [("", root)] if root is not None else []
    while left and budget > 0:
        budget -= 1
        path, node = left.pop()
        if isinstance(node, yaml.ScalarNode):
            yield path, node
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if is_merge(key):
                    merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                    left += [(path, each) for each in merged if isinstance(each, yaml.MappingNode)]
                else:
                    left.append((join(path, key_text(key)), value))
        else:
            left += [(f"{path}[{number}]", item) for number, item in enumerate(node.value)]


def _scalar(text: str, node: Any) -> Scalar:
    start, end = node.start_mark.index, node.end_mark.index
    properties = _PROPERTIES.match(text, start, end)
    start = properties.end() if properties else start
    header = _HEADER.match(text, start, end)
    return Scalar(header.end() if header else start, end, node.value)
