"""Range and conditional requests (RFC 9110 §13, §14): what part of a representation is wanted, if any."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timezone
from email.utils import formatdate, parsedate_to_datetime

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Unsatisfiable(Exception):
    """The range lies beyond the end: 416."""


@dataclass(frozen=True)
class Span:
    """Bytes from `start` on, `length` of them."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the value of Content-Range for this part of `size` bytes."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def parse_range(header: str, size: int) -> Span | None:
    """Read a Range header.

    Args:
        header: its value; empty when there is none.
        size: of the whole, in bytes.

    Returns:
        The part; None for the whole: no range, another unit, several ranges or a malformed value, all of which a server
        may ignore (RFC 9110 §14.2).

    Raises:
        Unsatisfiable: no byte of it exists.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
        length = end - start + 1
    if length <= 0:
        raise Unsatisfiable
    return Span(start, length)


def http_date(seconds: int) -> str:
    """Return a time (since the epoch) as HTTP writes it."""
    return formatdate(seconds, usegmt=True)


def parse_http_date(text: str) -> int | None:
    """Return seconds since the epoch, or None for what is no date."""
    try:
        date = parsedate_to_datetime(text)
        # An HTTP date is in GMT, whatever it fails to say.
        return int((date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def not_modified(if_none_match: str, if_modified_since: str, *, etag: str, modified: int | None) -> bool:
    """Tell whether the client has it already (RFC 9110 §13.2.2): entity tags decide, where there are any.

    Args:
        if_none_match, if_modified_since: headers; empty when absent.
        etag: ours, in quotes.
        modified: our Last-Modified in seconds since the epoch, if any.
    """
    if if_none_match:
        return if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)
    since = parse_http_date(if_modified_since) if if_modified_since else None
    return since is not None and modified is not None and modified <= since


def range_applies(if_range: str, *, etag: str, modified: int | None) -> bool:
    """Tell whether a Range still means what the client thinks (RFC 9110 §13.1.5): strong comparison, exact date."""
    if not if_range:
        return True
    value = if_range.strip()
    if value.startswith('"'):
        return value == etag
    return modified is not None and not value.startswith("W/") and parse_http_date(value) == modified
