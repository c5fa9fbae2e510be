"""`{{ site.NAME }}` in YAML: what is filled in stays one value, whatever it is.

Text in a place of its own is quoted where YAML would take it for something else, and in quotes what ends them is
escaped; then the filled document is read beside the unfilled one, and another shape, or another text, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import yaml

from airbundle.bundle.site import SiteValue
from airbundle.bundle.template import PLACEHOLDERS, fill, placeholders, refuse_unknown, written
from airbundle.errors import DocumentError, Finding

FILLED_LIMIT = 8 * 1024 * 1024
"""Most characters of a text with what is filled in: a short text may ask for a long value many times."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Names = Mapping[str, SiteValue]

# A mark stands for a placeholder and is as long, so that places are the same in both texts. It is made of private
# characters, and names its placeholder by number.
_BEGIN, _END, _ZERO = "\U0010f000", "\U0010f001", 0x10F010
_MARK = re.compile("\U0010f000([\U0010f010-\U0010f01f]+)\U0010f001")

_HARMLESS = re.compile(r"[A-Za-z0-9_-]*")
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./:@+-]*[A-Za-z0-9_./@+-])?")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
"""What is no text, in some version of YAML."""


def fill_yaml(text: str, names: _Names, where: str) -> str:
    """Return a YAML text with each `{{ site.NAME }}` filled in.

    Numbers, and true or false, stand as they are. Text stays text: `{{ site.NAME }}` that is a whole plain value is
    quoted where that is needed. Other braces, and all else, pass byte for byte.

    Args:
        text: of a values file or a manifest, one or more documents.
        names: what a NAME stands for.
        where: the file, for errors.

    Raises:
        DocumentError: a NAME that is not in `names`; or a value that would make another document of this one.
    """
    found = placeholders(text)
    refuse_unknown(found, names, where)
    if not found:
        return text
    values = [names[match[1]] for match in found]
    length = len(text) + sum(len(written(value)) for value in values)
    if length > FILLED_LIMIT:
        told = Finding(
            "too long with the site's values", where, "template", f"{length} characters", f"at most {FILLED_LIMIT}"
        )
        raise DocumentError(f"{where}: names of the site can't be filled in", findings=[told])
    if _BEGIN in text:
        finding = Finding("the private character U+10F000 has no place beside names of the site", where, "template")
        raise DocumentError(f"{where}: names of the site can't be filled in", findings=[finding])
    marked = _replaced(text, found, [_mark(number, len(match[0])) for number, match in enumerate(found)])
    try:
        styles = _styles(marked)
    except (yaml.YAMLError, ValueError) as error:
        return _fill_anything(text, names, where, error)
    filled = _replaced(text, found, [_spelled(match[1], names, styles.get(i, "")) for i, match in enumerate(found)])
    changed = _changed(marked, filled, list(map(written, values)))
    if changed is not None:
        raise _refused(changed, found, text, where)
    return filled


def _mark(number: int, length: int) -> str:
    return _BEGIN + "".join(chr(_ZERO + int(digit, 16)) for digit in f"{number:0{length - 2}x}") + _END


def _number(mark: re.Match[str]) -> int:
    return int("".join(f"{ord(character) - _ZERO:x}" for character in mark[1]), 16)


def _replaced(text: str, found: Sequence[re.Match[str]], by: Sequence[str]) -> str:
    pieces, end = [], 0
    for match, new in zip(found, by):
        pieces += [text[end : match.start()], new]
        end = match.end()
    return "".join([*pieces, text[end:]])


def _styles(marked: str) -> dict[int, str]:
    """Return the style of the scalar that each placeholder stands in: `plain` for one that it makes up alone."""
    styles: dict[int, str] = {}
    for event in yaml.parse(marked, Loader=_LOADER):
        if isinstance(event, yaml.ScalarEvent) and _BEGIN in event.value:
            for mark in _MARK.finditer(event.value):
                alone = mark[0] == event.value
                styles[_number(mark)] = event.style or ("plain" if alone else "")
    return styles


def _spelled(name: str, names: _Names, style: str) -> str:
    value = names[name]
    text = written(value)
    if not isinstance(value, str):
        return text
    if style == '"':
        return json.dumps(text, ensure_ascii=False)[1:-1]
    if style == "'":
        return text.replace("'", "''")
    # Without a StorageClass the place stays empty: the cluster's own default.
    if style != "plain" or _is_plain(text) or (not text and name in PLACEHOLDERS):
        return text
    return json.dumps(text, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and text.lower() not in _WORDS


def _changed(marked: str, filled: str, values: Sequence[str]) -> tuple[int, list[int]] | None:
    """Return line and placeholders of what the filled text has otherwise; None where it is the same document."""
    before: Iterator[Any] = yaml.parse(marked, Loader=_LOADER)
    after: Iterator[Any] = yaml.parse(filled, Loader=_LOADER)
    event: Any = None
    try:
        for event, other in zip_longest(before, after):
            if type(event) is not type(other) or _content(event, values) != _content(other, ()):
                return _place(event)
    except (yaml.YAMLError, ValueError):
        return _place(event)
    return None


def _place(event: Any) -> tuple[int, list[int]]:
    marks = _MARK.finditer(getattr(event, "value", None) or "")
    return (event.start_mark.line + 1 if event is not None else 1), [_number(mark) for mark in marks]


def _content(event: Any, values: Sequence[str]) -> tuple[object, ...]:
    text = getattr(event, "value", None)
    if values and text and _BEGIN in text:
        text = _MARK.sub(lambda mark: values[_number(mark)], text)
    return text, getattr(event, "anchor", None), getattr(event, "tag", None)


def _refused(changed: tuple[int, list[int]], found: Sequence[re.Match[str]], text: str, where: str) -> DocumentError:
    line, numbers = changed
    match = found[numbers[0]] if numbers else None
    if match is not None:
        line = text.count("\n", 0, match.start()) + 1
    what = repr(match[0]) if match is not None else "a name of the site"
    finding = Finding(
        f"{what} can't be filled in: what the site says would make another document of this one",
        f"{where}:{line}",
        "template",
        hint="write it in quotes there, or give the site another value",
    )
    return DocumentError(f"{where}: names of the site can't be filled in", findings=[finding])


def _fill_anything(text: str, names: _Names, where: str, error: Exception) -> str:
    """Fill in a text that is no YAML, which its readers tell; but nothing that could make it YAML of another shape."""
    if all(_HARMLESS.fullmatch(written(names[match[1]])) for match in placeholders(text)):
        return fill(text, names, where)
    problem = " ".join(str(error).split())[:300]
    for mark in _MARK.finditer(problem):
        problem = problem.replace(mark[0], "…")
    finding = Finding(f"not YAML, so no name of the site can be filled in: {problem}", where, "template")
    raise DocumentError(f"{where}: names of the site can't be filled in", findings=[finding])
