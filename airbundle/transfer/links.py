"""The Link header (RFC 8288), as far as pagination needs it: the target of `rel="next"`."""

from __future__ import annotations

import re

from airbundle.transfer.wire import Headers

_LINK = re.compile(r'\s*<([^<>\s]{1,8192})>((?:\s*;\s*[^\s=;,"]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]*))?)*)\s*(?:,|$)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


def next_link(headers: Headers) -> str | None:
    """Return the URL of the next page, relative or absolute; None when there is none."""
    text, position = headers.get("link", ""), 0
    while position < len(text):
        link = _LINK.match(text, position)
        if link is None:
            return None
        rel = _REL.search(link[2])
        if rel is not None and "next" in (rel[1] or rel[2] or "").lower().split():
            return link[1]
        position = link.end()
    return None
