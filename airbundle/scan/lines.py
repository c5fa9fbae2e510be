"""Lines that give names a value: TOML, INI, properties, shell, and YAML that templates have made unreadable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airbundle.scan.loading import load_document
from airbundle.scan.pairs import Pair

_LENGTH_LIMIT = 4000  # characters of a line that is read as name and value
_EXPANDED_LIMIT = 2000  # characters of a value that variables are put into, and of what is put in
_GROWN_LIMIT = 20_000  # of what comes out
_PAIRS_LIMIT = 20_000  # of one text
_ARRAY_LIMIT = 500  # lines of one array
_BETWEEN = re.compile(r";|&&|\|\|")
_TOLD = re.compile(r"\s*(?:echo|printf|print|logger|log|usage|console\.log)\b")
_DEFAULT = re.compile(r"\$\{([A-Za-z_]\w*):?[-=]([^{}]{2,400})\}")
_SECTION = re.compile(r"\s*\[{1,2}([^\[\]=]{1,120})\]{1,2}\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(
    r"""(\s*(?:-\s+)?)(?:(?:export|local|readonly|declare|set|ENV|ARG|var|const|let)\s+)*"""
    r"""["']?([\w$][\w./-]{0,120})["']?\s*(\??[:+]?=|:|=>)\s*(\S.*)$"""
)
_OPEN_ARRAY = re.compile(r"=\s*\[")
_HEADING = re.compile(r"""(\s*(?:-\s+)?)["']?([\w][\w./-]{0,120})["']?:\s*$""")
_FLAG = re.compile(r"(?<![\w-])--?([A-Za-z][\w.-]{0,80})(?:=|[ \t]{1,20})[\"']?([^\s\"'=-][^\s\"']{2,400})")
# Within a line: `template(image: 'x')`, `{ image = "x" }`, `<image>x</image>`; alone: `spark.container.image  x`.
_NAMED = r"[\w.-]{0,80}[iI](?:mage|MAGE)[\w.-]{0,80}"
_INLINE = re.compile(rf"""(?<![\w.-])({_NAMED})["']?(?:\s{{0,5}}[:=]\s{{0,5}}["']|>)([^\s"'<>=:][^\s"'<>]{{2,400}})""")
_SPACED = re.compile(rf"\s*({_NAMED})[ \t]{{1,40}}(\S+)\s*$")
_RUNNER = re.compile(
    r"\b(?:docker|podman|nerdctl|crictl|ctr|crane|skopeo|kubectl|oc)\b.*\b(?:pull|run|debug|copy|inspect)\b"
)
_BUILT_FROM = re.compile(r"FROM\s+(?:--\S+\s+)?(\S+)")
_TRAILING_COMMENT = re.compile(r"\s(?:#|//|;)(?:\s.*)?$")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?[-=]([^{}]*))?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Group:
    """Lines that belong together: a section of a file. `inline` are tables within one line, by their path."""

    section: str
    pairs: tuple[Pair, ...]
    inline: tuple[tuple[str, Any], ...] = ()


def read_lines(lines: Sequence[str]) -> list[Group]:
    """Return the names and values in lines without comments, those of one section together.

    Sections are `[a.b]` of TOML and INI, and what is indented below `key:`. Variables of a shell script that the script
    itself sets are put in.
    """
    sections: dict[str, list[Pair]] = {}
    inline: dict[str, list[tuple[str, Any]]] = {}
    reader = _Sections()
    count = 0
    for line in _statements(_whole_arrays(lines)):
        if len(line) > _LENGTH_LIMIT or reader.is_heading(line):
            continue
        section = reader.section_of(line)
        if count > _PAIRS_LIMIT:
            break
        for pair in _pairs(line, section):
            count += 1
            table = _inline_table(str(pair.value))
            if table is None:
                sections.setdefault(section, []).append(pair)
            else:
                inline.setdefault(section, []).append((pair.path, table))
    variables = {pair.name: str(pair.value) for pairs in sections.values() for pair in pairs}
    return [
        Group(
            section,
            tuple(_expanded(pair, variables) for pair in sections.get(section, ())),
            tuple(inline.get(section, ())),
        )
        for section in dict.fromkeys((*sections, *inline))
    ]


