"""The tar frame of a bundle: fixed ustar headers, pax records for alignment and size, and where each member lies.

Nothing here reads a tar. A frame is computed from name, size and position, and the reader compares the bytes of the
file with it; so there is one way to write a member, and no parser to fool (docs/format.md, "Members").
POSIX.1-2018, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from airbundle.errors import VerificationError

BLOCK = 512
ALIGNMENT = 4096
ALIGNED_FROM = 64 * 1024
BLOBS = "blobs/sha256/"
END = bytes(2 * BLOCK)
"""The end marker of the archive."""

LARGEST_OCTAL = 8**11 - 1
"""Largest size in bytes that a ustar header can hold; above it the pax record `size` counts."""

_PAX_NAME = "././@PaxHeader"
_FILLER = "."


class Member(NamedTuple):
    """A file in the archive. All in bytes: its size, where its frame begins, where its data begins."""

    name: str
    size: int
    start: int
    offset: int

    @property
    def digest(self) -> str:
        """The digest of a blob's member; its name ends with it."""
        return "sha256:" + self.name[len(BLOBS) :]

    @property
    def end(self) -> int:
        """Where the next frame begins: after the data and its padding to a whole block."""
        return self.offset + padded(self.size)


def padded(size: int) -> int:
    """Return `size` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def place(sizes: Iterable[tuple[str, int]], start: int = 0) -> Iterator[Member]:
    """Yield where each member lies.

    Args:
        sizes: name and size in bytes of each, in file order.
        start: where the first frame begins; a multiple of 512.
    """
    for name, size in sizes:
        member = Member(name, size, start, start + frame_size(start, size, blob=name.startswith(BLOBS)))
        yield member
        start = member.end


def frame_size(start: int, size: int, *, blob: bool) -> int:
    """Return the bytes between the beginning of a frame at `start` and its data, which has `size` bytes."""
    if not blob or size < ALIGNED_FROM:
        return BLOCK
    if size <= LARGEST_OCTAL and (start + BLOCK) % ALIGNMENT == 0:
        return BLOCK
    # A pax header, at least one block of records, and the plain header; then up to the next boundary.
    smallest = start + 3 * BLOCK
    return -(-smallest // ALIGNMENT) * ALIGNMENT - start


def frame(member: Member) -> bytes:
    """Return the bytes from the member's start to its data: a pax header where one is needed, and the ustar header."""
    room = member.offset - member.start - BLOCK
    big = member.size > LARGEST_OCTAL
    plain = header(member.name, 0 if big else member.size)
    if not room:
        return plain
    records = _record("size", str(member.size)) if big else b""
    records += _comment(room - BLOCK - len(records))
    return header(_PAX_NAME, len(records), b"x") + records + plain


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """Return one ustar header: mode 0644, no owner, time 0.

    Args:
        name: at most 100 ASCII characters.
        size: of the data, in bytes, at most `LARGEST_OCTAL`.
        kind: typeflag: `0` a file, `x` a pax header.
    """
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"00000000000\0",
        b"        ",
        kind,
        bytes(100),
        b"ustar\00000",
        bytes(64),
        b"0000000\0",
        b"0000000\0",
        bytes(167),
    )
    block = b"".join(fields)
    if len(block) != BLOCK:
        raise ValueError(f"{name!r} of {size} bytes does not fit a ustar header")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def parse_header(block: bytes, name: str) -> int:
    """Return the size that a plain header of `name` holds; every other byte of it is fixed.

    Raises:
        VerificationError: it is not the header that airbundle writes for `name`.
    """
    digits = block[124:135]
    try:
        if block == header(name, int(digits, 8)):
            return int(digits, 8)
    except ValueError:
        pass
    raise VerificationError(
        f"header of {name}: the bytes are not those of a bundle",
        hint="the file is damaged, or it is no airbundle bundle",
    )


def _comment(length: int) -> bytes:
    start = f"{length} comment="
    return (start + _FILLER * (length - len(start) - 1) + "\n").encode()


def _record(key: str, value: str) -> bytes:
    rest = len(f" {key}={value}\n")
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return f"{length} {key}={value}\n".encode()
