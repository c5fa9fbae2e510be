"""`/clamav/`: a private mirror for freshclam (ClamAV manual, "Private Local Mirrors").

What freshclam needs, each found by trying: a Last-Modified that is not older than the database's own build time, or its
conditional request is answered 304 for ever; 404 for a database that isn't there, because 403 makes it stay away for a
day; byte ranges, because it reads the header first.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airbundle.bundle.clamav import DNS_FIELDS, dns_text, parse_name
from airbundle.bundle.clamav_artifact import CREATED, KIND, VERSION
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import parse_time
from airbundle.errors import VerificationError
from airbundle.server.deliver import Item
from airbundle.server.library import Library
from airbundle.server.shelf import Found, Shelf, blob_item, layers_by_title, made_item, roots_of
from airbundle.server.web import TEXT

DNS = "dns.txt"


def build_clamav(library: Library) -> Shelf:
    """Return what `/clamav/` serves; of two databases of one name the one with the higher version."""
    newest_first = sorted(roots_of(library, KIND), key=_version, reverse=True)
    shelf: dict[str, Item] = {}
    versions: dict[str, int] = {}
    for found in newest_first:
        for name, layer in layers_by_title(found):
            shelf.setdefault(name, blob_item(layer, _built(layer) or found.created))
            parsed = parse_name(name)
            if parsed is not None and parsed.kind == "database" and parsed.family in DNS_FIELDS:
                versions.setdefault(parsed.family, _version(found))
    if versions:
        newest = max(item.modified or 0 for item in shelf.values())
        text = dns_text(versions, time=datetime.fromtimestamp(newest, timezone.utc))
        shelf[DNS] = made_item((text + "\n").encode(), TEXT, newest)
    return shelf


def _version(found: Found) -> int:
    text = found.manifest.annotations.get(VERSION, "")
    # Custom signatures have a digest for a version: among those the newest bundle comes first.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _built(layer: Descriptor) -> int | None:
    """Return the time inside the database's header, which the builder has read, in seconds since the epoch."""
    try:
        return int(parse_time(layer.annotations[CREATED]).timestamp())
    except (KeyError, VerificationError):
        return None