def _whole_arrays(lines: Sequence[str]) -> Iterator[str]:
    """Yield lines; of `x = [` and what follows up to `]`, one."""
    waiting: list[str] = []
    for line in lines:
        if waiting or _OPEN_ARRAY.search(line, line.rfind("]") + 1):
            waiting.append(line.strip())
            if "]" not in line and len(waiting) < _ARRAY_LIMIT:
                continue
            line, waiting = " ".join(waiting), []
        yield line
    yield from waiting


def _statements(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines; the commands of a line of shell apart."""
    for line in lines:
        if ";" in line or "&&" in line:
            first, *others = _BETWEEN.split(line)
            yield first.rstrip()
            yield from map(str.strip, others)
        else:
            yield line


class _Sections:
    def __init__(self) -> None:
        self._table = ""
        self._parents: list[tuple[int, str]] = []

    def is_heading(self, line: str) -> bool:
        """Take in `[section]` and `key:`; tell whether the line is one."""
        table = _SECTION.match(line)
        if table:
            self._table, self._parents = table.group(1).strip(" \"'"), []
            return True
        parent = _HEADING.match(line)
        if parent:
            indent = len(parent.group(1))
            self._outdent(indent)
            self._parents.append((indent, parent.group(2)))
        return parent is not None

    def section_of(self, line: str) -> str:
        """Return the section that a line stands in."""
        assigned = _ASSIGNMENT.match(line)
        if assigned and assigned.group(3) == ":":
            self._outdent(len(assigned.group(1)))
        return ".".join(([self._table] if self._table else []) + [key for _, key in self._parents])

    def _outdent(self, indent: int) -> None:
        while self._parents and self._parents[-1][0] >= indent:
            self._parents.pop()


def _pairs(line: str, section: str) -> Iterator[Pair]:
    prefix = f"{section}." if section else ""
    if _TOLD.match(line):
        return
    for name, value in _DEFAULT.findall(line):
        yield Pair(name, value, prefix + name)
    assigned = _ASSIGNMENT.match(line)
    if assigned:
        name, value = assigned.group(2), _TRAILING_COMMENT.sub("", assigned.group(4)).strip()
        yield Pair(name, _bare(value), prefix + name)
    for name, value in _FLAG.findall(line):
        yield Pair(name, value, f"{prefix}--{name}")
    if not assigned:
        spaced = _SPACED.match(line)
        for name, value in [*_INLINE.findall(line), *([spaced.groups()] if spaced else [])]:
            yield Pair(name, value, prefix + name)
    built = _BUILT_FROM.match(line)
    if built:
        yield Pair("", built.group(1), f"{prefix}FROM")
    if _RUNNER.search(line):
        for word in line.split():
            if ":" in word and not word.startswith("-"):
                yield Pair("", word.strip("\"'").rpartition("=")[2], f"{prefix}command")


def _bare(value: str) -> str:
    value = value.rstrip(",;")
    if value[:1] == "[" and value[-1:] == "]":
        return " ".join(part.strip(" \"'") for part in value[1:-1].split(",")).strip()
    if value[:1] == "{":
        return value
    return value.strip("\"'`")


def _inline_table(value: str) -> Any:
    """Return `{ name = "x", tag = "1" }` of TOML as a mapping."""
    if not (value[:1] == "{" and value[-1:] == "}" and "=" in value):
        return None
    loaded = load_document(re.sub(r"\s*=\s*", ": ", value))
    return loaded.value if isinstance(loaded.value, dict) else None


def _expanded(pair: Pair, variables: Mapping[str, str]) -> Pair:
    value = str(pair.value)
    for _ in range(3):
        if "$" not in value or len(value) > _EXPANDED_LIMIT:
            break
        value = _VARIABLE.sub(lambda match: _variable(match, pair.name, variables), value)[:_GROWN_LIMIT]
    return replace(pair, value=value)


def _variable(match: re.Match[str], assigned: str, variables: Mapping[str, str]) -> str:
    name = match.group(1) or match.group(3)
    known = variables.get(name)
    if known is None or name == assigned or len(known) > _EXPANDED_LIMIT:
        return match.group(2) if match.group(2) is not None else match.group()
    return known
