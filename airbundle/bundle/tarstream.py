"""Foreign tar archives, read as a stream: charts, `docker save`, `oci-archive`.

Only what those contain is understood: ustar, GNU long names and base-256 sizes, and the pax records `path`,
`linkpath` and `size`. Everything is bounded, and what is unclear is refused (POSIX.1-2018 pax; GNU tar manual,
"Basic Tar Format"). `tarfile` is not used: older Pythons read unbounded headers (CVE-2024-6232, CVE-2025-8194).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from airbundle.bundle.gzipstream import Readable
from airbundle.errors import VerificationError

BLOCK = 512
_CHUNK = 1024 * 1024
_HEADER_LIMIT = 1024 * 1024  # of one pax header or long name in bytes, as in Go's archive/tar
_ENTRY_LIMIT = 200_000
_NAME_LIMIT = 4096
_LARGEST = 1 << 53
_RECORD_LENGTH = re.compile(rb"[1-9][0-9]{0,7} ")
_DECIMAL = re.compile(r"[0-9]{1,16}")
_OCTAL = re.compile(rb"[0-7]{1,12}")

Kind = Literal["file", "directory", "symlink", "hardlink", "other"]

_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "directory",
}
_WITHOUT_DATA = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})


@dataclass(frozen=True)
class TarEntry:
    """One member.

    Attributes:
        name: as it is written; see `safe_name`.
        size: of its data in bytes.
        offset: where its data begins, in bytes from the start of the stream.
        link: what a link points to.
    """

    name: str
    kind: Kind
    size: int
    offset: int
    link: str = ""


class TarStream:
    """Iterates over the members of a tar; the data of the current one can be read until the next is asked for.

    Args:
        source: the stream, from its first byte.
        what: the thing, for errors.
        skip: jumps over so many bytes of `source`, where it can do better than reading them; given with `total`.
        total: how many bytes `source` has, where that is known: jumping can't run past the end then.
    """

    def __init__(
        self, source: Readable, *, what: str, skip: Callable[[int], object] | None = None, total: int | None = None
    ) -> None:
        self._source = source
        self._what = what
        self._skip = skip
        self._total = total
        self._position = 0
        self._data_left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        """Yield the members up to the end marker.

        Raises:
            VerificationError: not a tar, cut off, or written in a way that this reader does not take.
        """
        for _ in range(_ENTRY_LIMIT):
            entry = self._next()
            if entry is None:
                return
            yield entry
        raise self._wrong(f"has more than {_ENTRY_LIMIT} members")

    def pieces(self) -> Iterator[bytes]:
        """Yield the data of the current member that is still unread, in pieces of up to 1 MiB."""
        while self._data_left:
            data = self._source.read(min(self._data_left, _CHUNK))
            if not data:
                raise self._cut_off()
            self._position += len(data)
            self._data_left -= len(data)
            yield data

    def read(self, limit: int) -> bytes:
        """Return the data of the current member, which must not be larger than `limit` bytes."""
        if self._data_left > limit:
            raise self._wrong(f"a member of {self._data_left} bytes is larger than the {limit} allowed")
        return b"".join(self.pieces())

    def _next(self) -> TarEntry | None:
        records: dict[str, str] = {}
        while True:
            self._leave()
            block = self._exactly(BLOCK)
            if block == bytes(BLOCK):
                return None
            self._check_sum(block)
            size, flag = self._number(block[124:136]), block[156:157]
            self._begin(size)
            if flag == b"x":
                records = {**records, **self._pax(self.read(_HEADER_LIMIT))}
            elif flag == b"g":
                if self._pax(self.read(_HEADER_LIMIT)).keys() & {"path", "linkpath", "size"}:
                    raise self._wrong("a global header names or sizes members")
            elif flag in (b"L", b"K"):
                name = self._text(self.read(_HEADER_LIMIT).partition(b"\0")[0])
                records = {**records, ("path" if flag == b"L" else "linkpath"): name}
            else:
                return self._entry(block, size, flag, records)

    def _entry(self, block: bytes, size: int, flag: bytes, records: dict[str, str]) -> TarEntry:
        kind = _KINDS.get(flag, "other")
        name = records.get("path") or self._header_name(block)
        if kind == "file" and name.endswith("/"):
            kind = "directory"  # as in the oldest tars
        if "size" in records:
            if not _DECIMAL.fullmatch(records["size"]):
                raise self._wrong(f"{name[:100]!r}: the size {records['size'][:20]!r} is no number")
            size = int(records["size"])
        if flag in _WITHOUT_DATA or kind == "directory":
            size = 0  # whatever the header says
        self._begin(size)
        if len(name) > _NAME_LIMIT:
            raise self._wrong("a name is too long")
        return TarEntry(
            name, kind, size, self._position, records.get("linkpath") or self._text(block[157:257].partition(b"\0")[0])
        )

    def _header_name(self, block: bytes) -> str:
        name = block[:100].partition(b"\0")[0]
        prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
        return self._text(prefix + b"/" + name if prefix else name)

    def _begin(self, size: int) -> None:
        if not 0 <= size < _LARGEST:
            raise self._wrong(f"a member claims {size} bytes")
        self._data_left = size
        self._padding = -size % BLOCK

    def _leave(self) -> None:
        """Go to the header after the current member."""
        rest = self._data_left + self._padding
        if self._total is not None and self._position + rest > self._total:
            raise self._cut_off()
        if self._skip is not None and self._total is not None:
            self._skip(rest)
            self._position += rest
        else:
            for _ in self.pieces():
                pass
            self._exactly(self._padding)
        self._data_left = self._padding = 0

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._source.read(size - len(data))
            if not more:
                raise self._cut_off()
            data += more
        self._position += size
        return data

    def _check_sum(self, block: bytes) -> None:
        plain = block[:148] + b" " * 8 + block[156:]
        signed = sum(plain) - 256 * sum(byte > 127 for byte in plain)  # old writers added signed characters
        if self._number(block[148:156]) not in (sum(plain), signed):
            raise self._wrong("a header's checksum is wrong; it is no tar archive, or damaged")

    def _number(self, field: bytes) -> int:
        if field[0] & 0x80:  # GNU's base-256; the sign bit is the next one
            if field[0] != 0x80:
                raise self._wrong("a header holds a negative or absurd number")
            return int.from_bytes(field[1:], "big")
        digits = field.strip(b" \0")
        if digits and not _OCTAL.fullmatch(digits):
            raise self._wrong(f"a header holds {bytes(digits)!r} for a number; it is no tar archive, or damaged")
        return int(digits or b"0", 8)

    def _pax(self, data: bytes) -> dict[str, str]:
        """Parse pax records `<length> <key>=<value>\\n`."""
        records: dict[str, str] = {}
        position = 0
        while position < len(data):
            match = _RECORD_LENGTH.match(data, position)
            end = position + int(match.group()) if match else 0
            if match is None or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
                raise self._wrong("a pax header is malformed")
            key, equals, value = data[match.end() : end - 1].partition(b"=")
            name = self._text(key)
            if not equals or name.startswith("GNU.sparse"):
                raise self._wrong("a sparse member" if equals else "a pax header is malformed")
            if name in ("path", "linkpath", "size"):
                records[name] = self._text(value)
            position = end
        return records

    def _text(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._wrong(f"the name {data[:100]!r} is not UTF-8") from None

    def _wrong(self, problem: str) -> VerificationError:
        return VerificationError(f"{self._what}: byte {self._position} of the archive: {problem}")

    def _cut_off(self) -> VerificationError:
        return VerificationError(f"{self._what}: the archive is cut off at byte {self._position}")


def safe_name(name: str, *, what: str) -> str:
    """Return a member's name as a plain relative path, without `./` and a trailing slash; `` for the root itself.

    Raises:
        VerificationError: absolute, with `..`, empty parts, backslashes or control characters.
    """
    parts = [part for part in name.rstrip("/").split("/") if part != "."]
    bad = name.startswith("/") or any(part in ("", "..") for part in parts)
    if (parts and bad) or "\\" in name or any(ord(character) < 32 for character in name):
        raise VerificationError(f"{what}: the member {name[:200]!r} has a name that could lead outside")
    return "/".join(parts)


def linked_name(entry: TarEntry, *, what: str) -> str:
    """Return the plain path of the member a link points to.

    Raises:
        VerificationError: it points outside of the archive.
    """
    if entry.kind == "hardlink":
        return safe_name(entry.link, what=what)
    parts = safe_name(entry.name, what=what).split("/")[:-1]
    for part in entry.link.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
        elif part == ".." or entry.link.startswith("/"):
            raise VerificationError(f"{what}: the member {entry.name!r} links outside, to {entry.link[:200]!r}")
    return safe_name("/".join(parts), what=what)
