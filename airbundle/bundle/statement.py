"""`airbundle/statement.json`, the claim that binds the whole bundle, and `airbundle/signatures` over its exact bytes.

The statement is an in-toto Statement v1 (https://in-toto.io/Statement/v1). Its subjects are the members that in turn
bind every other byte; nothing in it depends on fetched bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airbundle.bundle.digest import hex_of, parse_digest, sha256
from airbundle.bundle.layout import INDEX_NAME, LOCK_MEMBER, STATEMENT_NAME, TOC_NAME
from airbundle.bundle.oci import parse_json
from airbundle.errors import VerificationError

if TYPE_CHECKING:
    from airbundle.bundle.toc import Toc

STATEMENT_LIMIT = 1024 * 1024
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://airbundle.dev/bundle/v1"
SIGNATURES_SIZE = 64 * 1024
INSTALLER = "installer"

_WHAT = STATEMENT_NAME
_REQUIRED = frozenset({INDEX_NAME, LOCK_MEMBER, TOC_NAME})
_LINE = re.compile(rb"(sha256:[0-9a-f]{64}) ([A-Za-z0-9+/]{4,4096}={0,2})")
_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
TEXT_LIMIT = 255
"""Most characters of a name, a version, a pattern."""
MOST_PATTERNS = 100
"""Most patterns of images that may be missing."""


@dataclass(frozen=True)
class Base:
    """The bundle that a delta builds on: its name, version, serial, and one of the two digests that tell it.

    Attributes:
        statement: digest of its statement; empty where the delta was made from a lock.
        lock: digest of the lock it is made from (its subject `airbundle/lock.json`); else empty.
    """

    name: str
    version: str
    serial: int
    statement: str = ""
    lock: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version} (serial {self.serial})"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        told = {"statement": self.statement} if self.statement else {"lock": self.lock}
        return {"name": self.name, "version": self.version, "serial": self.serial, **told}

    def is_base(self, statement: Statement) -> bool:
        """Tell whether `statement` is that of the bundle meant."""
        if self.statement:
            return sha256(statement.raw) == self.statement
        return statement.subjects[LOCK_MEMBER][0] == self.lock


@dataclass(frozen=True)
class Contents:
    """How much a bundle is, so that its head tells it without its toc.

    Attributes:
        size: of the whole file in bytes.
        blobs: how many are in it.
        left_out, left_out_size: how many a delta leaves out, and their bytes.
    """

    size: int
    blobs: int
    left_out: int = 0
    left_out_size: int = 0

    @classmethod
    def of(cls, toc: Toc, size: int = 0) -> Contents:
        """Return what a statement says of a toc, in a file of `size` bytes."""
        return cls(size, len(toc.blobs), len(toc.external), sum(size for _, size in toc.external))

    def to_json(self) -> dict[str, int]:
        """Return the JSON object."""
        return {"blobs": self.blobs, "leftOut": self.left_out, "leftOutSize": self.left_out_size, "size": self.size}


@dataclass(frozen=True)
class Statement:
    """What a release key signs.

    Attributes:
        serial: grows with each change of content; equals `created` in seconds since the epoch.
        created, expires: RFC 3339, UTC, whole seconds; `expires` is empty for never.
        subjects: (digest, size in bytes) of `index.json`, `airbundle/lock.json`, `airbundle/toc.json` and, where the
            bundle carries one, `installer`.
        contents: how much it is; compared with the toc as soon as that is read.
        base: of a delta.
        allowed_missing: patterns of images that the builder allowed to be missing, sorted; each stands once.
        raw: the bytes it was read from; empty for one that was made.
    """

    name: str
    version: str
    serial: int
    created: str
    expires: str
    subjects: Mapping[str, tuple[str, int]]
    contents: Contents
    base: Base | None = None
    allowed_missing: tuple[str, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    def to_bytes(self) -> bytes:
        """Return the member's bytes: indented, because people read it at first contact; one form only."""
        body = {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": hex_of(digest)}, "annotations": {"size": size}}
                for name, (digest, size) in sorted(self.subjects.items())
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "name": self.name,
                "version": self.version,
                "serial": self.serial,
                "created": self.created,
                "expires": self.expires,
                "contents": self.contents.to_json(),
                "allowedMissing": list(self.allowed_missing),
                "base": None if self.base is None else self.base.to_json(),
            },
        }
        return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @property
    def expiry(self) -> datetime | None:
        """When it expires; None for never."""
        return parse_time(self.expires) if self.expires else None


