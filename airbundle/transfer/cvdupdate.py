"""cvdupdate, ClamAV's own mirror tool, run as its terms want it: its state is kept, and it decides what to fetch.

cvdupdate asks DNS for versions, downloads only what is new, and remembers cool-downs in `state.json`; throwing that
away gets an address blocked. It verifies nothing and writes in place: whoever calls this verifies afterwards.
"""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from airbundle.errors import Busy, HostError, NoPermission, RemoteError, UsageError
from airbundle.progress import SILENT, Reporter

_log = logging.getLogger(__name__)
_TIMEOUT = 4 * 3600
"""Seconds for one run: main.cvd over a slow line."""
_KNOWN = ("main", "daily", "bytecode")
_TOLD_LINES = 5


def update_databases(databases: Sequence[str], state: Path, *, reporter: Reporter = SILENT) -> Path:
    """Bring the official databases up to date.

    Args:
        databases: of `main`, `daily`, `bytecode`.
        state: the directory that is kept between runs: config, state, logs and databases.
        reporter: where events go.

    Returns:
        The directory with the databases; unverified.

    Raises:
        UsageError: cvdupdate isn't installed, or doesn't know a database.
        RemoteError: it counted errors; what it said last is told.
        Busy: another run uses the same state.
        HostError: the directory can't be used.
    """
    unknown = [name for name in databases if name not in _KNOWN]
    if unknown:
        raise UsageError(
            f"cvdupdate has no database {', '.join(unknown)}",
            hint=f"it has {', '.join(_KNOWN)}; for others name a directory in `clamav.source`",
        )
    command = find_cvdupdate()
    directory = state / "database"
    with _locked(state):
        config = ["-c", str(state / "config.json")]
        _run([*command, "config", "set", *config, "-d", str(directory), "-l", str(state / "logs")], "be configured")
        # All at once is one DNS query; its state may know more databases than are wanted, so only if all are.
        for target in [""] if set(databases) == set(_KNOWN) else [f"{name}.cvd" for name in databases]:
            reporter.event(f"cvdupdate: update {target or 'all databases'}")
            _run([*command, "update", *config, *filter(None, [target])], f"update {target or 'the databases'}")
        directory.mkdir(exist_ok=True)
    return directory


def find_cvdupdate() -> list[str]:
    """Return the command that runs cvdupdate: as a module of this Python, else from PATH.

    Raises:
        UsageError: it isn't there.
    """
    if importlib.util.find_spec("cvdupdate") is not None:
        return [sys.executable, "-m", "cvdupdate"]
    program = shutil.which("cvdupdate") or shutil.which("cvd")
    if program is None:
        raise UsageError(
            "cvdupdate is not installed",
            hint="pip install cvdupdate, or name a directory of databases in `clamav.source`",
        )
    return [program]


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise NoPermission(f"{state} can't be written: {error.strerror}") from None
    except OSError as error:
        raise HostError(f"{state} can't be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another run updates the ClamAV databases in {state}", hint="wait for it to end") from None
        yield
    finally:
        os.close(lock)


def _run(command: Sequence[str], aim: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RemoteError(f"cvdupdate could not {aim} within {_TIMEOUT // 3600} hours") from None
    except OSError as error:
        raise HostError(f"cvdupdate can't be started: {error.strerror}") from None
    for line in done.stdout.splitlines():
        _log.debug("cvdupdate: %s", line)
    if done.returncode:
        said = [line.strip() for line in done.stdout.splitlines() if "ERROR" in line or "WARNING" in line]
        told = " | ".join(line.rpartition(":  ")[2] for line in said[-_TOLD_LINES:]) or done.stdout.strip()[-300:]
        raise RemoteError(
            f"cvdupdate could not {aim} (errors: {done.returncode}): {told or 'it said nothing'}",
            hint="cvdupdate needs DNS (CVDUPDATE_NAMESERVER) and https to database.clamav.net; "
            "during a cool-down wait, don't repeat",
        )
