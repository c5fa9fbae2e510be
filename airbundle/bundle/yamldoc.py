"""YAML that people write, as a tree that remembers lines: bounded, without surprises.

Scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `no`, `on`, `1:20` and
dates are text, as the JSON Schema in an editor sees them. What can be read in two ways is refused: keys that stand
twice, several documents, merge keys, tags. Aliases are followed up to a bound, so that no bomb unfolds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union

import yaml

from airbundle.errors import DocumentError, Finding

SIZE_LIMIT = 1 << 20
"""Largest document in bytes."""
NODE_LIMIT = 100_000
"""Most nodes after aliases are followed."""
DEPTH_LIMIT = 32

Scalar = Union[str, int, float, bool, None]
Kind = Literal["scalar", "list", "mapping"]

# The stub of PyYAML does not know the C loader as a subclass of the other; both are event sources for `yaml.parse`.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SURROGATE = re.compile("[\ud800-\udfff]")
_CREDENTIALS = re.compile(r"//[^/\s]*@")
_STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_KNOWN_TAGS = re.compile("tag:yaml[.]org,2002:(int|float|bool|null|binary|timestamp|set|omap|pairs|map|seq|merge)")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_CONSTANTS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True)
class Node:
    """A value with its place.

    Attributes:
        line, column: counted from 1.
        value: of a scalar; None for null.
        text: of a scalar, as it is spelled.
        items: of a list.
        entries: of a mapping, by key, in the order of the document.
        key_lines: line of each key of a mapping.
        count: nodes in this tree, itself included.
    """

    kind: Kind
    line: int
    column: int
    value: Scalar = None
    items: tuple[Node, ...] = ()
    entries: Mapping[str, Node] = field(default_factory=dict)
    key_lines: Mapping[str, int] = field(default_factory=dict)
    count: int = 1
    text: str = ""

    @property
    def is_null(self) -> bool:
        """Whether it is an empty value."""
        return self.kind == "scalar" and self.value is None

    def describe(self) -> str:
        """Return what stands here, in words, for an error."""
        if self.kind == "list":
            return "a list"
        if self.kind == "mapping":
            return "a mapping"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, str):
            shown = _CREDENTIALS.sub("//…@", self.value)
            return repr(shown if len(shown) <= 80 else shown[:77] + "...")
        return f"the number {self.value}"

    def plain(self) -> Any:
        """Return the tree as dict, list and scalars."""
        if self.kind == "list":
            return [item.plain() for item in self.items]
        if self.kind == "mapping":
            return {key: item.plain() for key, item in self.entries.items()}
        return self.value


@dataclass(frozen=True)
class Document:
    """One document: its tree, and what is wrong with its form though it could be read."""

    where: str
    root: Node
    findings: tuple[Finding, ...] = ()


def load(raw: bytes, *, where: str) -> Document:
    """Read one YAML document.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: too long, not UTF-8, not YAML, or not one document. Doubled keys and the like do not raise:
            they are in `findings`, to be told together with what the fields' validator finds.
    """
    text = _decode(raw, where)
    composer = _Composer(where)
    try:
        root = composer.document(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, where) from None
    return Document(where, root, tuple(composer.findings))


def _decode(raw: bytes, where: str) -> str:
    if len(raw) > SIZE_LIMIT:
        raise _failure(where, f"the document has {len(raw)} bytes", expected=f"at most {SIZE_LIMIT}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _failure(
            f"{where}:{line}",
            "the document is not UTF-8",
            found=f"byte 0x{raw[error.start]:02x}",
            expected="UTF-8 text",
        ) from None


def _failure(where: str, message: str, *, found: str = "", expected: str = "", hint: str = "") -> DocumentError:
    finding = Finding(message, where=where, found=found, expected=expected, hint=hint)
    return DocumentError(f"{where.split(':', 1)[0]} can't be read", findings=[finding])


def _syntax_error(error: yaml.YAMLError, text: str, where: str) -> DocumentError:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        return _failure(f"{where}:{line}", f"not YAML: {getattr(error, 'reason', None) or error}")
    place = f"{where}:{mark.line + 1}"
    lines = text.split("\n")
    written = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return _failure(place, "a tab indents this line", expected="spaces: YAML knows no tabs there")
    said = getattr(error, "problem", None) or "can't be parsed"
    context = getattr(error, "context", None)
    return _failure(f"{place}:{mark.column + 1}", f"not YAML: {said}" + (f" {context}" if context else ""))


class _Composer:
    """Builds the tree from parser events; without recursion into aliases, and bounded in depth and count."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []
        self._anchors: dict[str, Node] = {}

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)):
                if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                    raise self._refuse(event, "a second document begins here", expected="one document in the file")
                continue
            if isinstance(event, yaml.StreamEndEvent):
                break
            root = self._node(event, events, 0)
        if root is None:
            raise _failure(f"{self.where}:1", "the document is empty", expected="a mapping with apiVersion and kind")
        return root

    def _refuse(self, event: Any, message: str, *, expected: str = "") -> DocumentError:
        return _failure(f"{self.where}:{event.start_mark.line + 1}", message, expected=expected)

    def _note(self, line: int, message: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        where = f"{self.where}:{line}"
        self.findings.append(Finding(message, where=where, found=found, expected=expected, hint=hint))

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                # What stands there may be a password that begins so.
                raise self._refuse(
                    event,
                    "a value that begins with '*' is an alias, and no anchor is before it",
                    expected="text in quotes",
                )
            return self._anchors[event.anchor]
        if depth > DEPTH_LIMIT:
            raise self._refuse(event, f"values are nested deeper than {DEPTH_LIMIT}")
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if event.tag is not None and event.tag not in _STRING_TAGS:
            # One of its own may be a password that begins with an exclamation mark.
            known = _KNOWN_TAGS.fullmatch(event.tag)
            told = f"the tag '!!{known[1]}'" if known else "a value that begins with '!' is a tag, which"
            self._note(line, f"{told} is not supported", expected="plain values; text in quotes")
        if isinstance(event, yaml.ScalarEvent):
            if _SURROGATE.search(event.value):
                # Escapes can write what is no character, and what no encoder takes.
                raise self._refuse(event, "an escape writes half a character", expected="\\U and eight hex digits")
            node = Node("scalar", line, column, value=_scalar(event), text=event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, events, depth)
        else:
            node = self._mapping(event, events, depth)
        if node.count > NODE_LIMIT:
            raise self._refuse(event, f"the document unfolds to more than {NODE_LIMIT} values")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _list(self, start: Any, events: Iterator[Any], depth: int) -> Node:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, depth + 1))
        line, column = start.start_mark.line + 1, start.start_mark.column + 1
        return Node("list", line, column, items=tuple(items), count=1 + sum(item.count for item in items))

    def _mapping(self, start: Any, events: Iterator[Any], depth: int) -> Node:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        count = 1
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key_line = event.start_mark.line + 1
            name = self._key(self._node(event, events, depth + 1), key_line)
            value = self._node(next(events), events, depth + 1)
            count += 1 + value.count
            if name in entries:
                self._note(key_line, f"the key {name[:80]!r} stands twice", found=f"the first on line {lines[name]}")
            elif name == "<<":
                self._note(key_line, "merge keys are not supported", hint="write the fields out")
            elif name:
                entries[name], lines[name] = value, key_line
        line, column = start.start_mark.line + 1, start.start_mark.column + 1
        return Node("mapping", line, column, entries=entries, key_lines=lines, count=count)

    def _key(self, node: Node, line: int) -> str:
        if node.kind != "scalar" or not isinstance(node.value, str) or not node.value:
            self._note(line, "a key is no text", found=node.describe(), expected="a name; in quotes if need be")
            return ""
        return node.value


def _scalar(event: Any) -> Scalar:
    text: str = event.value
    # A plain scalar has the style None, or "" from the C parser.
    if event.style or event.tag in _STRING_TAGS:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
