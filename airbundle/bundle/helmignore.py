"""`.helmignore`: which files of a chart's directory are not part of the chart, by helm's rules (`pkg/ignore/rules.go`).

They are less than git's: no `**`, and `!pattern` ignores all that does not match. Patterns are Go's `filepath.Match`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from airbundle.errors import UsageError

IGNORE_NAME = ".helmignore"
_DEFAULTS = ("templates/.?*",)


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    negate: bool
    only_directories: bool
    whole_path: bool

    def matches(self, path: str) -> bool:
        return self.pattern.fullmatch(path if self.whole_path else path.rpartition("/")[2]) is not None


class IgnoreRules:
    """The rules of one `.helmignore`.

    Args:
        text: its content.
        what: the file, for errors.

    Raises:
        UsageError: a pattern that helm refuses; names the line.
    """

    def __init__(self, text: str, *, what: str) -> None:
        lines = text.removeprefix("\ufeff").split("\n")
        rules = [_parse(line, f"{what}:{number}") for number, line in enumerate([*lines, *_DEFAULTS], 1)]
        self._rules = [rule for rule in rules if rule is not None]

    def ignores(self, path: str, *, directory: bool = False) -> bool:
        """Tell whether a file or directory itself is ignored; `path` is relative to the chart."""
        for rule in self._rules:
            if rule.negate:
                if (rule.only_directories and not directory) or not rule.matches(path):
                    return True
            elif (directory or not rule.only_directories) and rule.matches(path):
                return True
        return False

    def ignores_file(self, path: str) -> bool:
        """Tell whether a file, or a directory above it, is ignored."""
        parts = path.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return any(self.ignores(directory, directory=True) for directory in above) or self.ignores(path)


def _parse(line: str, where: str) -> _Rule | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    if "**" in text:
        raise UsageError(f"{where}: double-star (**) is not supported by helm", hint="write one `*` per directory")
    negate = text.startswith("!")
    text = text[1:] if negate else text
    only_directories = text.endswith("/")
    text = text[:-1] if only_directories else text
    rooted = text.startswith("/")
    text = text[1:] if rooted else text
    return _Rule(_pattern(text, where), negate, only_directories, rooted or "/" in text)


def _pattern(glob: str, where: str) -> re.Pattern[str]:
    """Translate a pattern of Go's `filepath.Match`."""
    translated, position = "", 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            translated += "[^/]*"
        elif character == "?":
            translated += "[^/]"
        elif character == "[":
            part, position = _class(glob, position, where)
            translated += part
        else:
            if character == "\\":
                if position == len(glob):
                    raise _bad(glob, where)
                character, position = glob[position], position + 1
            translated += re.escape(character)
    return re.compile(translated, re.DOTALL)


def _class(glob: str, position: int, where: str) -> tuple[str, int]:
    """Translate what follows a `[`; return it and where the pattern goes on."""
    negated = glob[position : position + 1] == "^"
    position += negated
    ranges = ""
    while not (ranges and glob[position : position + 1] == "]"):
        low, position = _class_character(glob, position, where)
        high = low
        if glob[position : position + 1] == "-":
            high, position = _class_character(glob, position + 1, where)
        # Go takes an upside-down range for one that nothing is in; Python refuses it.
        ranges += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        ranges = ranges or "\0-\0"
    return f"[{'^' if negated else ''}{ranges}]", position + 1


def _class_character(glob: str, position: int, where: str) -> tuple[str, int]:
    character = glob[position : position + 1]
    if character in ("", "-", "]"):
        raise _bad(glob, where)
    if character == "\\":
        position += 1
        character = glob[position : position + 1]
    if not character or position + 1 >= len(glob):
        raise _bad(glob, where)
    return character, position + 1


def _bad(glob: str, where: str) -> UsageError:
    return UsageError(f"{where}: {glob!r} is a malformed pattern", hint="see Go's filepath.Match")
