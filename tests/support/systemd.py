"""A systemd of the tests' own: process 1 of a PID namespace, with its own /run and /etc/systemd/system.

The host's systemd, if any, is not touched. There are no units but the journal and what a test makes.

    with run_systemd(tmp_path) as box:
        box.run("systemctl", "is-system-running")
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import NotStarted, Running, program, running

_TARGETS = ("default", "basic", "sysinit", "shutdown", "multi-user", "network", "local-fs", "umount", "final")
_JOURNAL = ("systemd-journald.service", "systemd-journald.socket")
_SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
mount -t tmpfs tmpfs /etc/systemd/system
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true
[ ! -d /var/log/journal ] || mount -t tmpfs tmpfs /var/log/journal
export SYSTEMD_UNIT_PATH="/etc/systemd/system:$1" container=airbundle-tests
exec "$2" --log-target=console --show-status=false
"""


@dataclass(frozen=True)
class Box:
    """A systemd that runs; `pid` is its process id on the host."""

    pid: int
    process: Running

    def command(self, *words: str | Path) -> list[str]:
        """Return a command line that runs `words` beside it, in its namespaces."""
        enter = [program("nsenter", "util-linux"), "-t", str(self.pid), "--pid", "--mount", "--cgroup", "--"]
        return [*enter, *map(str, words)]

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
        return done


@contextmanager
def run_systemd(directory: Path) -> Iterator[Box]:
    """Run systemd for the length of a `with` block; `directory` takes its log.

    Raises:
        NotStarted: not root, or it ended; with its log.
    """
    if os.geteuid() != 0:
        raise NotStarted("the tests' systemd needs root: run scripts/test as root or with sudo")
    units = directory / "units"
    units.mkdir(parents=True)
    for name in _TARGETS:
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
    namespaces: Sequence[str] = ("--fork", "--pid", "--mount", "--mount-proc", "--cgroup", "--kill-child")
    for name in _JOURNAL:
        (units / name).write_text((_systemd().parent / "system" / name).read_text())
    script: Sequence[str | Path] = ("sh", "-c", _SCRIPT, "sh", units, _systemd())
    command = [program("unshare", "util-linux"), *namespaces, *script]
    with running(command, directory / "systemd.log") as process:
        pid = process.wait_for(lambda: _child(process.pid), what="unshare")
        try:
            box = Box(pid, process)
            process.wait_for(lambda: True if _is_up(box) else None, what="systemd")
            box.run("systemctl", "start", "systemd-journald.service")
            yield box
        finally:
            # `unshare` waits for its child and ignores SIGTERM. When process 1 ends, so do all in its namespace.
            os.kill(pid, signal.SIGKILL)


def _systemd() -> Path:
    for path in (Path("/lib/systemd/systemd"), Path("/usr/lib/systemd/systemd")):
        if path.exists():
            return path
    raise NotStarted("systemd is missing: run scripts/test, or apt-get install systemd")


def _child(pid: int) -> int | None:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else None


def _is_up(box: Box) -> bool:
    done = box.run("systemctl", "is-system-running", check=False)
    return done.stdout.strip() in {"running", "degraded"}
