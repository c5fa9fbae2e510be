"""Kubernetes' YAML and JSON as plain Python values: fast, bounded, as forgiving as helm and kubectl are.

Scalars are what go-yaml makes of them (`bundle.chart_yaml`); a bare `=` is text; of doubled keys the last one wins;
anchors and merge keys are followed as long as the document does not unfold beyond its own size. A render of 5 MB is
mostly CRDs: nodes are composed by libyaml where it is there, and made into values without PyYAML's resolvers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from airbundle.bundle.chart_yaml import plain_value

DEPTH_LIMIT = 150
"""Deepest nesting of values; real CRDs reach 60."""
_UNFOLD = 8  # values that aliases may make of each character
_UNFOLD_FLOOR = 2000
_CACHED = 20_000  # scalars of one document that are kept

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAKS = frozenset("\r\n\x85\u2028\u2029")
_PLAIN, _TEXT = "plain", "text"
_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "timestamp"))

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
_ANCHOR = re.compile(r"(?:^|[-:?,\[{]|![^\s!]*)[ \t]*&[^\s&]", re.MULTILINE)
_ALIAS = re.compile(r"(?:^|[-:?,\[{])[ \t]*\*[^\s*]", re.MULTILINE)
_MERGE = re.compile(r"<<[ \t]*:")


@dataclass(frozen=True)
class Problem:
    """Why a text is no YAML, or what is odd about it; `line` counts from 1 in the text."""

    line: int
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Loaded:
    """What a document holds. With a `failure` there is no value; `oddities` are what the reading had to settle."""

    value: Any = None
    failure: Problem | None = None
    oddities: tuple[Problem, ...] = field(default=())


_TOO_DEEP = Loaded(failure=Problem(1, f"values are nested deeper than {DEPTH_LIMIT}"))


class _RefusedError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _Composer(_Parser):  # type: ignore[misc]  # its base is chosen at run time
    """Composes nodes; tells plain scalars from quoted ones, resolves nothing else; stops before the C stack ends."""

    depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:  # noqa: ARG002  (PyYAML's signature)
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else _TEXT

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:  # noqa: ARG002  (PyYAML's signature)
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            line = current_node.start_mark.line + 1 if current_node is not None else 1
            raise _RefusedError(line, f"values are nested deeper than {DEPTH_LIMIT}")

    def ascend_resolver(self) -> None:
        self.depth -= 1

    # libyaml and Go take tabs between words and before comments; PyYAML's own scanner, which serves without libyaml,
    # does not. libyaml's parser calls neither of these.
    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> Any:
        length = 0
        while self.peek(length) in {" ", "\t"}:
            length += 1
        if "\t" not in self.prefix(length):
            return super().scan_plain_spaces(indent, start_mark)
        spaces = self.prefix(length)
        self.forward(length)
        return super().scan_plain_spaces(indent, start_mark) if self.peek() in _BREAKS else [spaces]


def load_document(text: str) -> Loaded:
    """Read one YAML or JSON document. Never raises for what a text may hold.

    Args:
        text: one document, without a second `---`; the caller has bounded its size.
    """
    loaded = _load(text)
    oddities: tuple[Problem, ...] = ()
    bad = _UNPRINTABLE.search(text) if loaded.failure is not None else None
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        oddities = (Problem(line, f"holds the character U+{ord(bad.group()):04X}, which YAML does not allow"),)
        text = without_unprintable(text)
        loaded = _load(text)
    if loaded.failure is not None and "\t" in text:
        loaded = _without_tabs(text, loaded)
    return Loaded(loaded.value, loaded.failure, oddities + loaded.oddities)


def load_json(text: str) -> Loaded:
    """Read JSON. Never raises for what a text may hold."""
    try:
        value = json.loads(text)
    except RecursionError:
        return _TOO_DEEP
    except json.JSONDecodeError as error:
        return Loaded(failure=Problem(error.lineno, f"not JSON: {error.msg}"))
    except ValueError as error:  # a number of too many digits
        return Loaded(failure=Problem(1, f"not JSON: {error}"))
    return _TOO_DEEP if _is_too_deep(value) else Loaded(value)


def _is_too_deep(value: Any) -> bool:
    """Python 3.12 and later read JSON deeper than Python code can follow."""
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _without_tabs(text: str, failed: Loaded) -> Loaded:
    """Read again with tabs in indentation as spaces: helm refuses such a file, but its images shall be known."""
    lines = text.split("\n")
    indented = [number for number, line in enumerate(lines, 1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if not indented:
        return failed
    mended = _load("\n".join(line.expandtabs(2) if line.lstrip(" ")[:1] == "\t" else line for line in lines))
    problem = Problem(indented[0], "a tab indents this line; YAML knows no tabs there", "indent with spaces")
    if mended.failure is not None:
        return Loaded(failure=problem)
    return Loaded(mended.value, oddities=(problem, *mended.oddities))


def compose(text: str) -> Any:
    """Return the nodes of a document that `load_document` has read, with their places in the text.

    Raises:
        yaml.YAMLError: it can't be read as it stands.
    """
    loader = _Composer(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def without_unprintable(text: str) -> str:
    """Return a text of the same length without the characters that YAML does not allow."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def is_merge(key: Any) -> bool:
    """Tell whether a composed key is `<<`, whose mappings are laid below those that it stands in."""
    return type(key) is yaml.ScalarNode and key.value == "<<" and key.tag == _PLAIN


