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
RENDERS = "renders"
"""Directory of rendered charts (`builder.render_cache`)."""
RENDERS_LIMIT = 1 << 30
"""Most bytes of all rendered charts; those used longest ago go first."""
CONFIRMED = "confirmed"
"""Directory of what registries said of images (`builder.confirm_cache`): good for a day, some hundred bytes each."""
CONFIRMED_LIMIT = 8 << 20


def tidy(cache: Cache) -> int:
    """Drop what was not used for `UNUSED_DAYS`; return how many bytes that freed.

    Looking at a large cache takes a moment, so it is done once a day. A cache that can't be changed stays as it is.
    """
    mark = cache.root / _MARK
    try:
        if not cache.root.is_dir() or time.time() - _time_of(mark) < _DAY:
            return 0
        mark.touch(mode=0o600)
        freed = drop_oldest(cache.root / RENDERS, older_than=UNUSED_DAYS * _DAY, most=RENDERS_LIMIT)
        freed += drop_oldest(cache.root / CONFIRMED, older_than=2 * _DAY, most=CONFIRMED_LIMIT)
        return freed + cache.prune(UNUSED_DAYS * _DAY)
    except (OSError, HostError) as error:  # a cache may be one that others fill
        _log.info("the cache is not tidied: %s", error)
        return 0


def drop_oldest(directory: Path, *, older_than: float, most: int) -> int:
    """Drop the files of a directory that were not touched for long, then the oldest of what is too much.

    Args:
        directory: whose files can all be made again.
        older_than: seconds.
        most: bytes that may stay.

    Returns:
        How many bytes that freed.

    Raises:
        OSError: something can't be removed.
    """
    if not directory.is_dir():
        return 0
    limit = time.time() - older_than
    freed = kept = 0
    files = [(path, path.lstat()) for path in directory.iterdir()]
    for path, status in sorted(files, key=lambda file: -file[1].st_mtime):
        if status.st_mtime < limit or kept + status.st_size > most:
            path.unlink(missing_ok=True)
            freed += status.st_size
        else:
            kept += status.st_size
    return freed


def _time_of(mark: Path) -> float:
    try:
        return mark.stat().st_mtime
    except FileNotFoundError:
        return 0.0
