"""Secrets out of texts that leave a site: logs, journals, command lines, documents. Pure; in doubt too much goes.

What is told to be secret: private keys in PEM, headers that log in, values whose name says so (`password=`, `"auth":`,
`--token X`), user and password in URLs, queries of URLs (they may be signatures that open a storage), and tokens that
are known by their form. What is taken away becomes `…`; digests, names, paths and public keys stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "…"
LINE_LIMIT = 8192
"""Longest line in characters that is kept; of a longer one its beginning is."""

_DEPTH = 40
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,60}PRIVATE KEY-----|$)")
_END = re.compile(r".*-----END [A-Z0-9 ]{0,60}PRIVATE KEY-----")
_BASE64_LINE = re.compile(r"\s*[A-Za-z0-9+/=]+\s*")
_PEM_HEADER = re.compile(r"\s*(?:Proc-Type|DEK-Info): .*")
_HEADER = re.compile(
    r"(?i)(?<![a-z0-9-])((?:proxy-)?authorization|(?:set-)?cookie2?|x-amz-[a-z0-9-]+|x-[a-z0-9-]*(?:auth|token|key)[a-z0-9-]*)"
    r"([\\\"']*\s*(?:=>|[:=,])\s*)(.*)"
)
_SCHEME = re.compile(r"(?i)\b(basic|bearer|negotiate|ntlm)([\s:]+)[A-Za-z0-9+/_=.~-]{4,}")
_KEY = re.compile(r"[:=]>?[ \t]*")
_NAME_BEFORE = re.compile(r"([A-Za-z0-9_.-]{1,64})\\{0,8}[\"']?[ \t]{0,8}$")
_BEFORE = 84
_FLAG_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')?\S*"
_FLAG = re.compile(rf"(?<![A-Za-z0-9_-])(--?[A-Za-z][A-Za-z0-9_-]{{0,62}})([\"',]*[ \t]+){_FLAG_VALUE}")
_LOGIN = re.compile(rf"(?i)(\blogin\b.*?\s-p[\"',]*\s*){_FLAG_VALUE}")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.|'')*'")
_AFTER_QUOTES = re.compile(r"(?=$|\s|[,;}\])]+(?:$|[\s\"'{}\[\]]))|\S*")
_TOKEN = re.compile(r"[^\s\"<>]+")
_KNOWN = re.compile(
    r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*"  # JSON Web Tokens
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hv[sb]\.|xox[abprs]-|dckr_pat_|AKIA|ASIA)[A-Za-z0-9_.-]{10,}"
)
_SUSPECT = re.compile(
    r"pass|pwd|auth|secret|token|credential|cookie|key|signature|x-amz|login|basic|bearer|negotiate|ntlm|://|@|\?"
    r"|eyj|gh[pousr]_|github_pat_|glpat-|hv[sb]\.|xox[abprs]-|akia|asia"
)
"""What a line has in it, in small letters, that has a secret."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMES = re.compile(
    r"(?i)passw|passphrase|(?<![a-z])(?:pass|pwd|auth)(?![a-z])|authorization|secret|token|credential|cookie"
    r"|(?:api|access|private|signing)[ _.-]?key|signature"
)
_NO_VALUE = re.compile(r"(?i)(?:file|path|dir|directory|hosts|days)$")
_BLOCK = re.compile(r"\s*((?:[|>][+-]?[0-9]?|[\[{])?)\s*(?:#.*)?")


def is_secret_name(name: str) -> bool:
    """Tell whether a field, variable or option of this name holds a secret: `authToken`, but not `passphrase-file`."""
    words = _CAMEL.sub("_", name)
    return _NAMES.search(words) is not None and _NO_VALUE.search(words) is None


def redact_text(text: str) -> str:
    """Return a text without its secrets, line by line.

    Args:
        text: may begin and end in the middle of things, but for lines.
    """
    found = []
    block = -1  # how far a name is indented that holds a secret: what is indented more belongs to it
    for line in _without_keys(text.split("\n")):
        indent = len(line) - len(line.lstrip())
        if block >= 0 and (indent > block or not line.strip()):
            found.append(" " * indent + HIDDEN if line.strip() else line)
            continue
        shown, opens = _line(_cut(line))
        block = indent if opens else -1
        found.append(shown)
    return "\n".join(found)


