"""Images in the arguments of a container: `--x-image=REF`, `--x-image REF`, `X=REF`, bare ones, and scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from airbundle.scan.pairs import Pair

_FLAG = re.compile(r"--?([A-Za-z][\w.-]{0,120})=(.*)", re.DOTALL)
_FLAG_ALONE = re.compile(r"--?([A-Za-z][\w.-]{0,120})")
_ASSIGNED = re.compile(r"([A-Za-z_][\w.\[\]-]{0,120})=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)")
GROWTH_LIMIT = 1 << 20
"""Most characters that variables may add to the texts of one container."""
_RUNS = re.compile(r"[a-z]{0,3}c")  # sh -c, bash -euxc
_SET = frozenset({"set", "set-string"})


@dataclass
class Command:
    """What arguments hold: flags and assignments; scripts, and where they stand; words without a name."""

    pairs: list[Pair] = field(default_factory=list)
    scripts: list[tuple[str, str]] = field(default_factory=list)
    bare: list[Pair] = field(default_factory=list)


def read_command(items: Sequence[tuple[str, str]]) -> Command:
    """Take arguments apart.

    Args:
        items: (path, text) of each, in their order; not text ones left out.
    """
    command = Command()
    waiting = ""  # the flag whose value may come next
    for path, text in items:
        flag = _FLAG.fullmatch(text)
        alone = _FLAG_ALONE.fullmatch(text)
        if alone:
            waiting = alone.group(1)
            continue
        name, waiting = waiting, ""
        if flag:
            name, text = flag.group(1), flag.group(2)
        if name in _SET or (not flag and not name and _ASSIGNED.fullmatch(text) and "\n" not in text):
            command.pairs += _assignments(text, path)
        elif _RUNS.fullmatch(name) or (not name and ("\n" in text or " " in text.strip())):
            command.scripts.append((path, text))
        elif name:
            command.pairs.append(Pair(name, text, path))
        else:
            command.bare.append(Pair("", text, path))
    return command


class Variables:
    """The variables of a container, by their names, and what `$(NAME)` in its texts becomes.

    What they add to all texts together is bounded: each of a few short ones may hold the one before a thousand times.
    """

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._left = GROWTH_LIMIT

    def expanded(self, text: str) -> str:
        """Return a text with `$(NAME)` replaced as the kubelet does; as it is once there is no room left."""
        return _VARIABLE.sub(self._value, text) if "$(" in text else text

    def add(self, name: str, text: str) -> None:
        """Note a variable; a later one of the same name counts."""
        self._held[name] = text

    def get(self, name: str) -> str:
        """Return what a variable holds; empty without it."""
        return self._held.get(name, "")

    def _value(self, match: re.Match[str]) -> str:
        value = self._held.get(match.group(1), match.group())
        if len(value) > self._left:
            return match.group()
        self._left -= len(value)
        return value


def _assignments(text: str, path: str) -> list[Pair]:
    """Return `a=1,b=2` as pairs; a single one may hold commas."""
    parts = [_ASSIGNED.fullmatch(part) for part in text.split(",")]
    if all(parts):
        return [
            Pair(part.group(1), part.group(2), path if len(parts) == 1 else f"{path}#{part.group(1)}")
            for part in parts
            if part
        ]
    whole = _ASSIGNED.fullmatch(text)
    return [Pair(whole.group(1), whole.group(2), path)] if whole else [Pair("", text, path)]
