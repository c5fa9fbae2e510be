"""Text that fields hold: files in ConfigMaps and Secrets, scripts, templates, lists.

YAML and JSON become values, to be searched like an object. Of everything else (TOML, INI, properties, shell, templates)
the lines that give a name a value are read, the flags of commands, and full references wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airbundle.scan.loading import load_document, load_json
from airbundle.scan.pairs import Pair
from airbundle.scan.spelling import Spelled, as_image

SIZE_LIMIT = 4 << 20
"""Most characters of one text that are searched."""
_LINE_LIMIT = 4000  # characters of a line that is read as name and value
_DOCUMENT_LIMIT = 200
_FREE_LIMIT = 5000  # references without a name, of one text

_HINTS = re.compile(r"image|img|repositor|repo[\"']?\s*[:=]|@sha256:", re.IGNORECASE)
_LOOSE = re.compile(r"[\w.\[\]:-]{1,250}/[\w./-]{1,250}[:@][\w.:@-]{1,200}")
_TOKEN = re.compile(r"[^\s\"'`,;(){}<>|=\\]{4,600}")
_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_ACTION_LINE = re.compile(
    r"^[ \t]*\{\{-?\s*(?:if|else|end|range|with|define|template|block|/\*|\$|break|continue)[^\n]*\}\}[ \t]*$",
    re.MULTILINE,
)
_INSERTED = "TPL"
_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)
_SECTION = re.compile(r"^\s*\[{1,2}\s*([\w.\"'/ -]+?)\s*\]{1,2}\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(
    r"""^\s*(?:-\s+)?(?:(?:export|local|readonly|declare|set|ENV|ARG|var|const|let)\s+)*["']?([\w$][\w./-]{0,120})["']?"""
    r"""\s*(?:\??[:+]?=|:|=>|\s+=)\s*(\S.*)$"""
)
_FLAG = re.compile(r"(?<![\w-])--?([A-Za-z][\w.-]{0,80})(?:=|[ \t]+)[\"']?([^\s\"'=-][^\s\"']{2,400})")
_COMMENT = re.compile(r"^\s*(?:#|//|;|--\s|\{\{-?\s*/\*|<!--)")
_TRAILING_COMMENT = re.compile(r"\s(?:#|//)\s.*$")
_SHELL_DEFAULT = re.compile(r"\$\{[A-Za-z_]\w*:?[-=]")


@dataclass
class Unpacked:
    """What a text holds.

    Attributes:
        values: structures to be searched like objects.
        groups: lines with a name and a value, those of one section together; `path` is the section and the name.
        free: images that stand in full without a name.
        comments: images that stand in comments only.
    """

    values: list[Any] = field(default_factory=list)
    groups: list[list[Pair]] = field(default_factory=list)
    free: list[Spelled] = field(default_factory=list)
    comments: list[Spelled] = field(default_factory=list)


def may_hold(text: str) -> bool:
    """Tell quickly whether any image can be in a text: most dashboards, scripts and certificates have none."""
    return _HINTS.search(text) is not None or _LOOSE.search(text) is not None


def is_structured(text: str) -> bool:
    """Tell whether a text is more than one word or line: a file, a script, JSON."""
    return "\n" in text.strip() or text.lstrip()[:1] in ("{", "[")


def unpack(text: str, *, script: bool = False) -> Unpacked:
    """Take a text apart. Never raises for what it may hold; bounded by `SIZE_LIMIT`.

    Args:
        script: it is a script, and no YAML, even if it could be read as such.
    """
    text = text[:SIZE_LIMIT]
    found = Unpacked()
    if not may_hold(text):
        return found
    found.values = [] if script else _values(text)
    lines = text.splitlines()
    found.free = _free(line for line in lines if not _COMMENT.match(line))
    found.comments = _free(line for line in lines if _COMMENT.match(line))
    if not found.values:
        found.groups = _groups(lines)
    return found


def references(text: str) -> list[Spelled]:
    """Return the images that stand in prose in their full form."""
    return _free([text[:SIZE_LIMIT]])


def _values(text: str) -> list[Any]:
    """Return the structures in a text: lists and mappings only; empty when it is something else."""
    if text.lstrip()[:1] in ("{", "["):
        loaded = load_json(text)
        if isinstance(loaded.value, (dict, list)):
            return [loaded.value]
    if "{{" in text:
        text = _ACTION.sub(_INSERTED, _ACTION_LINE.sub("", text))
    found = []
    for document in _SEPARATOR.split(text, _DOCUMENT_LIMIT):
        loaded = load_document(document)
        if isinstance(loaded.value, (dict, list)) and loaded.value:
            found.append(loaded.value)
        elif loaded.failure is not None or isinstance(loaded.value, str):
            return []
    return found


def _free(lines: Any) -> list[Spelled]:
    found: dict[str, Spelled] = {}
    for line in lines:
        if "/" not in line and "@sha256:" not in line:
            continue
        for token in _TOKEN.findall(_SHELL_DEFAULT.sub(" ", line)):
            if ("/" in token and ":" in token) or "@sha256:" in token:
                spelled = as_image(token.strip(".:-"))
                if spelled is not None and spelled.unmistakable:
                    found.setdefault(spelled.written, spelled)
        if len(found) >= _FREE_LIMIT:
            break
    return list(found.values())


def _groups(lines: list[str]) -> list[list[Pair]]:
    section, group = "", list[Pair]()
    groups = [group]
    for line in lines:
        if len(line) > _LINE_LIMIT or _COMMENT.match(line):
            continue
        begins = _SECTION.match(line)
        if begins:
            section, group = begins.group(1), []
            groups.append(group)
            continue
        group.extend(_line_pairs(line, section))
    return [group for group in groups if group]


def _line_pairs(line: str, section: str) -> Iterator[Pair]:
    prefix = f"{section}." if section else ""
    assigned = _ASSIGNMENT.match(line)
    if assigned:
        name, value = assigned.group(1), _TRAILING_COMMENT.sub("", assigned.group(2)).strip()
        yield Pair(name, _bare_value(value), prefix + name)
    for name, value in _FLAG.findall(line):
        yield Pair(name, value, f"{prefix}--{name}")


def _bare_value(value: str) -> str:
    value = value.rstrip(",;")
    if value[:1] == "[" and value[-1:] == "]":
        return " ".join(part.strip(" \"'") for part in value[1:-1].split(","))
    return _SHELL_DEFAULT.sub("", value).strip("\"'`}")
