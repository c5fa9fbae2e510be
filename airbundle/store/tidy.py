"""Tidying the cache: once a day, what nothing has used for half a year goes."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from airbundle.errors import HostError
from airbundle.store.cache import Cache

_log = logging.getLogger(__name__)
_DAY = 24 * 3600.0
UNUSED_DAYS = 180
"""More than a quarter: what a lock pins may be nowhere else (an engine's images, databases), and releases are rare."""
_MARK = "tidied"


def tidy(cache: Cache) -> int:
    """Drop what was not used for `UNUSED_DAYS`; return how many bytes that freed.

    Looking at a large cache takes a moment, so it is done once a day. A cache that can't be changed stays as it is.
    """
    mark = cache.root / _MARK
    try:
        if not cache.root.is_dir() or time.time() - _time_of(mark) < _DAY:
            return 0
        mark.touch(mode=0o600)
        return cache.prune(UNUSED_DAYS * _DAY)
    except (OSError, HostError) as error:  # a cache may be one that others fill
        _log.info("the cache is not tidied: %s", error)
        return 0


def _time_of(mark: Path) -> float:
    try:
        return mark.stat().st_mtime
    except FileNotFoundError:
        return 0.0
