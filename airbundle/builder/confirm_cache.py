"""What registries said of images, kept for a while: one small file for each question, below airbundle's cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from airbundle.bundle.digest import hex_of, is_digest, sha256
from airbundle.bundle.oci import canonical_json
from airbundle.store.host import private_directory, read_kept, write_atomically
from airbundle.store.tidy import CONFIRMED

_log = logging.getLogger(__name__)

State = Literal["there", "absent", "unknown"]
_HOUR = 3600.0
LIFETIMES: Mapping[str, float] = {"there": 24 * _HOUR, "absent": _HOUR}
"""Seconds that an answer is good for."""
_ENTRY_LIMIT = 8192
_PROBLEM_LIMIT = 1000
_FORM = 1
"""Part of each question: another number whenever an entry holds something else."""


@dataclass(frozen=True)
class Confirmed:
    """What is known of an image.

    Attributes:
        state: `absent`: its registry says that there is no such image; `unknown`: it could not be asked, wants a
            login, or did not make itself clear.
        digest: what the reference points to now; empty unless `there`.
        size: bytes of config and layers for the platforms that count; None where that could not be learnt.
        problem: why it is not `there`, or has no size.
    """

    state: State
    digest: str = ""
    size: int | None = None
    problem: str = ""


class Answers:
    """Answers on disk; for many threads and processes. A cache that can't be written or read costs only time.

    Args:
        root: of airbundle's cache.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._directory = root / CONFIRMED
        self._clock = clock

    def read(self, question: object) -> Confirmed | None:
        """Return the answer to a question (JSON values), or None without a fresh one."""
        try:
            return self._fresh(json.loads(read_kept(self._path(question), _ENTRY_LIMIT)))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _fresh(self, body: Any) -> Confirmed | None:
        state, digest, size, problem = body["state"], body["digest"], body["size"], body["problem"]
        age = self._clock() - float(body["asked"])
        whole = size is None or (type(size) is int and size >= 0)
        if not (state in LIFETIMES and whole and isinstance(problem, str)) or not 0 <= age < LIFETIMES[state]:
            return None
        if not (is_digest(digest) if state == "there" else digest == ""):
            return None
        return Confirmed(state, digest, size, problem)

    def keep(self, question: object, answer: Confirmed) -> None:
        """Keep an answer; what is unknown is asked again each time."""
        if answer.state not in LIFETIMES:
            return
        body = {
            "state": answer.state,
            "digest": answer.digest,
            "size": answer.size,
            "problem": answer.problem[:_PROBLEM_LIMIT],
            "asked": self._clock(),
        }
        path = self._path(question)
        try:
            private_directory(self._root)
            private_directory(self._directory)
            write_atomically(path, json.dumps(body).encode(), mode=0o600)
        except OSError as error:
            _log.info("what a registry said is not kept: %s", error)

    def _path(self, question: object) -> Path:
        return self._directory / hex_of(sha256(canonical_json([_FORM, question])))
