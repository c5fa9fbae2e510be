"""What a site has, as `airbundle status --json` there tells it: carried back, a delta is made on it (design §3).

It comes from the other side of the gap, and nobody has signed it: every field is checked and bounded. What a false one
can do is to have a delta lack blobs that the site doesn't have; the site then says which, before it changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airbundle.bundle.digest import is_digest
from airbundle.bundle.oci import parse_json
from airbundle.bundle.statement import Base
from airbundle.errors import DocumentError, Finding, VerificationError

API_VERSION = "airbundle.dev/v1"
KIND = "StatusResult"
STATE_LIMIT = 128 * 1024 * 1024
"""Largest document in bytes that is read."""
MOST_BUNDLES = 10_000
MOST_BLOBS = 1_000_000

_TEXT_LIMIT = 255
_MOST_FINDINGS = 20
_LARGEST = 10**15
_HINT = "make it anew on site: airbundle status --json > SITE-STATE.json"


@dataclass(frozen=True)
class SiteState:
    """What a site has.

    Attributes:
        bundles: those that are installed, by the digest of their statements.
        blobs: size in bytes of each blob, by digest.
    """

    bundles: tuple[Base, ...]
    blobs: Mapping[str, int]

    def newest(self, name: str) -> Base | None:
        """Return the newest bundle of this name; where there is none, the newest of all; None without any."""
        of_name = [bundle for bundle in self.bundles if bundle.name == name]
        return max(of_name or self.bundles, key=lambda bundle: (bundle.serial, bundle.statement), default=None)


def parse_site_state(raw: bytes, *, where: str) -> SiteState:
    """Read the document. Fields that it has besides are none of ours.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: it doesn't parse; says what was found.
    """
    try:
        body = parse_json(raw, what=where, limit=STATE_LIMIT)
    except VerificationError as error:
        raise DocumentError(error.problem, hint=_HINT) from None
    reader = _Reader(where)
    state = reader.state(body)
    if reader.findings or state is None:
        raise DocumentError(f"{where}: not what `airbundle status --json` writes", hint=_HINT, findings=reader.findings)
    return state


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []

    def wrong(self, path: str, found: object, expected: str) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            place = f"{self.where} {path}"
            self.findings.append(Finding("wrong field", where=place, found=repr(found)[:80], expected=expected))

    def state(self, body: object) -> SiteState | None:
        if not isinstance(body, dict) or (body.get("apiVersion"), body.get("kind")) != (API_VERSION, KIND):
            found = (body.get("apiVersion"), body.get("kind")) if isinstance(body, dict) else body
            self.wrong("apiVersion, kind", found, f"{API_VERSION}, {KIND}")
            return None
        bundles = self.entries(body, "bundles", MOST_BUNDLES)
        blobs = self.entries(body, "blobs", MOST_BLOBS)
        found = [self.bundle(value, f"bundles[{number}]") for number, value in enumerate(bundles)]
        return SiteState(tuple(bundle for bundle in found if bundle is not None), self.blobs(blobs))

    def entries(self, body: Mapping[str, Any], name: str, most: int) -> list[Any]:
        value = body.get(name)
        if not isinstance(value, list) or len(value) > most:
            found = f"{len(value)} entries" if isinstance(value, list) else value
            self.wrong(name, found, f"a list of at most {most}")
            return []
        return value

    def bundle(self, value: object, path: str) -> Base | None:
        body = value if isinstance(value, dict) else {}
        name, version, serial, statement = (body.get(key) for key in ("name", "version", "serial", "statement"))
        if not (_is_text(name) and _is_text(version) and _is_number(serial, 1 << 53) and is_digest(statement)):
            self.wrong(path, value, "name, version, serial and statement of a bundle")
            return None
        return Base(str(name), str(version), int(str(serial)), str(statement))

    def blobs(self, entries: list[Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, entry in enumerate(entries):
            digest, size = entry if isinstance(entry, list) and len(entry) == 2 else ("", 0)
            if not is_digest(digest) or not _is_number(size, _LARGEST) or found.get(digest, size) != size:
                self.wrong(f"blobs[{number}]", entry, "[digest, size], each digest with one size")
                continue
            found[digest] = size
        return found


def _is_text(value: object) -> bool:
    # It is shown to people, and signed as the name of a base.
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _TEXT_LIMIT


def _is_number(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit
