"""The Link header (RFC 8288), as far as pagination needs it: the target of `rel="next"`."""

from __future__ import annotations

import re

from airbundle.transfer.wire import Headers

HEADER_LIMIT = 16 * 1024

# Each expression begins with a character of its own and has no part that can match in two ways: linear in time.
_TARGET = re.compile(r"[\s,]*<([^<>\s]+)>")
_PARAMETER = re.compile(r"\s*;\s*([^\s=;,\"]+)(?:\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]*)))?")


def next_link(headers: Headers) -> str | None:
    """Return the URL of the next page, relative or absolute; None when there is none."""
    text, position = headers.get("link", "")[:HEADER_LIMIT], 0
    while True:
        target = _TARGET.match(text, position)
        if target is None:
            return None
        position = target.end()
        parameter = _PARAMETER.match(text, position)
        while parameter is not None:
            if parameter[1].lower() == "rel" and "next" in (parameter[2] or parameter[3] or "").lower().split():
                return target[1]
            position = parameter.end()
            parameter = _PARAMETER.match(text, position)
