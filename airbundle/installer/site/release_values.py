"""The values that a release was deployed with, kept: the site's files may have changed since, or be gone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from airbundle.bundle.values_file import ValuesFile, parse_values
from airbundle.errors import DocumentError
from airbundle.installer.site.site_state import SiteState


def keep_values(state: SiteState, values: Sequence[ValuesFile]) -> str:
    """Keep values as helm was given them, durably and for the owner alone; return their digest.

    Raises:
        HostError: they can't be written.
    """
    body = [{"name": each.name, "text": each.text} for each in values]
    return state.keep_manifest(json.dumps(body).encode())


def kept_values(state: SiteState, digest: str) -> list[ValuesFile]:
    """Return values that were kept, in order.

    Raises:
        DocumentError: they are gone, or were changed.
    """
    raw = state.read_manifest(digest)
    try:
        body = json.loads(raw)
        if not isinstance(body, list):
            raise TypeError("it is no list")
        given = [(str(each["name"]), str(each["text"])) for each in body]
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"{digest}: does not parse as values that were kept: {error}") from None
    return [ValuesFile(name, text, parse_values(text, name)[0]) for name, text in given]
