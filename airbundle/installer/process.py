"""The server as a process of its own, on hosts without systemd: found again by its pid and start time.

One that was started by a run which was killed before it could write that down is found by its command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from airbundle.errors import SiteError
from airbundle.installer.embedded import CONFIG
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.process_mark import started
from airbundle.installer.service import Service, Start
from airbundle.store.host import host_errors
from airbundle.store.verified import boot_id
from airbundle.transfer.listeners import own_processes

_RECORD = "server.json"
_LOG = "server.log"
_RECORD_LIMIT = 64 * 1024
_LOG_SHOWN = 4096
_LOG_LIMIT = 16 * 1024 * 1024
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
# The server lives long: no passphrase or token of the shell that started it goes along.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


@dataclass(frozen=True)
class _Record:
    """A process that was started: its pid means it only with the same start time and boot."""

    pid: int
    started: int
    boot: str
    start: str
    log_offset: int = 0


class Process(Service):
    """A detached process. It does not outlive a reboot; `install` starts it again."""

    def describe(self) -> str:
        """Return `process 123`."""
        record = self._find()
        return f"process {record.pid}" if record else "process"

    def notes(self) -> list[str]:
        """Tell that nobody starts it after a reboot."""
        return ["this host has no systemd: after a reboot run the same install again, which starts the server"]

    def exists(self) -> bool:
        """Tell whether a pid file is there, or the process that lacks one."""
        return self._record_path.exists() or self._find() is not None

    def running(self) -> bool:
        """Tell whether the recorded process lives."""
        record = self._find()
        return record is not None and _lives(record)

    def log(self) -> str:
        """Return the end of its log."""
        record = self._read()
        path = self.state.path("log", _LOG)
        try:
            with path.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                begin = min(record.log_offset if record else 0, size)
                stream.seek(max(begin, size - _LOG_SHOWN))
                return stream.read(_LOG_SHOWN).decode("utf-8", "replace")
        except OSError:
            return ""

    def prepare(self, start: Start) -> bool:
        """Tell whether what runs was started otherwise."""
        record = self._find()
        return record is not None and record.start != _described(start)

    def start(self, start: Start) -> None:
        """Start it, in a session of its own.

        Raises:
            SiteError: the program can't be run.
        """
        path = self.state.directory("log") / _LOG
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with host_errors("open the log", path):
            if path.exists() and path.stat().st_size > _LOG_LIMIT:
                path.replace(path.with_suffix(".log.1"))
            log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)
        try:
            os.fchmod(log, FILE)
            offset = os.lseek(log, 0, os.SEEK_END)
            child = subprocess.Popen(
                start.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**environment, **dict(start.environment)},
                start_new_session=True,
                umask=0o027,
            )
        except OSError as error:
            raise SiteError(f"start {start.command[0]}: {error.strerror or error}") from None
        finally:
            os.close(log)
        record = _Record(child.pid, started(child.pid) or 0, boot_id(), _described(start), offset)
        self.state.directory("run")
        write_file(self._record_path, json.dumps(record.__dict__, sort_keys=True).encode())

    def reload(self) -> None:
        """Send SIGHUP."""
        record = self._find()
        if record is not None and _lives(record):
            _signal(record, signal.SIGHUP)

    def stop(self) -> bool:
        """Send SIGTERM, and SIGKILL to all of its session when that takes too long."""
        record = self._find()
        if record is None or not _lives(record):
            return False
        _signal(record, signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        while _lives(record):
            if time.monotonic() > end:
                _kill_session(record)
                end = time.monotonic() + _STOP_SECONDS
            time.sleep(_POLL_SECONDS)
        return True

    def remove(self) -> bool:
        """Stop it and take away the pid file."""
        existed = self.exists()
        self.stop()
        with host_errors("take away", self._record_path):
            self._record_path.unlink(missing_ok=True)
        return existed

    @property
    def _record_path(self) -> Path:
        return self.state.path("run", _RECORD)

    def _find(self) -> _Record | None:
        """Return the record of the process that lives, or of the last one; None when there was none."""
        record = self._read()
        return record if record is not None and _lives(record) else self._unrecorded() or record

    def _unrecorded(self) -> _Record | None:
        """Return a record of a server of this state directory that nobody has written down; how it was started is not
        known, so that it is started again."""
        ending = ("serve", "--config", str(self.state.path("server", CONFIG)))
        for pid, command in own_processes():
            # The server leads a session of its own; its workers have the same command line.
            if command[-len(ending) :] == ending and _session(pid) == pid:
                return _Record(pid, started(pid) or 0, boot_id(), "")
        return None

    def _read(self) -> _Record | None:
        raw = read_file(self._record_path, limit=_RECORD_LIMIT)
        try:
            record = _Record(**json.loads(raw or b"null"))
        except (ValueError, TypeError):
            return None
        return record if type(record.pid) is int and record.pid > 1 else None


def _described(start: Start) -> str:
    """Return all of `start` that a running process can't change any more."""
    return json.dumps([start.command, start.environment, start.host, start.port, start.digest])


def _lives(record: _Record) -> bool:
    return record.boot == boot_id() and started(record.pid) == record.started


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(record: _Record, number: int) -> None:
    try:
        os.kill(record.pid, number)
    except ProcessLookupError:  # just ended
        pass
    except PermissionError:
        raise SiteError(
            f"process {record.pid} belongs to another user", hint="run this as the user that installed, or as root"
        ) from None


def _kill_session(record: _Record) -> None:
    try:
        os.killpg(record.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