def parse_time(text: str) -> datetime:
    """Read `2026-11-21T10:00:00Z`.

    Raises:
        VerificationError: another form, or no such time.
    """
    found = _TIME.fullmatch(text)
    try:
        if found:
            # `strptime` would load the locale and the calendar first.
            year, month, day, hour, minute, second = map(int, found.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        pass
    raise VerificationError(f"{_WHAT}: {text[:40]!r} is no time; expected the form 2026-11-21T10:00:00Z")


def parse_statement(raw: bytes) -> Statement:
    """Read a statement; nothing in it is believed before its signature is checked (`trust.check_trust`).

    Raises:
        VerificationError: it is too long, not in its one form, or lacks a field.
    """
    body = parse_json(raw, what=_WHAT, limit=STATEMENT_LIMIT)
    if not isinstance(body, dict) or body.get("_type") != STATEMENT_TYPE:
        raise VerificationError(f"{_WHAT}: expected _type {STATEMENT_TYPE}")
    if body.get("predicateType") != PREDICATE_TYPE:
        raise VerificationError(
            f"{_WHAT}: found predicateType {str(body.get('predicateType'))[:80]!r}, expected {PREDICATE_TYPE}",
            hint="the bundle is of a format that this airbundle does not know; use a newer one",
        )
    predicate = _mapping(body.get("predicate"), "predicate")
    statement = Statement(
        name=_text(predicate, "name"),
        version=_text(predicate, "version"),
        serial=_number(predicate, "serial"),
        created=_text(predicate, "created"),
        expires=_text(predicate, "expires"),
        subjects=_subjects(body.get("subject")),
        contents=_contents(_mapping(predicate.get("contents"), "contents")),
        base=_base(predicate.get("base")),
        allowed_missing=_patterns(predicate.get("allowedMissing")),
        raw=raw,
    )
    parse_time(statement.created)
    if statement.expires:
        parse_time(statement.expires)
    if statement.to_bytes() != raw:
        raise VerificationError(f"{_WHAT}: not in its one form, or with unknown fields")
    return statement


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise VerificationError(f"{_WHAT}: {name} is an object")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    # It is shown to people before it is believed: no control characters, no unpaired surrogates.
    if not isinstance(value, str) or not value.isprintable() or len(value) > TEXT_LIMIT:
        raise VerificationError(f"{_WHAT}: {name} is printable text of at most {TEXT_LIMIT} characters")
    return value


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise VerificationError(f"{_WHAT}: {name} is a whole number")
    return value


def _contents(body: Mapping[str, Any]) -> Contents:
    return Contents(*(_number(body, name) for name in ("size", "blobs", "leftOut", "leftOutSize")))


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_PATTERNS:
        raise VerificationError(f"{_WHAT}: allowedMissing is a list of at most {MOST_PATTERNS} patterns")
    found = tuple(_text({"allowedMissing": each}, "allowedMissing") for each in value)
    if list(found) != sorted(set(found)):
        raise VerificationError(f"{_WHAT}: allowedMissing is sorted, and each pattern stands once")
    return found


def _base(value: object) -> Base | None:
    if value is None:
        return None
    body = _mapping(value, "base")
    # With both, or with anything else besides, the statement is not in its one form.
    told = "statement" if "statement" in body else "lock"
    digest = parse_digest(body.get(told), what=f"{_WHAT}: base")
    return Base(_text(body, "name"), _text(body, "version"), _number(body, "serial"), **{told: digest})


def _subjects(value: object) -> dict[str, tuple[str, int]]:
    if not isinstance(value, list):
        raise VerificationError(f"{_WHAT}: subject is a list")
    found = {}
    for entry in value:
        body = _mapping(entry, "subject")
        name = _text(body, "name")
        digest = _text(_mapping(body.get("digest"), "digest"), "sha256")
        size = _number(_mapping(body.get("annotations"), "annotations"), "size")
        found[name] = (parse_digest(f"sha256:{digest}", what=f"{_WHAT}: {name[:80]}"), size)
    if set(found) - {INSTALLER} != _REQUIRED:
        raise VerificationError(f"{_WHAT}: found subjects {sorted(found)}"[:300])
    return found


def encode_signatures(signatures: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the 64 KiB of `airbundle/signatures`: a line `KEYID BASE64` for each, sorted, then zeros.

    Args:
        signatures: key id (`sha256:<hex>`) and DER signature.

    Raises:
        VerificationError: they don't fit.
    """
    unique = sorted(set(signatures))
    lines = b"".join(b"%s %s\n" % (key.encode(), base64.b64encode(signature)) for key, signature in unique)
    if len(lines) >= SIGNATURES_SIZE:
        raise VerificationError(f"airbundle/signatures: {len(unique)} signatures do not fit {SIGNATURES_SIZE} bytes")
    return lines.ljust(SIGNATURES_SIZE, b"\0")


def decode_signatures(member: bytes) -> list[tuple[str, bytes]]:
    """Return key id and signature of each line of `airbundle/signatures`. They are claims until they are checked.

    Raises:
        VerificationError: it is not in its one form.
    """
    text = member.rstrip(b"\0")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise VerificationError(f"airbundle/signatures: line {number} is no `KEYID BASE64`")
        try:
            found.append((match[1].decode(), base64.b64decode(match[2], validate=True)))
        except binascii.Error:
            raise VerificationError(f"airbundle/signatures: line {number}: not base64") from None
    if len(member) != SIGNATURES_SIZE or encode_signatures(found) != member:
        raise VerificationError("airbundle/signatures: not in its one form")
    return found
