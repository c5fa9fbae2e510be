"""Text that fields hold: files in ConfigMaps and Secrets, scripts, templates, lists.

YAML and JSON become values, to be searched like an object. Of everything else (TOML, INI, properties, shell, templates)
the lines that give a name a value are read, the flags of commands, and full references wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from airbundle.scan.lines import Group, read_lines
from airbundle.scan.loading import load_document, load_json
from airbundle.scan.spelling import Spelled, as_image

SIZE_LIMIT = 4 << 20
"""Most characters of one text that are searched."""
_DOCUMENT_LIMIT = 200
_FREE_LIMIT = 5000  # references without a name, of one text

_HINTS = re.compile(r"image|img|repositor|repo[\"']?\s?[:=]|@sha256:", re.IGNORECASE)
_LOOSE = re.compile(r"/[\w.-]{1,128}[:@]\w|\b(?:pull|run|FROM)\s")
_TOKEN = re.compile(r"[^\s\"'`,;(){}<>|=\\]{4,600}")
_ACTION_LINE = re.compile(
    r"^[ \t]*\{\{-?[ \t]*(?:if|else|end|range|with|define|template|block|/\*|\$|break|continue)[^\n]*\}\}[ \t]*$",
    re.MULTILINE,
)
_BLOCK_COMMENTS = (("{{/*", "*/}}"), ("{{- /*", "*/ -}}"), ("{{- /*", "*/}}"), ("<!--", "-->"))
_INSERTED = "TPL"
SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)
"""Stands between documents."""
_COMMENT = re.compile(r"\s*(?:#|//|;|--\s|<!--)")
_TRAILING_COMMENT = re.compile(r"\s(?:#|//|;)\s.*$")
_SHELL_DEFAULT = re.compile(r"\$\{[A-Za-z_]\w*:?[-=]")


@dataclass
class Unpacked:
    """What a text holds.

    Attributes:
        values: structures to be searched like objects.
        groups: lines with a name and a value, those of one section together.
        free: images that stand in full without a name.
        comments: images that stand in comments only.
    """

    values: list[Any] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
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
    text, blocks = _without_blocks(text)
    found.values = [] if script or text.startswith("#!") else _values(text)
    lines, comments = _without_comments(text.splitlines())
    found.free = _free(lines)
    found.comments = _free([*comments, *blocks])
    if not found.values:
        found.groups = read_lines(lines)
    return found


def references(text: str) -> list[Spelled]:
    """Return the images that stand in prose in their full form."""
    return _free([text[:SIZE_LIMIT]])


def _without_blocks(text: str) -> tuple[str, list[str]]:
    """Cut out comments of several lines; return the rest, and them."""
    blocks: list[str] = []
    for begin, end in _BLOCK_COMMENTS:
        kept, position = [], 0
        while (start := text.find(begin, position)) >= 0 and (stop := text.find(end, start)) >= 0:
            kept.append(text[position:start])
            blocks.append(text[start + len(begin) : stop])
            position = stop + len(end)
        text = "".join([*kept, text[position:]])
    return text, blocks


def _without_comments(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    kept, comments = [], []
    for line in lines:
        if _COMMENT.match(line):
            comments.append(line)
            continue
        trailing = _TRAILING_COMMENT.search(line) if " #" in line or " //" in line or " ;" in line else None
        if trailing:
            comments.append(trailing.group())
            line = line[: trailing.start()]
        kept.append(line)
    return kept, comments


def comment_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of what `unpack` takes for comments, line by line."""
    found = []
    position = 0
    for line in text.splitlines(keepends=True):
        kept, comments = _without_comments([line.rstrip("\r\n")])
        if comments:
            found.append((position + len("".join(kept)), position + len(line)))
        position += len(line)
    return found


def _values(text: str) -> list[Any]:
    """Return the structures in a text: lists and mappings only; empty when it is something else."""
    if text.lstrip()[:1] in ("{", "["):
        loaded = load_json(text)
        if isinstance(loaded.value, (dict, list)):
            return [loaded.value]
    if "{{" in text:
        text = _without_actions(_ACTION_LINE.sub("", text))
    found = []
    for document in SEPARATOR.split(text, _DOCUMENT_LIMIT):
        loaded = load_document(document)
        if isinstance(loaded.value, (dict, list)) and loaded.value:
            found.append(loaded.value)
        elif loaded.failure is not None or isinstance(loaded.value, str):
            return []
    return found


def _without_actions(text: str) -> str:
    """Put a word in the place of what a Go template would insert."""
    parts, position = [], 0
    while (start := text.find("{{", position)) >= 0 and (stop := text.find("}}", start)) >= 0:
        parts += [text[position:start], _INSERTED]
        position = stop + 2
    return "".join([*parts, text[position:]])


def _free(lines: Iterable[str]) -> list[Spelled]:
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
