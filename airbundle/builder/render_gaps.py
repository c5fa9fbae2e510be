"""What values ask for and a render does not show: nothing at all, a part that is missing, a value that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from airbundle.bundle.chart_values import GLOBAL, ChartTree, coalesce
from airbundle.errors import Finding
from airbundle.transfer.problems import clean

UNREAD = "value-unread"
"""Code of findings about values that nobody reads; their place is the value's name, until its file is known."""
_SOMETHING = re.compile(rb"^(?!---|[ \t]*#)[^\n]*\S", re.MULTILINE)
_HELMS_OWN = frozenset({GLOBAL, "tags", "enabled"})
_TOLD = ("README.md", "values.yaml", "NOTES.txt")
"""Files that tell of values and read none."""
_IDENTIFIER = re.compile(r"[a-z][A-Za-z0-9]*")
_CLOSE, _CLOSE_BELOW = 0.75, 0.65
"""How alike two names are that may be meant for one another; deeper down a stranger alone says nothing."""


def render_gaps(output: bytes, tree: ChartTree, given: Mapping[str, Any]) -> list[Finding]:
    """Return what is odd about a render, looking at the values that were given for it.

    Args:
        output: the render.
        tree: the chart.
        given: what the values files say together.
    """
    unread = list(_unread(tree, given))
    if not _SOMETHING.search(output):
        asked = _asks(given)
        message = "nothing is rendered" + (", though values ask for something" if asked else "")
        hint = "a switch is off, or a value is misspelled; compare with the chart's own values.yaml"
        empty = Finding(message, code="render-empty", hint=hint, severity="error" if asked else "warning")
        return [empty, *unread]
    return [*_missing_parts(output, tree, given), *unread]


def _asks(given: Mapping[str, Any]) -> bool:
    """Tell whether values plainly ask for something: they say something, and switch nothing off."""
    leaves = list(_leaves(given))
    return any(leaves) and False not in [leaf for leaf in leaves if isinstance(leaf, bool)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _missing_parts(output: bytes, tree: ChartTree, given: Mapping[str, Any]) -> Iterator[Finding]:
    top = tree.metadata.name
    for name, subchart in tree.subcharts:
        wanted = given.get(name)
        asked = isinstance(wanted, dict) and wanted.get("enabled") is True
        if asked and subchart.metadata.type != "library" and f"# Source: {top}/charts/{name}/".encode() not in output:
            message = f"the values switch {name!r} on, and nothing of it is rendered"
            yield Finding(message, code="render-empty", severity="warning")


def _unread(tree: ChartTree, given: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a warning for each value that neither the chart's own values nor a text in it know.

    Whole parts are looked at, the first level of a chart and of its subcharts. Deeper down free forms are usual:
    there a name has to look like one that stands in its place in the chart's own values, and that isn't given.
    """
    known = dict(tree.subcharts)
    yield from _unread_keys(tree, tree.values, known, given, "")
    for name, subchart in known.items():
        below = given.get(name)
        if isinstance(below, dict):
            own = {**subchart.values, **_mapping(tree.values.get(name))}
            yield from _unread_keys(tree, own, dict(subchart.subcharts), below, f"{name}.")
    for key, own in coalesce(tree).items():
        if key not in known:
            yield from _mistyped(tree, own, given.get(key), f"{key}.")
            continue
        for inner, owned in _mapping(own).items():
            yield from _mistyped(tree, owned, _mapping(given.get(key)).get(inner), f"{key}.{inner}.")


def _mistyped(tree: ChartTree, own: Any, given: Any, prefix: str) -> Iterator[Finding]:
    """Yield a warning for each name below `prefix` that looks like a mistyped one of the chart's own."""
    if not isinstance(own, dict) or not isinstance(given, dict):
        return
    for key, value in given.items():
        if key in own:
            yield from _mistyped(tree, own[key], value, f"{prefix}{key}.")
            continue
        left = [each for each in own if each not in given]
        if _IDENTIFIER.fullmatch(key) and value is not None:
            close = get_close_matches(key, left, n=1, cutoff=_CLOSE_BELOW)
            if close and not _is_mentioned(tree, key):
                yield _unread_value(prefix + key, f"did you mean {clean(prefix + close[0])!r}?")


def _unread_keys(
    tree: ChartTree, own: Mapping[str, Any], parts: Mapping[str, ChartTree], given: Mapping[str, Any], prefix: str
) -> Iterator[Finding]:
    for key, value in given.items():
        # `x-…` and the like hold what anchors refer to.
        meant = key in own or key in parts or key in _HELMS_OWN or key.startswith(("x-", "_", ".")) or value is None
        if meant or _is_mentioned(tree, key):
            continue
        close = get_close_matches(key, [*own, *parts], n=1, cutoff=_CLOSE)
        hint = f"did you mean {clean(prefix + close[0])!r}?" if close else "compare with the chart's own values.yaml"
        yield _unread_value(prefix + key, hint)


def _unread_value(key: str, hint: str) -> Finding:
    message = f"the value {clean(key)!r} is given, and nothing in the chart reads it"
    return Finding(message, where=key, code=UNREAD, hint=hint, severity="warning")


def _is_mentioned(tree: ChartTree, key: str) -> bool:
    word = re.compile(rb"(?<![A-Za-z0-9_])" + re.escape(key.encode()) + rb"(?![A-Za-z0-9_])")
    return any(
        word.search(data)
        for _, part in tree.walk()
        for path, data in part.files.items()
        if path.rsplit("/", 1)[-1] not in _TOLD
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
