"""ClamAV databases as they lie in files: the CVD header, names, and what a private mirror tells (docs/inventory.md).

A `.cvd` is a header of 512 bytes and a gzipped tar; a `.cld` (made by freshclam from patches) has a plain or gzipped
one. The header's MD5 covers all that follows. The header itself is not covered: it is compared with line 1 of
`<name>.info`, which lies inside (libclamav `cvd.c`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

from airbundle.bundle.gzipstream import GZIP_MAGIC, GunzipStream, Readable
from airbundle.bundle.tarstream import TarStream
from airbundle.errors import VerificationError

HEADER_SIZE = 512
MAGIC = "ClamAV-VDB"
UNSIGNED = "X"
STALE_AFTER = timedelta(days=7)
INFO_LIMIT = 1 << 20
_SEARCH_LIMIT = 16 << 20  # libclamav wants the .info before the databases: it is found early, or not at all
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_TIME = re.compile(r"([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2})-([0-9]{2})(?: ([+-])([0-9]{2})([0-9]{2}))?")
_NUMBER = re.compile(r"[0-9]{1,15}")
_MD5 = re.compile(r"[0-9a-f]{32}")

Kind = Literal["database", "patch", "signature", "custom"]

_NAME = r"(?P<family>[A-Za-z0-9][A-Za-z0-9_]{0,63})"
_VERSION = r"(?P<version>[0-9]{1,10})"
_FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("database", re.compile(rf"{_NAME}\.(?:cvd|cld|cud)")),
    ("patch", re.compile(rf"{_NAME}-{_VERSION}\.cdiff")),
    ("signature", re.compile(rf"{_NAME}-{_VERSION}\.(?:cvd|cld|cud|cdiff)\.sign")),
)
CUSTOM_FAMILY = "custom"
# libclamav `others_common.h`, CLI_DBEXT: what clamd loads from its database directory.
_CUSTOM = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}\."
    r"(?:cat|cbc|cdb|cfg|crb|db|fp|ftm|gdb|hdb|hdu|hsb|hsu|idb|ign2?|imp|ioc|ldb|ldu|mdb|mdu|msb|msu|ndb|ndu|pdb|pwdb"
    r"|rmd|sfp|wdb|yara?|zmd)"
)


@dataclass(frozen=True)
class CvdHeader:
    """The header of a database.

    Attributes:
        time: when it was built, UTC.
        signatures: how many it has.
        level: the functionality level that clamd needs for all of them.
        md5: of all bytes after the header, hex; `X` inside of .info.
        dsig: ClamAV's own signature of the MD5; `X` where there is none.
        words: the build time as it is written.
    """

    time: datetime
    version: int
    signatures: int
    level: int
    md5: str
    dsig: str
    builder: str
    words: str = ""

    @property
    def is_signed(self) -> bool:
        """Whether it carries a signature, be it right or wrong."""
        return self.dsig not in ("", UNSIGNED)

    def is_stale(self, now: datetime) -> bool:
        """Tell whether it is older than a week."""
        return now - self.time > STALE_AFTER


@dataclass(frozen=True)
class DatabaseName:
    """What a file's name says: `daily-27001.cdiff` is a patch of family `daily` to version 27001."""

    name: str
    kind: Kind
    family: str
    version: int = 0

    @property
    def signed_name(self) -> str:
        """Of a signature: the name of the file it is over (`daily-27001.cvd.sign` is over `daily.cvd`)."""
        stem = self.name[: -len(".sign")]
        return stem if stem.endswith(".cdiff") else f"{self.family}.{stem.rpartition('.')[2]}"


def parse_name(name: str) -> DatabaseName | None:
    """Read a file's name; None when it is nothing that a mirror serves or clamd loads."""
    for kind, form in _FORMS:
        match = form.fullmatch(name)
        if match:
            return DatabaseName(name, kind, match["family"], int(match.groupdict().get("version") or 0))
    if _CUSTOM.fullmatch(name):
        return DatabaseName(name, "custom", CUSTOM_FAMILY)
    return None


def parse_header(raw: bytes, *, what: str) -> CvdHeader:
    """Read the first 512 bytes of a database.

    Raises:
        VerificationError: they are no header; says which field is wrong.
    """
    if len(raw) < HEADER_SIZE:
        raise VerificationError(f"{what}: found {len(raw)} bytes, expected a CVD header of {HEADER_SIZE}")
    try:
        text = raw[:HEADER_SIZE].decode("ascii").rstrip(" \n\0")
    except UnicodeDecodeError:
        raise VerificationError(f"{what}: no CVD header, which is ASCII and begins with {MAGIC}:") from None
    return _parse_fields(text, what)


