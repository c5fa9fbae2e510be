"""A small language that says which fields a document has.

One description drives both the validator (`bundle.reading`) and the JSON Schema for editors (`bundle.schema`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Union


@dataclass(frozen=True)
class Text:
    """Text of one form.

    Attributes:
        expected: the form in words, for errors and editors.
        pattern: a regular expression for the whole text, in what Python and ECMA-262 have in common.
        choices: the only texts allowed, if any.
        check: raises UsageError when the text has the pattern and still can't be meant.
        secret: never show what was found.
    """

    expected: str
    pattern: str = ""
    choices: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None
    secret: bool = False
    empty: bool = False
    limit: int = 4096


@dataclass(frozen=True)
class Flag:
    """true or false."""


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class AnyScalar:
    """Text that is one printable line of at most `limit` characters, a finite number, or true or false."""

    limit: int


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind; `unique` refuses equal texts, `single` takes one text for a list of one."""

    item: Spec
    unique: bool = False
    least: int = 0
    single: bool = False


@dataclass(frozen=True)
class MapOf:
    """A mapping whose keys are free names of the form `key`; `secret`: text in its place is never shown."""

    key: Text
    value: Spec
    secret: bool = False


@dataclass(frozen=True)
class When:
    """Where field `name` has `value`, the fields `needs` must be there and `excludes` must not."""

    name: str
    value: str
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Field:
    """One field of a record."""

    spec: Spec
    doc: str
    required: bool = False


@dataclass(frozen=True)
class Record:
    """A mapping with known fields.

    Attributes:
        title: what it is, for errors.
        shorthand: a field which may stand for the whole: plain text is read as that field alone.
        one_of: exactly one of these fields must be there.
        goes_with: field → fields which must be there, too.
        whens: conditions on a field's value.
        secret: text in its place is never shown.
    """

    title: str
    fields: Mapping[str, Field]
    shorthand: str = ""
    one_of: tuple[str, ...] = ()
    goes_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whens: tuple[When, ...] = ()
    secret: bool = False


Spec = Union[Text, Flag, Whole, AnyScalar, ListOf, MapOf, Record]
