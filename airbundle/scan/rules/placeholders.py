"""Placeholders that somebody was to fill in: `CHANGE_TO_…`, `changeme`, `<YOUR_DOMAIN>`, `TODO`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.passwords import is_weak
from airbundle.scan.rules.scene import Scene, tell, with_where
from airbundle.scan.rules.texts import Text, holds_any

_ANYWHERE = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"CHANGE[_-]?(?:TO|ME|THIS|IT)(?:[_-][A-Z0-9_-]{0,100})?(?![a-z])"
    r"|(?i:change[_-]?(?:me|this)(?:[_-](?:please|now))?|replace[_-]?me|fill[_-]?me(?:[_-]?in)?|change-?it)"
    r"|REPLACE[_-](?:WITH|THIS|BY)[A-Z0-9_-]{0,100}"
    r"|(?:YOUR|INSERT|ENTER|PUT|SET)_[A-Z0-9_]{0,100}_HERE"
    r"|(?i:your|insert|enter)-[a-z0-9-]{1,40}-here"
    r"|<(?i:YOUR|CHANGE|REPLACE|INSERT|ENTER|PLACEHOLDER|TODO)(?:[ _-][A-Za-z0-9 _-]{1,40})?>"
    r"|(?:YOUR|MY)_(?:DOMAIN|HOST|HOSTNAME|PASSWORD|SECRET|TOKEN|KEY|REGISTRY|SERVER|EMAIL)(?![A-Za-z0-9_])"
    r")(?![A-Za-z0-9]|_[A-Za-z0-9])"
)
_WHOLE = re.compile(
    r"(?:TODO|FIXME|TBD|XXX+|PLACEHOLDER|placeholder|to-?be-?defined|(?i:set-?me)(?::(?i:set-?me))?"
    r"|<[A-Z][A-Z0-9_ -]{2,40}>"
    r"|(?i:your)[-_ ]?(?i:domain|host|hostname|password|secret|token|api-?key|registry|server|e?mail))(?::? .*)?"
)
_SIGNS = (
    "change", "replace", "fill", "your", "my_", "insert", "enter", "put_", "set_", "todo", "fixme", "tbd", "xxx",
    "placeholder", "setme", "set-me", "to-be", "tobe", "<",
)  # fmt: skip
"""Cheap test: a text without any of these has no placeholder."""


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the placeholders in what is given and in what is rendered; a password is the other rule's."""
    told: set[str] = set()
    for index in scene.indexes:
        for leaf in index.given:
            token = placeholder_in(leaf.value)
            if token and not is_weak(leaf.key, token) and str(leaf) not in told:
                told.add(str(leaf))
                yield with_where(_finding(token), str(leaf))
    for text in scene.texts:
        if holds_any(text.value, _SIGNS):
            yield from _in_text(scene, text, told)


def _in_text(scene: Scene, text: Text, told: set[str]) -> Iterator[Finding]:
    for line in text.lines():
        token = placeholder_in(line.value)
        if token and not is_weak(line.name, token):
            finding = tell(scene, line, token, _finding(token))
            if finding.where not in told:
                yield finding


def placeholder_in(text: str) -> str:
    """Return the placeholder in a text; empty when there is none. A file's comments do not count."""
    if not holds_any(text, _SIGNS):
        return ""
    stripped = text.strip()
    whole = _WHOLE.fullmatch(stripped)
    if whole and "\n" not in stripped:
        return stripped[:60]
    match = _ANYWHERE.search(stripped)
    return match[0] if match else ""


def _finding(token: str) -> Finding:
    return Finding(
        "a placeholder was not filled in",
        code="placeholder",
        found=token,
        hint="write what the site needs, or leave it to the site's file",
    )
