"""More items for a list of a YAML document that people write: all else stays byte for byte as it was.

The parser's marks say where the list ends. New items take over the indentation, quotes and line ends of those before;
comments stay with what they follow. Pure: whether the outcome means what it should is for the caller to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

# As in `bundle.yamldoc`: the stub does not know the C loader as a subclass of the other.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_REST = re.compile("[ \t]*(,?)[ \t]*(?:#[^\n\r\x85\u2028\u2029]*)?(?=[\n\r\x85\u2028\u2029]|\\Z)")
_DASH = re.compile("[ ]*-[ \t]+")
_PLAIN = re.compile("[A-Za-z0-9][A-Za-z0-9._/@:-]*/[A-Za-z0-9._/@:-]*[A-Za-z0-9._/@-]")
"""What is text for every reader of YAML, also for those that take `1:20` for a number."""
_INDENT = 2
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class CannotAppend(Exception):
    """The document is written in a way that leaves no place for more items."""


@dataclass(frozen=True)
class _Value:
    """A node: offsets in the document, and of a list its items.

    Attributes:
        kind: `scalar`, `alias`, `list` or `mapping`.
        end: after its last character; what ends lines is not counted.
        style: of a scalar: a quote, or empty.
        flow: whether a list or mapping stands in brackets.
        anchored: whether other places may mean it.
    """

    kind: str
    start: int
    end: int
    text: str = ""
    style: str = ""
    flow: bool = False
    anchored: bool = False
    items: Sequence[_Value] = field(default=(), repr=False)


def append_items(text: str, key: str, items: Sequence[str], *, before: Sequence[str] = ()) -> str:
    """Return the document with more items in the list that a key of its top has.

    Args:
        text: one YAML document whose top is a mapping; without byte order mark.
        key: the list's; one that is not there, or has nothing, is made.
        items: plain text without quotes, backslashes and line breaks.
        before: keys that a new list comes before, where they are there; else it comes last.

    Raises:
        CannotAppend: there is no place that this knows of.
    """
    top = _read(text)
    if top.kind != "mapping" or not top.items:
        raise CannotAppend("the document is no mapping")
    entries = list(zip(top.items[::2], top.items[1::2]))
    editor = _Editor(text, entries, _newline(text))
    found = [(name, value) for name, value in entries if name.text == key]
    if not found:
        return editor.flow_entry(key, items) if top.flow else editor.new_list(key, items, before)
    name, value = found[-1]
    if value.kind == "list" and value.items:
        return editor.flow_items(value, items) if value.flow else editor.block_items(value, items)
    if value.kind == "list" or (value.kind == "scalar" and not value.style):
        return editor.filled(name, value, items, flow=top.flow)
    raise CannotAppend(f"{key!r} is an alias, or no list")


def _read(text: str) -> _Value:
    events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
    for event in events:
        if not isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
            return _value(event, events, text)
    raise CannotAppend("the document is empty")


def _value(event: Any, events: Iterator[Any], text: str) -> _Value:
    start, end = event.start_mark.index, event.end_mark.index
    anchored = event.anchor is not None
    if isinstance(event, yaml.AliasEvent):
        return _Value("alias", start, end, anchored=True)
    if isinstance(event, yaml.ScalarEvent):
        # The marks of block scalars are those of what comes next.
        end = max(start, len(text[:end].rstrip()))
        return _Value("scalar", start, end, event.value, event.style or "", anchored=anchored)
    kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "mapping"
    items: list[_Value] = []
    for inner in events:
        if type(inner) in _ENDS:
            end = inner.end_mark.index
            flow = text[inner.start_mark.index : end] in ("]", "}")
            end = end if flow else items[-1].end
            return _Value(kind, start, end, flow=flow, anchored=anchored, items=items)
        items.append(_value(inner, events, text))
    raise CannotAppend("the document ends in the middle")


def _newline(text: str) -> str:
    first = _BREAK.search(text)
    return first.group() if first else "\n"


@dataclass(frozen=True)
class _Editor:
    text: str
    entries: Sequence[tuple[_Value, _Value]]
    newline: str

    def block_items(self, value: _Value, items: Sequence[str]) -> str:
        """Add lines after the last item's."""
        quote = self._quote(value.items)
        prefix = self._dash(value)
        return self._lines_after(value.end, [prefix + _written(item, quote) for item in items])

    def flow_items(self, value: _Value, items: Sequence[str]) -> str:
        """Add to `[a, b]`: on the same line, or each on one of its own where the last item has one of its own."""
        last = value.items[-1]
        written = [_written(item, self._quote(value.items)) for item in items]
        indent = self._before(last.start)
        if indent.strip():
            return self._put(last.end, "".join(f", {item}" for item in written))
        lines = f",{self.newline}{indent}".join(written)
        rest = _REST.match(self.text, last.end)
        if rest is None:  # the bracket closes on this line
            return self._put(last.end, f",{self.newline}{indent}{lines}")
        comma = rest.group(1)
        edited = self._put(rest.end(), f"{self.newline}{indent}{lines}{comma}")
        return edited if comma else f"{edited[: last.end]},{edited[last.end :]}"

    def filled(self, name: _Value, value: _Value, items: Sequence[str], *, flow: bool) -> str:
        """Give items to a list that is empty or not there: in its brackets where it must, else as lines."""
        if value.kind == "list" and (flow or value.anchored or _BREAK.search(self.text, value.start, value.end)):
            return self._put(value.end - 1, self._joined(items))
        if value.anchored:
            raise CannotAppend("an anchor holds the place of nothing")
        start = len(self.text[: value.start].rstrip(" \t"))
        editor = _Editor(self.text[:start] + self.text[value.end :], self.entries, self.newline)
        if flow:
            return editor._put(start, f" [{self._joined(items)}]")
        if _BREAK.search(self.text, name.end, value.start):
            raise CannotAppend("nothing is written on a line of its own")
        return editor._lines_after(start, self._new_items(items))

    def new_list(self, key: str, items: Sequence[str], before: Sequence[str]) -> str:
        """Write a key with a list of lines, after the entry that comes before those of `before`."""
        place = next((number for number, (name, _) in enumerate(self.entries) if name.text in before), 0)
        indent = " " * self._column(self.entries[0][0].start)
        return self._lines_after(self.entries[place - 1][1].end, [f"{indent}{key}:", *self._new_items(items)])

    def flow_entry(self, key: str, items: Sequence[str]) -> str:
        """Write a key with a list into a top mapping in braces, as its last."""
        name, last = self.entries[-1]
        quote = _quotes(name.style)
        indent = self._before(name.start)
        gap = " " if indent.strip() else self.newline + indent
        return self._put(last.end, f",{gap}{quote}{key}{quote}: [{self._joined(items)}]")

    def _new_items(self, items: Sequence[str]) -> list[str]:
        """Return lines for a list that has none, in the way of the document's other lists."""
        column = self._column(self.entries[0][0].start)
        lists = [value for _, value in self.entries if value.kind == "list" and not value.flow and not value.anchored]
        indent = self._column(lists[0].start) if lists else column + _INDENT
        return [f"{' ' * indent}- {_written(item, '')}" for item in items]

    def _joined(self, items: Sequence[str]) -> str:
        return ", ".join(_written(item, _quotes(self.entries[0][0].style)) for item in items)

    @staticmethod
    def _quote(items: Sequence[_Value]) -> str:
        scalars = [item for item in items if item.kind == "scalar"]
        names = [inner for item in items if item.kind == "mapping" for inner in item.items[:1]]
        return _quotes((scalars or names)[-1].style) if scalars or names else ""

    def _dash(self, value: _Value) -> str:
        for item in reversed(value.items):
            prefix = self._before(item.start)
            if _DASH.fullmatch(prefix):
                return prefix
        if not self.text.startswith("-", value.start):
            raise CannotAppend("no line of the list begins with '- '")
        return " " * self._column(value.start) + "- "

    def _lines_after(self, index: int, lines: Sequence[str]) -> str:
        rest = _REST.match(self.text, index)
        if rest is None or rest.group(1):
            raise CannotAppend("something follows the list on its last line")
        return self._put(rest.end(), "".join(self.newline + line for line in lines))

    def _put(self, index: int, piece: str) -> str:
        return self.text[:index] + piece + self.text[index:]

    def _before(self, index: int) -> str:
        """Return what stands before an offset on its line."""
        return _BREAK.split(self.text[:index])[-1]

    def _column(self, index: int) -> int:
        return len(self._before(index))


def _quotes(style: str) -> str:
    return style if style in {"'", '"'} else ""


def _written(item: str, quote: str) -> str:
    quote = quote or ("" if _PLAIN.fullmatch(item) else '"')
    return quote + item + quote
