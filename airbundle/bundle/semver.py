"""Versions and version ranges as helm understands them: Masterminds semver v3, lenient versions included.

`find` gives what `helm pull --version RANGE` takes. The rules are those of the library's README ("Checking Version
Constraints"); tests compare them with helm itself. A version counts as missing parts when it says `1`, `1.x` or `1.*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import total_ordering

from airbundle.errors import UsageError

_PRERELEASE = r"(?:-([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?"
_METADATA = r"(?:\+([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?"
_VERSION = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{_PRERELEASE}{_METADATA}")
_STRICT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}(?:[-+].*)?", re.DOTALL)

_PART = r"[0-9|xX*]+"
_BARE = rf"v?{_PART}(?:\.{_PART})?(?:\.{_PART})?"
_SUFFIX = r"(?:-[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?(?:\+[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?"
_OPERATOR = r"(?:!=|>=|=>|<=|=<|~>|[=><~^]|)"
_TERM = rf"{_OPERATOR}\s*{_BARE}{_SUFFIX}"
_TERMS = re.compile(rf"\s*{_TERM}\s*(?:(?:\s+|,\s*){_TERM}\s*)*", re.ASCII)
_EACH_TERM = re.compile(_TERM, re.ASCII)
_ONE_TERM = re.compile(
    rf"\s*({_OPERATOR})\s*v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?{_PRERELEASE}{_METADATA}\s*", re.ASCII
)
_HYPHEN = re.compile(rf"\s*({_BARE}{_SUFFIX})\s+-\s+({_BARE}{_SUFFIX})\s*", re.ASCII)
_ANY = ("x", "X", "*")
_LENGTH_LIMIT = 256  # also keeps hostile versions from matching slowly


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version; `original` is how it was written. Equal ones may differ in build metadata."""

    major: int
    minor: int
    patch: int
    prerelease: str
    original: str

    @property
    def _key(self) -> tuple[object, ...]:
        # A release comes after its pre-releases; numbers come before words.
        parts = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease.split(".") if part
        )
        return (self.major, self.minor, self.patch, not parts, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


def parse_version(text: str, *, strict: bool = False) -> Version | None:
    """Parse a version; None when it is none.

    Args:
        text: for example `1.2.3-rc.1+build`; also `v1.2` unless `strict`.
        strict: take only what the semver specification allows.
    """
    match = _VERSION.fullmatch(text) if len(text) <= _LENGTH_LIMIT else None
    if match is None or (strict and not _STRICT.fullmatch(text)):
        return None
    major, minor, patch = (int(part or 0) for part in match.groups()[:3])
    prerelease = match.group(4) or ""
    if max(major, minor, patch) >= 1 << 64:
        return None
    if any(part.isdigit() and len(part) > 1 and part[0] == "0" for part in prerelease.split(".")):
        return None
    return Version(major, minor, patch, prerelease, text)


@dataclass(frozen=True)
class _Term:
    operator: str
    version: Version
    given: int  # how many of major, minor, patch are given

    def holds(self, version: Version) -> bool:
        # A pre-release satisfies only terms that name one; `!=` looks only when a part is missing.
        if version.prerelease and not self.version.prerelease and (self.operator != "!=" or self.given < 3):
            return False
        return _OPERATORS[self.operator](version, self)


def _not_equal(version: Version, term: _Term) -> bool:
    wanted = term.version
    if term.given == 3:
        return version != wanted
    if version.major != wanted.major:
        return True
    if term.given == 0:
        return _not_equal_unless_patch(version, wanted)
    if term.given == 1:
        return False
    return version.minor != wanted.minor or version.prerelease != wanted.prerelease


def _not_equal_unless_patch(version: Version, wanted: Version) -> bool:
    return (version.minor, version.patch) != (wanted.minor, wanted.patch) or version != wanted


def _greater(version: Version, term: _Term) -> bool:
    wanted = term.version
    if term.given == 1:
        return version.major > wanted.major
    if term.given == 2:
        return (version.major, version.minor) > (wanted.major, wanted.minor)
    return version > wanted


def _less(version: Version, term: _Term) -> bool:
    return version < term.version


def _greater_or_equal(version: Version, term: _Term) -> bool:
    return version >= term.version


def _less_or_equal(version: Version, term: _Term) -> bool:
    wanted = term.version
    if term.given == 3:
        return version <= wanted
    if version.major != wanted.major:
        return version.major < wanted.major
    return version.minor <= wanted.minor or term.given == 1


def _tilde(version: Version, term: _Term) -> bool:
    wanted = term.version
    if version < wanted:
        return False
    if (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0) and term.given in (0, 3):
        return True  # ~0.0.0 and * mean any version
    return version.major == wanted.major and (version.minor == wanted.minor or term.given == 1)


def _equal(version: Version, term: _Term) -> bool:
    return _tilde(version, term) if term.given < 3 else version == term.version


def _caret(version: Version, term: _Term) -> bool:
    wanted = term.version
    if version < wanted:
        return False
    if wanted.major > 0 or term.given == 1:
        return version.major == wanted.major
    if version.major > 0:
        return False
    if wanted.minor > 0 or term.given == 2:
        return version.minor == wanted.minor
    return version.minor == 0 and version.patch == wanted.patch


_OPERATORS: dict[str, Callable[[Version, _Term], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": _less,
    ">=": _greater_or_equal,
    "=>": _greater_or_equal,
    "<=": _less_or_equal,
    "=<": _less_or_equal,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}


class Constraint:
    """A version range, such as `^1.2 || >=3.0.0-0, <4`. Empty means any release."""

    def __init__(self, text: str) -> None:
        """Parse `text`.

        Raises:
            UsageError: it is no range.
        """
        self.text = text
        if len(text) > _LENGTH_LIMIT:
            raise UsageError(f"version range {text[:40]!r}…: longer than {_LENGTH_LIMIT} characters")
        spelled = _HYPHEN.sub(r">= \1, <= \2 ", text or "*")
        self._alternatives = [self._terms(part) for part in spelled.split("||")]

    def holds(self, version: Version) -> bool:
        """Tell whether `version` is in the range."""
        return any(all(term.holds(version) for term in terms) for terms in self._alternatives)

    def _terms(self, text: str) -> list[_Term]:
        if not _TERMS.fullmatch(text):
            raise UsageError(
                f"version range {self.text!r}: {text.strip()!r} is no comparison",
                hint="write for example 1.2.3, ^1.2, ~1.2.3, '>=1.2 <2', 1.x, '1.2 - 1.5' or two of them with ||",
            )
        return [self._term(part) for part in _EACH_TERM.findall(text)]

    def _term(self, text: str) -> _Term:
        match = _ONE_TERM.fullmatch(text)
        groups = match.groups() if match else ("",) * 6
        operator, parts, prerelease = groups[0], groups[1:4], groups[4]
        given = next((i for i, part in enumerate(parts) if not part or part in _ANY), 3)
        spelled = ".".join([*parts[:given], "0", "0", "0"][:3]) + (f"-{prerelease}" if prerelease else "")
        version = parse_version(spelled)
        if match is None or version is None:
            raise UsageError(f"version range {self.text!r}: {text!r} is no version")
        return _Term(operator, version, given)


def find(versions: Iterable[str], wanted: str) -> str | None:
    """Return the version that helm takes for `wanted`: the very same text, else the highest in the range.

    Args:
        versions: what there is; what is no version is passed over.
        wanted: a version, a range, or empty for the newest release.

    Raises:
        UsageError: `wanted` is no range.
    """
    constraint = Constraint(wanted)
    available = list(versions)
    if wanted in available:
        return wanted
    parsed = [version for version in map(parse_version, available) if version is not None]
    fitting = [version for version in parsed if constraint.holds(version)]
    return max(fitting).original if fitting else None