def key_text(node: Any) -> str:
    """Return the key that a composed node of `compose` stands for, as `load_document` has it; else an empty text."""
    if type(node) is not yaml.ScalarNode:
        return ""
    key = _Builder(0).plain(node)
    return key if isinstance(key, str) else _key_text(key, node)


def _load(text: str) -> Loaded:
    try:
        node = compose(text)
        builder = _Builder(len(text) * _UNFOLD + _UNFOLD_FLOOR)
        shares = _MERGE.search(text) or ("&" in text and _ALIAS.search(text) and _ANCHOR.search(text))
        value = (builder.shared if shares else builder.plain)(node) if node is not None else None
    except _RefusedError as error:
        return Loaded(failure=Problem(error.line, error.message))
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        said = " ".join(str(part) for part in (error.problem, error.context) if part)
        return Loaded(
            failure=Problem(mark.line + 1 if mark is not None else 1, f"not YAML: {said or 'it cannot be parsed'}")
        )
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        return Loaded(failure=Problem(1, f"not YAML: {' '.join(str(error).split())[:200]}"))
    doubled = tuple(
        Problem(line, f"the key {key[:80]!r} stands twice; the last one counts") for key, line in builder.doubled
    )
    return Loaded(value, oddities=doubled)


class _Builder:
    """Makes values of composed nodes."""

    def __init__(self, budget: int) -> None:
        self.doubled: list[tuple[str, int]] = []
        self._budget = budget
        self._scalars: dict[str, Any] = {}
        self._done: dict[int, tuple[Any, int]] = {}

    def plain(self, node: Any) -> Any:
        """Return the value of a tree in which nothing is shared."""
        if type(node) is yaml.ScalarNode:
            return node.value if node.tag == _TEXT else self._scalar(node)
        if type(node) is yaml.MappingNode:
            return self._mapping(node, self.plain)
        return [self.plain(item) for item in node.value]

    def shared(self, node: Any) -> Any:
        """Return the value of a tree with aliases and merge keys; counts what it unfolds to."""
        return self._counted(node)[0]

    def _counted(self, node: Any) -> tuple[Any, int]:
        if type(node) is yaml.ScalarNode:
            return self.plain(node), 1
        known = self._done.get(id(node))
        if known is not None:
            if known[1] < 0:
                raise _RefusedError(node.start_mark.line + 1, "an alias leads to what it is part of")
            return self._charge(node, known)
        self._done[id(node)] = (None, -1)
        before = self._budget
        if type(node) is yaml.MappingNode:
            value: Any = self._mapping(node, self.shared)
            value = self._merged(value) if "<<" in value and _has_merge(node) else value
        else:
            value = [self.shared(item) for item in node.value]
        self._charge(node, (value, len(value) + 1))
        self._done[id(node)] = (value, before - self._budget)
        return self._done[id(node)]

    def _charge(self, node: Any, counted: tuple[Any, int]) -> tuple[Any, int]:
        self._budget -= counted[1]
        if self._budget < 0:
            raise _RefusedError(node.start_mark.line + 1, "aliases unfold to far more than the document holds")
        return counted

    def _mapping(self, node: Any, build: Callable[[Any], Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = build(key_node)
            if type(key) is not str:
                key = _key_text(key, key_node)
            if key in found and key != "<<":
                self.doubled.append((key, key_node.start_mark.line + 1))
            found[key] = build(value_node)
        return found

    def _merged(self, value: dict[str, Any]) -> dict[str, Any]:
        merged = value.pop("<<")
        sources = merged if isinstance(merged, list) else [merged]
        base: dict[str, Any] = {}
        for source in reversed(sources):
            if isinstance(source, dict):
                base.update(source)
        base.update(value)
        return base

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        if node.tag != _PLAIN and node.tag not in _SCALAR_TAGS:
            return text
        if text in self._scalars:
            return self._scalars[text]
        value = plain_value(text)
        if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
            value = text
        if len(self._scalars) < _CACHED:
            self._scalars[text] = value
        return value


def _has_merge(node: Any) -> bool:
    return any(is_merge(key) for key, _ in node.value)


def _key_text(key: Any, node: Any) -> str:
    """Return a key that is no text as JSON would have it."""
    if isinstance(key, (dict, list)):
        line = node.start_mark.line + 1
        raise _RefusedError(line, "a key is a mapping or a list; is this a template that was not rendered?")
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)
