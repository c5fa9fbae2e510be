"""Upload sessions that a run leaves to the next one: `uploads.json` in the state directory.

A blob whose sending was cut off goes on from where the registry has it, if the session's location is still known. The
location may hold a token, so that the file is for its owner alone. Nothing depends on the file: what doesn't parse is
not there, and what can't be written is sent from the start the next time.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import is_digest
from airbundle.errors import DocumentError, HostError
from airbundle.installer.files import PRIVATE_FILE, read_file, write_file
from airbundle.store.host import host_errors
from airbundle.transfer.upload_session import UploadPlace

MOST = 64
"""Most sessions that are remembered; the oldest go first."""
LONGEST = 8 * 1024
"""Most characters of a location."""

_LIMIT = 2 * MOST * LONGEST
_HEADER = {"apiVersion": "airbundle.dev/v1", "kind": "Uploads", "version": 1}
_TARGET = re.compile(r"/[\x21-\x7e]*")

logger = logging.getLogger(__name__)


class Uploads:
    """The sessions of one state directory, an `UploadRecord`. Its run holds the directory's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known = _read(path)
        self._changed = False

    def find(self, place: UploadPlace) -> str | None:
        """Return where the session was; None when nothing is known."""
        with self._lock:
            return self._known.get(place)

    def keep(self, place: UploadPlace, target: str) -> None:
        """Remember where a session is; it is on disk when this returns."""
        if len(target) > LONGEST or not _TARGET.fullmatch(target):
            self.forget(place)
            return
        with self._lock:
            if self._known.get(place) == target:
                return
            self._known.pop(place, None)  # it becomes the newest
            self._known[place] = target
            while len(self._known) > MOST:
                del self._known[next(iter(self._known))]
            self._write()

    def forget(self, place: UploadPlace) -> None:
        """Let go of a session; the file is told later, for one that has ended is refused and no harm."""
        with self._lock:
            self._changed |= self._known.pop(place, None) is not None

    def settle(self) -> None:
        """Write what was forgotten."""
        with self._lock:
            if self._changed:
                self._write()

    def _write(self) -> None:
        entries = [{**place._asdict(), "location": target} for place, target in self._known.items()]
        try:
            if entries:
                body = {**_HEADER, "uploads": entries}
                write_file(self._path, json.dumps(body, indent=1).encode() + b"\n", PRIVATE_FILE)
            else:
                with host_errors("remove", self._path):
                    self._path.unlink(missing_ok=True)
            self._changed = False
        except HostError as error:
            logger.info("upload sessions are not remembered: %s", error.problem)


@contextmanager
def remembered_uploads(path: Path) -> Iterator[Uploads]:
    """Give the record at `path` for the length of a `with` block."""
    uploads = Uploads(path)
    try:
        yield uploads
    finally:
        uploads.settle()


def _read(path: Path) -> dict[UploadPlace, str]:
    try:
        raw = read_file(path, limit=_LIMIT)
        return {} if raw is None else parse_uploads(raw)
    except (DocumentError, HostError) as error:
        logger.info("upload sessions of earlier runs are not known: %s", error.problem)
        return {}


def parse_uploads(raw: bytes) -> dict[UploadPlace, str]:
    """Read the file; an entry that is not as it should be is left out, and so is a file that isn't.

    Args:
        raw: at most a few MiB.

    Returns:
        The paths with query where sessions were, at most `MOST` of them.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict) or {name: body.get(name) for name in _HEADER} != _HEADER:
        return {}
    entries = body.get("uploads")
    found = (_entry(entry) for entry in entries[:MOST]) if isinstance(entries, list) else ()
    return dict(entry for entry in found if entry is not None)


def _entry(entry: Any) -> tuple[UploadPlace, str] | None:
    if not isinstance(entry, dict):
        return None
    origin, repository, digest, target = (entry.get(name) for name in (*UploadPlace._fields, "location"))
    if not (isinstance(origin, str) and isinstance(repository, str) and isinstance(digest, str)):
        return None
    if not is_digest(digest) or not isinstance(target, str):
        return None
    if len(target) > LONGEST or not _TARGET.fullmatch(target):
        return None
    return UploadPlace(origin, repository, digest), target
