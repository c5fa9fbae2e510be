"""Reads a document by the description of its fields, and finds everything that is wrong at once.

Reading turns a tree of nodes into `Values`; what is malformed is reported and left out, so that later checks see only
values of the right form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from airbundle.bundle.fields import AnyScalar, Flag, ListOf, MapOf, Record, Spec, Text
from airbundle.bundle.yamldoc import Document, Node
from airbundle.errors import DocumentError, Finding, UsageError

_INVALID = object()


@dataclass(frozen=True)
class Values:
    """What a record holds, with the place of each field.

    `where` is the record's place, such as `bundle.yaml:12 images[3]`.
    """

    where: str
    line: int
    body: Mapping[str, Any]
    places: Mapping[str, str] = field(repr=False)

    def __contains__(self, name: str) -> bool:
        return name in self.body

    def text(self, name: str, default: str = "") -> str:
        """Return a text field."""
        value = self.body.get(name, default)
        return value if isinstance(value, str) else default

    def flag(self, name: str, default: bool) -> bool:
        """Return a true-or-false field."""
        value = self.body.get(name, default)
        return value if isinstance(value, bool) else default

    def whole(self, name: str, default: int) -> int:
        """Return a number."""
        value = self.body.get(name, default)
        return value if isinstance(value, int) else default

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; empty when it isn't there."""
        return tuple(item for item in self.body.get(name, ()) if isinstance(item, str))

    def records(self, name: str) -> tuple[Values, ...]:
        """Return a list of records; empty when it isn't there."""
        return tuple(item for item in self.body.get(name, ()) if isinstance(item, Values))

    def record(self, name: str) -> Values | None:
        """Return a record, or None when it isn't there."""
        value = self.body.get(name)
        return value if isinstance(value, Values) else None

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return a mapping with free keys; empty when it isn't there."""
        value = self.body.get(name)
        return value if isinstance(value, dict) else {}

    def place(self, name: str) -> str:
        """Return the place of a field or of an item of a list, such as `needs[1]`; else that of the record."""
        return self.places.get(name, self.where)