def _parse_fields(text: str, what: str) -> CvdHeader:
    fields = text.split(":")
    if fields[0] != MAGIC or not 8 <= len(fields) <= 9:
        raise VerificationError(
            f"{what}: no CVD header: found {text[:40]!r}, "
            f"expected {MAGIC}:time:version:signatures:level:md5:dsig:builder:seconds"
        )
    numbers = {"version": fields[2], "number of signatures": fields[3], "functionality level": fields[4]}
    for name, value in numbers.items():
        if not _NUMBER.fullmatch(value):
            raise VerificationError(f"{what}: CVD header: the {name} is {value[:40]!r}, expected a number")
    if fields[5] != UNSIGNED and not _MD5.fullmatch(fields[5]):
        raise VerificationError(f"{what}: CVD header: the MD5 is {fields[5][:40]!r}, expected 32 hex digits")
    return CvdHeader(
        time=_time(fields, what),
        version=int(fields[2]),
        signatures=int(fields[3]),
        level=int(fields[4]),
        md5=fields[5],
        dsig=fields[6],
        builder=fields[7],
        words=fields[1],
    )


def _time(fields: list[str], what: str) -> datetime:
    """Return the build time: the last field in seconds since 1970, or in old databases the text at the front."""
    stamp = fields[8] if len(fields) == 9 else ""
    match = _TIME.fullmatch(fields[1])
    try:
        if stamp and _NUMBER.fullmatch(stamp):
            return datetime.fromtimestamp(int(stamp), timezone.utc)
        if not stamp and match:
            day, month, year, hour, minute, sign, hours, minutes = match.groups(default="0")
            offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
            zone = timezone(offset)
            number = _MONTHS.index(month) + 1
            local = datetime(int(year), number, int(day), int(hour), int(minute), tzinfo=zone)
            return local.astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    found = (stamp or fields[1])[:40]
    raise VerificationError(f"{what}: CVD header: the build time is {found!r}, expected a time")


def find_info(body: Readable, family: str, *, what: str) -> CvdHeader:
    """Return what line 1 of `<family>.info` inside a database says.

    Args:
        body: the bytes after the header, from their first.
        family: the database's name, such as `daily`.
        what: the file, for errors.

    Raises:
        VerificationError: neither a tar nor a gzipped one, or the .info is missing or malformed.
    """
    start = body.read(2)
    packed = _Prefixed(start, body)
    source = GunzipStream(packed, limit=_SEARCH_LIMIT, what=what) if start == GZIP_MAGIC else packed
    stream = TarStream(source, what=what)
    for entry in stream:
        if entry.offset > _SEARCH_LIMIT:
            break
        if entry.name == f"{family}.info":
            line = stream.read(INFO_LIMIT).partition(b"\n")[0]
            return _parse_fields(line.decode("ascii", "replace").rstrip("\r"), f"{what}: {entry.name}")
    raise VerificationError(f"{what}: {family}.info is not inside, with which the header is compared")


class _Prefixed:
    """A stream with bytes put back before it."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._rest.read(size)


def check_header(header: CvdHeader, info: CvdHeader, *, what: str) -> None:
    """Compare the header with its copy inside, which the MD5 covers.

    Raises:
        VerificationError: they differ: the header was altered.
    """
    for name, found, expected in (
        ("version", header.version, info.version),
        ("build time", header.time, info.time),
        ("number of signatures", header.signatures, info.signatures),
        ("functionality level", header.level, info.level),
        ("builder", header.builder, info.builder),
        ("time in words", header.words, info.words),
    ):
        if found != expected:
            raise VerificationError(f"{what}: the header's {name} is {found}, inside it is {expected}")


def check_patch(raw: bytes, name: DatabaseName) -> None:
    """Check the start of a `.cdiff`: `ClamAV-Diff:<version>:<size>:`.

    Args:
        raw: at least its first 64 bytes, or all.

    Raises:
        VerificationError: it is none, or of another version than its name says.
    """
    match = re.match(rb"ClamAV-Diff:([0-9]{1,10}):([0-9]{1,12}):", raw)
    if not match:
        raise VerificationError(f"{name.name}: no patch: found {raw[:20]!r}, expected ClamAV-Diff:version:size:")
    if int(match[1]) != name.version:
        raise VerificationError(f"{name.name}: the patch is for version {int(match[1])}, expected {name.version}")


DNS_FIELDS: Mapping[str, int] = {"main": 1, "daily": 2, "bytecode": 7}


def dns_text(versions: Mapping[str, int], *, time: datetime, engine: str = "0.103.12", level: int = 90) -> str:
    """Return what `current.cvd.clamav.net` would answer for these databases; a mirror's `dns.txt`.

    Args:
        versions: database → version; 0 for those that are not there.
        time: of the newest database.
        engine: the ClamAV version that is called current; an old one never nags clients.
        level: the functionality level of daily.

    Returns:
        Colon-joined: engine, main, daily, seconds since 1970, 1, level, safebrowsing, bytecode (freshclam's
        `dnsquery` reads them by position).
    """
    fields = ["0"] * 8
    fields[0], fields[3], fields[4], fields[5] = engine, str(int(time.timestamp())), "1", str(level)
    for name, position in DNS_FIELDS.items():
        fields[position] = str(versions.get(name, 0))
    return ":".join(fields)
