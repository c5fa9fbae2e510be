"""The text of a Corefile: where its server blocks and their directives begin and end. Pure.

As CoreDNS's own reader does it (caddyfile): words between white space, `"…"` around some, comments from a word that
begins with `#`, blocks between `{` at the end of a line and `}`. Positions are kept, so that all else can stay byte for
byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airbundle.errors import SiteError

_PORT = re.compile("[0-9]{1,5}")
LIMIT = 1 << 20
"""Most characters of a Corefile; a ConfigMap has no more."""


@dataclass(frozen=True)
class Word:
    """A word and its place; `line` counts from 0."""

    text: str
    start: int
    end: int
    line: int


@dataclass(frozen=True)
class Directive:
    """A plugin within a server block: its words on the first line, and where its lines begin and end."""

    words: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Block:
    """A server block, or a snippet.

    Attributes:
        keys: what it serves, such as `.:53`.
        directives: in order.
        close: where the line of its `}` begins.
    """

    keys: tuple[str, ...]
    directives: tuple[Directive, ...]
    close: int

    def zones(self) -> Iterator[tuple[str, int]]:
        """Yield zone (without a dot at its end; empty for the root) and port of each key."""
        for key in self.keys:
            name = key.rpartition("://")[2].rstrip(",")
            host, colon, port = name.rpartition(":")
            zone, number = (host, int(port)) if colon and _PORT.fullmatch(port) else (name, 53)
            yield zone.rstrip(".").lower(), number


def blocks_of(corefile: str) -> list[Block]:
    """Return the blocks of a Corefile; lines between them, such as `import`, are none.

    Raises:
        SiteError: it is not one, or is too long.
    """
    if len(corefile) > LIMIT:
        raise _broken(f"it has more than {LIMIT} characters")
    return list(_Reader(corefile).blocks())


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words = list(_words(text))

    def blocks(self) -> Iterator[Block]:
        place = 0
        while place < len(self._words):
            first = place
            place = self._end_of_line(place)
            keys = [word.text for word in self._words[first:place]]
            while keys[-1].endswith(",") and place < len(self._words):  # more keys on the next line
                after = self._end_of_line(place)
                keys += [word.text for word in self._words[place:after]]
                place = after
            if keys[-1] == "{":
                directives, place = self._directives(place)
                yield Block(tuple(keys[:-1]), tuple(directives), self._line_start(self._words[place].start))
                place += 1
            elif keys[0] != "import":
                raise _broken(f"line {self._words[first].line + 1}: {keys[0]!r:.80} begins no block")

    def _directives(self, place: int) -> tuple[list[Directive], int]:
        """Return the directives of a block, and where the word is that ends it."""
        found = []
        while place < len(self._words) and self._words[place].text != "}":
            first, place = place, self._end_of_line(place)
            words = [word.text for word in self._words[first:place]]
            if words[-1] == "{":
                words.pop()
                place = self._end_of_braces(place)
            start, end = self._words[first].start, self._words[place - 1].end
            found.append(Directive(tuple(words), self._line_start(start), self._line_end(end)))
        if place == len(self._words):
            raise _broken("a block is not closed")
        return found, place

    def _end_of_braces(self, place: int) -> int:
        depth = 1
        while place < len(self._words):
            depth += {"{": 1, "}": -1}.get(self._words[place].text, 0)
            place += 1
            if depth == 0:
                return place
        raise _broken("a block is not closed")

    def _end_of_line(self, place: int) -> int:
        line = self._words[place].line
        while place < len(self._words) and self._words[place].line == line:
            place += 1
        return place

    def _line_start(self, offset: int) -> int:
        return self._text.rfind("\n", 0, offset) + 1

    def _line_end(self, offset: int) -> int:
        end = self._text.find("\n", offset)
        return len(self._text) if end < 0 else end + 1


def _words(text: str) -> Iterator[Word]:
    place, line = 0, 0
    while place < len(text):
        char = text[place]
        if char.isspace():
            line += char == "\n"
            place += 1
            continue
        if char == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
            continue
        end = _quoted(text, place) if char == '"' else _plain(text, place)
        yield Word(text[place:end], place, end, line)
        line += text.count("\n", place, end)
        place = end


def _plain(text: str, place: int) -> int:
    while place < len(text) and not text[place].isspace():
        place += 1
    return place


def _quoted(text: str, place: int) -> int:
    end = place + 1
    while end < len(text):
        if text[end] == "\\":
            end += 2
        elif text[end] == '"':
            return end + 1
        else:
            end += 1
    raise _broken("a quotation is not closed")


def _broken(why: str) -> SiteError:
    return SiteError(
        f"the Corefile of CoreDNS does not parse: {why}", outcome="unchanged", hint="mend it, then run this again"
    )


def root_of(blocks: Sequence[Block]) -> tuple[Block, int]:
    """Return the block that serves all names (`.`), and its port.

    Raises:
        SiteError: there is none.
    """
    for block in blocks:
        for zone, port in block.zones():
            if not zone:
                return block, port
    raise _broken("no block serves `.`")