class Reading:
    """One document being read: collects what is wrong, and raises it at the end."""

    def __init__(self, document: Document) -> None:
        self.name = document.where
        self.root = document.root
        self.findings = list(document.findings)

    def record(self, spec: Record) -> Values:
        """Read the whole document by `spec`; without its malformed parts."""
        value = self._value(self.root, spec, "")
        if isinstance(value, Values):
            return value
        return Values(self._where(self.root, ""), self.root.line, {}, {})

    def wrong(
        self, message: str, where: str, *, code: str = "", found: str = "", expected: str = "", hint: str = ""
    ) -> None:
        """Report something wrong at a place."""
        self.findings.append(Finding(message, where, code or "field", found, expected, hint))

    def finish(self, hint: str) -> None:
        """Raise what was found, in the order of lines.

        Raises:
            DocumentError: something was.
        """
        if not self.findings:
            return
        self.findings.sort(key=_line_of)
        count = len(self.findings)
        problem = f"{self.name}: {count} thing{'' if count == 1 else 's'} to put right"
        raise DocumentError(problem, hint=hint, findings=self.findings)

    def _where(self, node: Node, path: str) -> str:
        return f"{self.name}:{node.line} {path}".rstrip()

    def _value(self, node: Node, spec: Spec, path: str) -> Any:
        if isinstance(spec, Record):
            return self._record(node, spec, path)
        if isinstance(spec, ListOf):
            return self._list(node, spec, path)
        if isinstance(spec, MapOf):
            return self._map(node, spec, path)
        if isinstance(spec, Text):
            return self._text(node, spec, path)
        if isinstance(spec, Flag):
            return node.value if isinstance(node.value, bool) else self._mistyped(node, "true or false", path)
        if isinstance(spec, AnyScalar):
            return self._scalar(node, spec, path)
        number = node.value
        if not isinstance(number, int) or isinstance(number, bool) or not spec.low <= number <= spec.high:
            return self._mistyped(node, f"a whole number from {spec.low} to {spec.high}", path)
        return number

    def _mistyped(self, node: Node, expected: str, path: str, hint: str = "", *, secret: bool = False) -> Any:
        found = "something else" if secret and node.kind == "scalar" else node.describe()
        self.wrong("wrong value", self._where(node, path), found=found, expected=expected, hint=hint)
        return _INVALID

    def _scalar(self, node: Node, spec: AnyScalar, path: str) -> Any:
        value = node.value
        if isinstance(value, str):
            good = len(value) <= spec.limit and value.isprintable()
        else:
            good = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        if good and not isinstance(value, (str, bool)) and node.text != str(value):
            # 0755 is another number in each version of YAML, and 1.10 is 1.1: nothing is silently written anew.
            hint = f'write {value}, or "{node.text[:80]}" in quotes for text'
            found = f"{node.text[:80]}, which is read as {value}"
            self.wrong("a number that can be read in two ways", self._where(node, path), found=found, hint=hint)
            return _INVALID
        if good:
            return value
        return self._mistyped(node, f"text of one line (at most {spec.limit}), a number, true or false", path)

    def _text(self, node: Node, spec: Text, path: str) -> Any:
        text = node.value
        if not isinstance(text, str):
            quotable = node.kind == "scalar" and text is not None
            return self._mistyped(node, spec.expected, path, "put it in quotes" if quotable else "", secret=spec.secret)
        bad = (
            (not text and not spec.empty)
            or len(text) > spec.limit
            or (spec.choices and text not in spec.choices)
            or (text and spec.pattern and not re.fullmatch(spec.pattern, text))
        )
        if bad:
            close = get_close_matches(text, spec.choices, n=1)
            hint = f"did you mean {close[0]!r}?" if close else ""
            return self._mistyped(node, spec.expected, path, hint, secret=spec.secret)
        if text and spec.check is not None:
            try:
                spec.check(text)
            except UsageError as error:
                expected = "" if error.hint else spec.expected
                self.wrong(error.problem, self._where(node, path), expected=expected, hint=error.hint)
                return _INVALID
        return text

    def _list(self, node: Node, spec: ListOf, path: str) -> Any:
        if spec.single and node.kind == "scalar":
            value = self._value(node, spec.item, path)
            return value if value is _INVALID else (value,)
        if node.kind != "list":
            return self._mistyped(node, "a list", path, "begin the line with '- '" if node.value is not None else "")
        if len(node.items) < spec.least:
            return self._mistyped(node, f"at least {spec.least} in the list", path)
        seen: dict[object, int] = {}
        items = []
        for number, child in enumerate(node.items):
            place = f"{path}[{number}]"
            value = self._value(child, spec.item, place)
            if value is _INVALID:
                continue
            if spec.unique and seen.setdefault(value, number) != number:
                where = self._where(child, place)
                self.wrong("stands twice", where, found=child.describe(), expected=f"once, as in [{seen[value]}]")
            items.append(value)
        return tuple(items)

    def _map(self, node: Node, spec: MapOf, path: str) -> Any:
        if node.kind != "mapping":
            return self._mistyped(node, "a mapping of names to values", path, secret=spec.secret)
        found = {}
        for key, child in node.entries.items():
            place = f"{path}.{_shown(key)}"
            key_node = Node("scalar", node.key_lines[key], 1, value=key)
            if self._text(key_node, spec.key, place) is _INVALID:
                continue
            value = self._value(child, spec.value, place)
            if value is not _INVALID:
                found[key] = value
        return found

    def _record(self, node: Node, spec: Record, path: str) -> Any:
        if spec.shorthand and node.kind == "scalar":
            text = self._value(node, spec.fields[spec.shorthand].spec, path)
            if text is _INVALID:
                return _INVALID
            where = self._where(node, path)
            return Values(where, node.line, {spec.shorthand: text}, {spec.shorthand: where})
        if node.kind != "mapping":
            names = ", ".join(spec.fields)
            form = "text, or a mapping" if spec.shorthand else "a mapping"
            return self._mistyped(node, f"{form} with the fields {names}", path, secret=spec.secret)
        return self._fields(node, spec, path)

    def _fields(self, node: Node, spec: Record, path: str) -> Any:
        dot = f"{path}." if path else ""
        body: dict[str, Any] = {}
        places: dict[str, str] = {}
        present = set()
        for name, child in node.entries.items():
            known = spec.fields.get(name)
            if known is None:
                self._unknown(name, node.key_lines[name], spec, dot)
                continue
            # A list or mapping whose every line was commented out is one that isn't there.
            if child.is_null and not known.required and isinstance(known.spec, (ListOf, MapOf, Record)):
                continue
            present.add(name)
            value = self._value(child, known.spec, dot + name)
            places[name] = self._where(child, dot + name)
            for number, item in enumerate(child.items):
                places[f"{name}[{number}]"] = self._where(item, f"{dot}{name}[{number}]")
            if value is not _INVALID:
                body[name] = value
        whole = self._complete(node, spec, path, present, body)
        broken = any(name not in body for name in present if spec.fields[name].required or name in spec.one_of)
        if path and (not whole or broken):
            return _INVALID
        return Values(self._where(node, path), node.line, body, places)

    def _unknown(self, name: str, line: int, spec: Record, dot: str) -> None:
        close = get_close_matches(name.lower(), {known.lower(): known for known in spec.fields}, n=1, cutoff=0.6)
        nearest = next((known for known in spec.fields if close and known.lower() == close[0]), "")
        self.wrong(
            f"unknown field {name[:80]!r} in {spec.title}",
            f"{self.name}:{line} {dot}{_shown(name)}",
            code="unknown-field",
            expected="" if nearest else "one of " + ", ".join(spec.fields),
            hint=f"did you mean {nearest!r}?" if nearest else "",
        )

    def _complete(self, node: Node, spec: Record, path: str, present: set[str], body: Mapping[str, Any]) -> bool:
        where = self._where(node, path)
        before = len(self.findings)
        missing = [name for name, known in spec.fields.items() if known.required and name not in present]
        for name in missing:
            self._missing(where, name, spec)
        given = [name for name in spec.one_of if name in present]
        if spec.one_of and len(given) != 1:
            found = " and ".join(given) or "none of them"
            self.wrong(f"{spec.title} takes exactly one of {', '.join(spec.one_of)}", where, found=found)
        for name, others in spec.goes_with.items():
            for other in others:
                if name in present and other not in present:
                    self._missing(where, other, spec, because=f"{name!r} needs it")
        for when in spec.whens:
            if body.get(when.name) != when.value:
                continue
            for name in when.needs:
                if name not in present:
                    self._missing(where, name, spec, because=f"'{when.name}: {when.value}' needs it")
            for name in when.excludes:
                if name in present:
                    told = f"{name!r} does not go with '{when.name}: {when.value}'"
                    self.wrong(told, where, hint="leave one of them out")
        return len(self.findings) == before

    def _missing(self, where: str, name: str, spec: Record, *, because: str = "") -> None:
        known = spec.fields[name].spec
        doc = spec.fields[name].doc
        expected = known.expected if isinstance(known, Text) else doc[:1].lower() + doc[1:]
        reason = f": {because}" if because else ""
        self.wrong(f"{spec.title} lacks {name!r}{reason}", where, code="missing-field", expected=expected)


def _shown(name: str) -> str:
    """Return a name from the document as a terminal may show it."""
    return name[:80] if name.isprintable() else repr(name[:80])


def _line_of(finding: Finding) -> int:
    number = re.search(r":(\d+)", finding.where)
    return int(number.group(1)) if number else 0
