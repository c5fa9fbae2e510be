"""The journal: a durable record of steps, begun and done (design §2, §7).

`journal.jsonl` has one JSON object a line. The first is a header with the version; each further one is an entry, on
disk before the step it tells of goes on. A line that was cut off by a crash is the last one, and is dropped.

```
{"apiVersion":"airbundle.dev/v1","kind":"Journal","version":1}
{"event":"begin","run":"…","step":"copy","time":"…","undo":[{"file":"/var/lib/airbundle/bundles/x.airbundle"}]}
{"event":"done","run":"…","step":"copy","time":"…","info":{"bytes":123}}
```

`undo` says how to take away what the step makes, and is written before the step makes it: `file` and `directory`
(paths), `service` and `container` (names). `airbundle uninstall` reads it. A site's own journal has kinds of its own
(`installer.site.undo`).
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airbundle.errors import DocumentError
from airbundle.installer.files import FILE, read_file, sync_directory
from airbundle.store.host import host_errors

VERSION = 1
_HEADER = {"apiVersion": "airbundle.dev/v1", "kind": "Journal", "version": VERSION}
_LINE_LIMIT = 1024 * 1024
_LIMIT = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        run: which run of a command wrote it.
        step: what it is about, such as `copy` or `service`; the command's own name for its begin and end.
        event: `begin`, `done`, `failed` or `note`.
        time: RFC 3339, UTC.
        info: facts of the step.
        undo: what to take away, each with one key of `file`, `directory`, `service` and `container`.
    """

    run: str
    step: str
    event: str
    time: str
    info: Mapping[str, Any] = field(default_factory=dict)
    undo: tuple[Mapping[str, str], ...] = ()


class Journal:
    """The journal of one state directory, for one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = secrets.token_hex(8)
        self._writing = threading.Lock()  # steps that run at the same time share it

    def read(self) -> list[Entry]:
        """Return all entries, oldest first; none where there is no journal.

        Raises:
            DocumentError: a line does not parse (the last one excepted), or a newer airbundle wrote it.
        """
        raw = read_file(self.path, limit=_LIMIT)
        return [] if raw is None else _parse(raw, str(self.path))

    def undo(self) -> list[Mapping[str, str]]:
        """Return how to take away all that was made, newest first, each once."""
        return [action for _, action in self.made()]

    def made(self) -> list[tuple[str, Mapping[str, str]]]:
        """Return the same, each with the step that made it last."""
        found: dict[str, tuple[str, Mapping[str, str]]] = {}
        for entry in self.read():
            for action in entry.undo:
                key = json.dumps(action, sort_keys=True)
                # What was made again later is taken away earlier.
                found.pop(key, None)
                found[key] = entry.step, action
        return list(reversed(found.values()))

    def note(
        self,
        step: str,
        event: str = "note",
        *,
        info: Mapping[str, Any] | None = None,
        undo: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Add an entry; it is on disk when this returns.

        Raises:
            HostError: it can't be written.
        """
        body: dict[str, Any] = {"run": self.run, "step": step, "event": event, "time": timestamp()}
        if info:
            body["info"] = dict(info)
        if undo:
            body["undo"] = [dict(action) for action in undo]
        with self._writing, host_errors("write", self.path):
            self._append(json.dumps(body, sort_keys=True, ensure_ascii=False).encode() + b"\n")

    @contextmanager
    def step(self, name: str, *, undo: Sequence[Mapping[str, str]] = (), **info: Any) -> Iterator[dict[str, Any]]:
        """Record `begin` now and `done` or `failed` when the block ends.

        Args:
            name: of the step.
            undo: how to take away what the block makes.
            info: facts known at the beginning.

        Yields:
            An empty dict; what the block puts in is written with `done`.
        """
        self.note(name, "begin", info=info, undo=undo)
        result: dict[str, Any] = {}
        try:
            yield result
        except BaseException as error:
            self._failed(name, error)
            raise
        self.note(name, "done", info=result)

    def _failed(self, name: str, error: BaseException) -> None:
        try:
            self.note(name, "failed", info={"error": f"{type(error).__name__}: {error}"})
        except Exception as second:  # noqa: BLE001 - the step's own error is the one to tell
            logger.warning("%s: the failure of step %s could not be recorded: %s", self.path, name, second)

    def _append(self, line: bytes) -> None:
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)
        try:
            os.fchmod(descriptor, FILE)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                _drop_torn(descriptor, size)
                size = os.fstat(descriptor).st_size
            if not size:
                line = json.dumps(_HEADER).encode() + b"\n" + line
            # A full disk may take half a line: the next write says why, and the half is dropped later.
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_directory(self.path.parent)


def _drop_torn(descriptor: int, size: int) -> None:
    """Cut off the last line, which a crash left without its end."""
    start = max(0, size - _LINE_LIMIT)
    end = os.pread(descriptor, size - start, start).rfind(b"\n")
    os.ftruncate(descriptor, start + end + 1 if end >= 0 else 0)


def _parse(raw: bytes, where: str) -> list[Entry]:
    lines = raw.split(b"\n")
    # What follows the last line end was cut off by a crash; the step it tells of had not begun.
    lines.pop()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            body = json.loads(line)
            if number == 1:
                _check_header(body, where)
                continue
            undo = tuple({str(key): str(value) for key, value in action.items()} for action in body.get("undo", ()))
            run, step, event, time = (str(body[name]) for name in ("run", "step", "event", "time"))
            entries.append(Entry(run, step, event, time, dict(body.get("info", {})), undo))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DocumentError(
                f"{where}:{number}: does not parse as a line of a journal: {error}",
                hint="restore it from a backup; without it, uninstall knows only what is in the state directory",
            ) from None
    return entries


def _check_header(body: Mapping[str, Any], where: str) -> None:
    version = body["version"]
    if body["kind"] != "Journal" or not isinstance(version, int):
        raise ValueError("the first line is no header")
    if version > VERSION:
        raise DocumentError(
            f"{where}: has version {version}, expected {VERSION} at most",
            hint="a newer airbundle manages this site: run that one (`bin/airbundle` beside this file)",
        )


def timestamp() -> str:
    """Return this moment as records have it: RFC 3339, UTC, seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