def _without_keys(lines: Sequence[str]) -> list[str]:
    """Return lines without private keys in PEM, also without one whose beginning or end isn't there."""
    found: list[str] = []
    inside = False
    for line in lines:
        if inside:
            inside = not _END.match(line)
            if inside:
                continue
            line = _END.sub("", line, count=1)
        elif _END.match(line) and not _BEGIN.search(line):
            while found and (_BASE64_LINE.fullmatch(found[-1]) or _PEM_HEADER.fullmatch(found[-1])):
                found.pop()
            line = _END.sub(HIDDEN, line, count=1)
        if _BEGIN.search(line):
            inside = not _ends_key(line)
            line = _BEGIN.sub(HIDDEN, line)
        found.append(line)
    return found


def _ends_key(line: str) -> bool:
    """Tell whether the last private key that begins in a line ends in it, too."""
    return line.rfind("-----END ") > line.rfind("-----BEGIN ")


def redact_value(value: Any, *, _depth: int = 0) -> Any:
    """Return a JSON value without its secrets: fields whose name says so are hidden, texts are redacted."""
    if _depth > _DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            redact_text(str(name)): HIDDEN
            if is_secret_name(str(name)) and not isinstance(each, bool) and each not in (None, "")
            else redact_value(each, _depth=_depth + 1)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        flags = [False, *(isinstance(each, str) and _is_flag(each) for each in value)]
        return [HIDDEN if flag else redact_value(each, _depth=_depth + 1) for flag, each in zip(flags, value)]
    return redact_text(value) if isinstance(value, str) else value


def _is_flag(word: str) -> bool:
    return re.fullmatch(r"--?[A-Za-z][A-Za-z0-9_-]*", word) is not None and is_secret_name(word)


def _cut(line: str) -> str:
    """Return the beginning of a line that is too long, without the word that was cut: half a secret is one."""
    if len(line) <= LINE_LIMIT:
        return line
    return line[:LINE_LIMIT].rpartition(" ")[0] + f" {HIDDEN} cut"


def _line(line: str) -> tuple[str, bool]:
    """Return a line without its secrets, and whether it opens a block of them, as YAML does."""
    if not _SUSPECT.search(line.lower()):
        return line, False
    line = _HEADER.sub(lambda match: match[1] + match[2] + _rest(match[3])[0], line)
    line = _SCHEME.sub(lambda match: match[1] + match[2] + HIDDEN, line)
    line = _LOGIN.sub(lambda match: match[1] + HIDDEN, _FLAG.sub(_flag, line))
    line, opens = _values(line)
    line = _TOKEN.sub(lambda match: _word(match[0]), line)
    return _KNOWN.sub(HIDDEN, line), opens


def _flag(match: re.Match[str]) -> str:
    return match[1] + match[2] + HIDDEN if is_secret_name(match[1]) else match[0]


def _rest(rest: str) -> tuple[str, bool]:
    """Return what is shown in place of all that follows a name, and whether more stands in the lines below it."""
    block = _BLOCK.fullmatch(rest)
    return (block[1], True) if block else (HIDDEN, False)


def _values(line: str) -> tuple[str, bool]:
    """Hide what follows names that hold secrets, and tell whether that stands in the lines below."""
    shown, place = "", 0
    for match in _KEY.finditer(line):
        name = _NAME_BEFORE.search(line, max(place, match.start() - _BEFORE), match.start())
        if match.start() < place or name is None or not is_secret_name(name[1]):
            continue
        shown += line[place : match.end()]
        quoted = _QUOTED.match(line, match.end())
        if not quoted:
            # Without quotes nobody knows where it ends.
            rest, opens = _rest(line[match.end() :])
            return shown + rest, opens
        shown += quoted[0][0] + HIDDEN + quoted[0][0]
        glued = _AFTER_QUOTES.match(line, quoted.end())  # as shells glue
        place = glued.end() if glued else quoted.end()
    return shown + line[place:], False


def _word(word: str) -> str:
    """Hide what a URL in a word has before its host and after its path."""
    scheme = word.find("://")
    if scheme >= 0:
        at = word.rfind("@", scheme)
        while at >= 0 and word.startswith("sha256:", at + 1):  # a pinned image
            at = word.rfind("@", scheme, at)
        if at >= 0:
            word = word[: scheme + 3] + HIDDEN + word[at:]
    elif ":" in word.rpartition("@")[0] and not word.rpartition("@")[2].startswith("sha256:"):
        word = f"{HIDDEN}@{word.rpartition('@')[2]}"
    query = word.find("?")
    return word[: query + 1] + HIDDEN if query > 0 and "=" in word[query:] else word
