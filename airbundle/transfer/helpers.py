"""Credential helpers: `docker-credential-NAME get`, by docker's protocol (docker/docker-credential-helpers)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Optional

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TIMEOUT = 60.0
_LIMIT = 1024 * 1024
_KEPT = 300.0
"""Seconds that an answer is used again: helpers of clouds give tokens that end, and starting one takes its time."""

Pair = tuple[str, str]


class Helpers:
    """Asks helpers and keeps their answers for a while. A helper that fails counts as one that knows nothing."""

    def __init__(self, environ: Mapping[str, str], tell: Callable[[str], None]) -> None:
        self._environ = dict(environ)
        self._tell = tell
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], tuple[float, Optional[Pair]]] = {}
        self._told: set[str] = set()

    def get(self, name: str, server: str) -> Pair | None:
        """Return user name and secret that `docker-credential-NAME` has for `server`, or None."""
        with self._lock:
            since, pair = self._answers.get((name, server), (0.0, None))
            if not since or time.monotonic() - since > _KEPT:
                pair = self._passed_over(name, server)
                self._answers[name, server] = (time.monotonic(), pair)
            return pair

    def _passed_over(self, name: str, server: str) -> Pair | None:
        try:
            return _ask(name, server, self._environ)
        except _Failed as failed:
            if name not in self._told:
                self._told.add(name)
                self._tell(f"credential helper docker-credential-{name}: {failed}; going on without it")
            return None


class _Failed(Exception):
    """A helper does not work. The text holds nothing that it printed, for that may be a secret."""


def _ask(name: str, server: str, environ: Mapping[str, str]) -> Pair | None:
    path = shutil.which(f"docker-credential-{name}", path=environ.get("PATH")) if _NAME.fullmatch(name) else None
    if path is None:
        raise _Failed("there is no such program on PATH")
    try:
        done = subprocess.run(
            [path, "get"], input=server.encode(), capture_output=True, env=environ, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise _Failed(f"no answer in {_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise _Failed(error.strerror or "can't be run") from None
    if done.returncode:
        if b"credentials not found" in done.stdout.lower() + done.stderr.lower():
            return None
        raise _Failed(f"ended with {done.returncode}")
    pair = _parse(done.stdout)
    if pair is None:
        raise _Failed("its answer has no Username and Secret")
    return pair


def _parse(raw: bytes) -> Pair | None:
    try:
        body = json.loads(raw[:_LIMIT])
        username, secret = body["Username"], body["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(username, str) or not isinstance(secret, str) or not username or not secret:
        return None
    return username, secret
