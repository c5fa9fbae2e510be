"""A Synapse module: every file that is stored is sent to clamd first, over TCP, and refused when it is infected.

Synapse calls `check_media_file_for_spam` with each upload, and each file fetched from other servers, before anybody can
download it. Files of encrypted rooms arrive encrypted: no server can look into them (docs/messenger.md).

clamd's INSTREAM: `zINSTREAM\\0`, then pieces of a length (4 bytes, big endian) and as many bytes, ended by a length
of 0; the answer is `stream: OK\\0`, `stream: NAME FOUND\\0`, or a text that ends with `ERROR\\0`.

Needs nothing but Python and what Synapse has. Configuration, in homeserver.yaml:

    modules:
      - module: clamav_media.ClamavMedia
        config: {host: clamav, port: 3310, max_bytes: 104857600, timeout_seconds: 60, fail_closed: true}
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

_PIECE = 64 * 1024
_LONGEST_ANSWER = 4096
_FOUND = re.compile(r"stream: (?P<name>[^\x00-\x1f\x7f]{1,300}) FOUND")


class ScannerUnavailable(Exception):
    """No verdict could be had: not reached, too slow, too large, or clamd said that it failed."""


@dataclass(frozen=True)
class Settings:
    """How to reach clamd, and what to do without it.

    Attributes:
        max_bytes: files that are larger are not sent; at most clamd's StreamMaxLength.
        timeout_seconds: for all of one file, the wait for a free thread included.
        max_parallel: files at once; clamd's MaxThreads should be more.
        fail_closed: without a verdict, refuse the file (true) or let it pass, with a warning in the log (false).
    """

    host: str
    port: int = 3310
    max_bytes: int = 100 * 1024 * 1024
    timeout_seconds: float = 60.0
    max_parallel: int = 8
    fail_closed: bool = True


_BOUNDS: Mapping[str, tuple[type | tuple[type, ...], float, float]] = {
    "port": (int, 1, 65535),
    "max_bytes": (int, 1, 4 * 1024**3 - 1),
    "timeout_seconds": ((int, float), 0.1, 3600),
    "max_parallel": (int, 1, 256),
}


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Check the module's configuration.

    Raises:
        ValueError: a field is unknown, missing, or out of bounds; it says which, what was found and expected.
    """
    known = set(Settings.__dataclass_fields__)
    unknown = sorted(set(config) - known)
    if unknown:
        raise ValueError(f"clamav_media: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
    host = config.get("host")
    if not isinstance(host, str) or not host.strip():
        raise ValueError(f"clamav_media: host is {host!r}; expected the name or address of clamd")
    for name, (kind, least, most) in _BOUNDS.items():
        value = config.get(name, least)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            raise ValueError(f"clamav_media: {name} is {value!r}; expected a number from {least} to {most}")
    if not isinstance(config.get("fail_closed", True), bool):
        # A wrong value, as those above are: Synapse tells a ValueError.
        raise ValueError(f"clamav_media: fail_closed is {config['fail_closed']!r}; expected true or false")  # noqa: TRY004
    return Settings(**config)


def scan(path: str, settings: Settings, deadline: float) -> str:
    """Send a file to clamd and return the name of what it found, or "" for a clean one. Blocks.

    Args:
        path: the file.
        deadline: on `time.monotonic()`'s clock; nothing is waited for beyond it.

    Raises:
        ScannerUnavailable: there is no verdict.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > settings.max_bytes:
                raise ScannerUnavailable(f"{size} bytes are more than max_bytes, {settings.max_bytes}")
            with socket.create_connection((settings.host, settings.port), timeout=_left(deadline)) as connection:
                _send(connection, file.read, settings.max_bytes, deadline)
                return _verdict(_answer(connection, deadline))
    except OSError as error:
        raise ScannerUnavailable(f"clamd at {settings.host}:{settings.port}: {error}") from error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ScannerUnavailable("the time for one file is over")
    return left


def _send(connection: socket.socket, read: Callable[[int], bytes], limit: int, deadline: float) -> None:
    _send_all(connection, b"zINSTREAM\0", deadline)
    sent = 0
    while piece := read(_PIECE):
        sent += len(piece)
        if sent > limit:
            raise ScannerUnavailable(f"the file grew beyond max_bytes, {limit}, while it was read")
        try:
            _send_all(connection, struct.pack("!I", len(piece)) + piece, deadline)
        except (BrokenPipeError, ConnectionResetError):
            # clamd has had enough, as it does beyond StreamMaxLength, and may have said why.
            return
    _send_all(connection, struct.pack("!I", 0), deadline)


def _send_all(connection: socket.socket, data: bytes, deadline: float) -> None:
    # The timeout of sendall() is for all of the data.
    connection.settimeout(_left(deadline))
    connection.sendall(data)


def _answer(connection: socket.socket, deadline: float) -> str:
    answer = b""
    while not answer.endswith(b"\0"):
        connection.settimeout(_left(deadline))
        more = connection.recv(_LONGEST_ANSWER)
        answer += more
        if not more or len(answer) > _LONGEST_ANSWER:
            raise ScannerUnavailable(f"clamd's answer breaks off or is too long: {answer[:200]!r}")
    return answer[:-1].decode("utf-8", "replace").strip()


def _verdict(answer: str) -> str:
    if answer == "stream: OK":
        return ""
    found = _FOUND.fullmatch(answer)
    if found is None:
        raise ScannerUnavailable(f"clamd says {answer[:200]!r}")
    return found["name"]


class ClamavMedia:
    """What Synapse loads. Its exceptions and threads come from Synapse and Twisted, which only a Synapse has."""

    def __init__(self, config: Settings, api: Any) -> None:
        self._settings = config
        self._api = api
        self._synapse = importlib.import_module("synapse.module_api")
        self._errors = importlib.import_module("synapse.module_api.errors")
        self._pool = self._started_pool(config.max_parallel)
        metrics = importlib.import_module("prometheus_client")
        self._scans = metrics.Counter("messenger_media_scans", "Files sent to ClamAV, by result.", ["result"])
        for result in ("clean", "infected", "unavailable"):
            self._scans.labels(result)
        api.register_spam_checker_callbacks(check_media_file_for_spam=self.check_media_file_for_spam)
        logger.info("every stored file goes through clamd at %s:%d", config.host, config.port)

    @staticmethod
    def parse_config(config: Mapping[str, Any]) -> Settings:
        """Read the module's configuration; Synapse shows the ValueError."""
        return read_settings(config)

    async def check_media_file_for_spam(self, file_wrapper: Any, file_info: Any) -> Any:
        """Return NOT_SPAM for a clean file, Codes.FORBIDDEN for an infected one.

        Raises:
            SynapseError: 503 when there is no verdict and `fail_closed` is set: the client may try again.
        """
        if file_info.thumbnail is not None:
            # Made by Synapse itself, from a file that went through here.
            return self._synapse.NOT_SPAM
        deadline = time.monotonic() + self._settings.timeout_seconds
        try:
            found = await self._api.defer_to_threadpool(self._pool, scan, file_wrapper.path, self._settings, deadline)
        except ScannerUnavailable as error:
            self._scans.labels("unavailable").inc()
            return self._without_verdict(file_info, error)
        self._scans.labels("infected" if found else "clean").inc()
        if found:
            logger.warning("refused media %s: %s", file_info.file_id, found)
            return self._errors.Codes.FORBIDDEN
        return self._synapse.NOT_SPAM

    def _without_verdict(self, file_info: Any, error: ScannerUnavailable) -> Any:
        if not self._settings.fail_closed:
            logger.warning("media %s is stored unscanned: %s", file_info.file_id, error)
            return self._synapse.NOT_SPAM
        logger.error("media %s is refused, as it can't be scanned: %s", file_info.file_id, error)
        raise self._errors.SynapseError(503, "The file could not be scanned for viruses; try again later")

    @staticmethod
    def _started_pool(threads: int) -> Any:
        # Of its own: waiting for clamd must not use up the threads that Synapse needs for other things.
        pool = importlib.import_module("twisted.python.threadpool").ThreadPool(0, threads, "clamav_media")
        reactor: Any = importlib.import_module("twisted.internet.reactor")
        reactor.callWhenRunning(pool.start)
        reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
        return pool
