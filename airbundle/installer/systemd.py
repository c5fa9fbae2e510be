"""The server as a systemd unit: of the system as root, else of the user's own systemd."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.errors import SiteError
from airbundle.installer.files import PUBLIC_FILE, write_file
from airbundle.installer.service import Service, Start
from airbundle.installer.state import StateDirectory
from airbundle.store.host import host_errors

_TIMEOUT_SECONDS = 120
_START_SECONDS = 900
_SHOWN = 4096
_LOWEST_FREE_PORT = 1024
_MARK = "AIRBUNDLE_UNIT"


@dataclass(frozen=True)
class Manager:
    """One of the two systemds."""

    name: str
    flags: tuple[str, ...]
    wanted_by: str


SYSTEM = Manager("systemd", (), "multi-user.target")
USER = Manager("the user's systemd", ("--user",), "default.target")

# systemd.exec(5). Capabilities are all dropped, so that root is a user who owns these files and no more.
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp={private_tmp}
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""

_UNIT = """\
# Written by `airbundle install`; `airbundle uninstall` takes it away. Program: {digest}
[Unit]
Description=airbundle server: registry, charts, files and ClamAV mirror
After=network.target
RequiresMountsFor={state}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
{environment}KillMode=mixed
TimeoutStartSec={start_seconds}
TimeoutStopSec=30
Restart=always
RestartSec=2
LimitNOFILE=65536
UMask=0027
{hardening}
[Install]
WantedBy={wanted_by}
"""


class Unit(Service):
    """A unit of the system, or of the user."""

    def __init__(self, state: StateDirectory, manager: Manager) -> None:
        super().__init__(state)
        self.manager = manager

    @property
    def name(self) -> str:
        """The unit's name; a state directory in another place than the default one has a unit of its own."""
        if self.state.is_default:
            return "airbundle.service"
        return f"airbundle-{hashlib.sha256(os.fsencode(self.state.root)).hexdigest()[:8]}.service"

    @property
    def path(self) -> Path:
        """The unit file."""
        if self.manager is SYSTEM:
            return Path("/etc/systemd/system", self.name)
        base = os.environ.get("XDG_CONFIG_HOME", "")
        return Path(base if base.startswith("/") else Path.home() / ".config", "systemd", "user", self.name)

    def describe(self) -> str:
        """Return `systemd unit airbundle.service`."""
        return f"{self.manager.name} unit {self.name}"

    def notes(self) -> list[str]:
        """Tell a user whose units end with the session."""
        if self.manager is SYSTEM or Path("/var/lib/systemd/linger", _user()).exists():
            return []
        return [f"the server stops when {_user()} logs out, unless root runs `loginctl enable-linger {_user()}`"]

    def exists(self) -> bool:
        """Tell whether the unit file is there."""
        return self.path.exists()

    def running(self) -> bool:
        """Tell whether the unit is active, or about to be; one that ended and waits for its next try is not."""
        active = self._show("ActiveState") in {"active", "reloading", "activating"}
        return active and self._show("SubState") != "auto-restart"

    def log(self) -> str:
        """Return the end of what it said to the journal since it was started last."""
        invocation = self._show("InvocationID")
        if not invocation:
            return ""
        match = f"_SYSTEMD_INVOCATION_ID={invocation}"
        said = self._run("journalctl", *self.manager.flags, match, "-n", "50", "-o", "cat", "--no-pager", "-q")
        return said.stdout[-_SHOWN:] if said.returncode == 0 else ""

    def prepare(self, start: Start) -> bool:
        """Write the unit; return whether what runs was started from another one."""
        if self.manager is USER:
            with host_errors("make the directory", self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        text = unit_text(self.state, self.manager, start)
        if write_file(self.path, text.encode(), PUBLIC_FILE) or self._show("NeedDaemonReload") == "yes":
            self._systemctl("daemon-reload")
        self._systemctl("enable", "--quiet", self.name)
        return self.running() and not self._runs(text)

    def _runs(self, text: str) -> bool:
        """Tell whether what runs was started from the unit file `text`, whose digest is in its environment."""
        mark = re.search(rf"{_MARK}=[0-9a-f]+", text)
        try:
            environment = Path("/proc", self._show("MainPID"), "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return mark is not None and mark[0].encode() in environment

    def start(self, start: Start) -> None:  # noqa: ARG002 - the unit file says it
        """Start it; returns when it listens."""
        self._systemctl("reset-failed", self.name, check=False)
        self._systemctl("start", self.name, timeout=_START_SECONDS)

    def restart(self, start: Start) -> None:  # noqa: ARG002 - as above
        """Start it again."""
        self._systemctl("restart", self.name, timeout=_START_SECONDS)

    def reload(self) -> None:
        """Have it read its configuration again."""
        self._systemctl("reload", self.name)

    def stop(self) -> bool:
        """Stop it."""
        ran = self.running()
        if ran:
            self._systemctl("stop", self.name)
        return ran

    def remove(self) -> bool:
        """Stop it, and take away the unit."""
        if not self.exists():
            return False
        self._systemctl("disable", "--quiet", "--now", self.name)
        with host_errors("take away", self.path):
            self.path.unlink()
        self._systemctl("daemon-reload")
        self._systemctl("reset-failed", self.name, check=False)
        return True

    def _show(self, name: str) -> str:
        done = self._run("systemctl", *self.manager.flags, "show", "--value", "-p", name, self.name)
        return done.stdout.strip() if done.returncode == 0 else ""

    def _systemctl(self, *arguments: str, check: bool = True, timeout: int = _TIMEOUT_SECONDS) -> None:
        done = self._run("systemctl", *self.manager.flags, *arguments, timeout=timeout)
        if check and done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-500:]
            raise SiteError(
                f"systemctl {' '.join(arguments)}: {said or f'exit code {done.returncode}'}{_quoted(self.log())}",
                hint=f"see `journalctl {' '.join([*self.manager.flags, '-u', self.name])}`",
            )

    @staticmethod
    def _run(*command: str, timeout: int = _TIMEOUT_SECONDS) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
        try:
            return subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout, env=environment
            )
        except subprocess.TimeoutExpired:
            raise SiteError(f"{' '.join(command)}: no answer in {timeout} s") from None
        except OSError as error:
            raise SiteError(f"{command[0]}: {error.strerror or error}") from None


def unit_text(state: StateDirectory, manager: Manager, start: Start) -> str:
    """Return the unit file; it names its own digest, by which a process started from it is known."""
    mark = hashlib.sha256(_unit(state, manager, start, "").encode()).hexdigest()
    return _unit(state, manager, start, mark)


def _unit(state: StateDirectory, manager: Manager, start: Start, mark: str) -> str:
    settings = (*start.environment, (_MARK, mark))
    environment = "".join(f"Environment={_quote(f'{name}={value}')}\n" for name, value in settings)
    return _UNIT.format(
        digest=start.digest,
        state=_quote(str(state.root)),
        command=" ".join(_quote(word).replace("$", "$$") for word in start.command),
        environment=environment,
        start_seconds=_START_SECONDS,
        hardening=_hardening(state, start) if manager is SYSTEM else "NoNewPrivileges=yes\n",
        wanted_by=manager.wanted_by,
    )


def _hardening(state: StateDirectory, start: Start) -> str:
    capabilities = "CAP_NET_BIND_SERVICE" if 0 < start.port < _LOWEST_FREE_PORT else ""
    # A private /tmp would hide a program or a state that lies there, and what such a program imports.
    words = (*start.command, *(value for _, value in start.environment))
    used = [state.root, *(Path(word) for word in words if word.startswith("/"))]
    private = "no" if any(_is_temporary(path) for path in used) else "yes"
    lines = [_HARDENING.format(capabilities=capabilities, private_tmp=private)]
    lines += [f"ReadWritePaths={_quote(str(path))}\n" for path in start.writable]
    return "".join(lines)


def _is_temporary(path: Path) -> bool:
    return path.parts[:2] == ("/", "tmp") or path.parts[:3] == ("/", "var", "tmp")


def _quote(word: str) -> str:
    """Quote a word for a unit file (systemd.syntax(7), "Quoting"); `%` would begin a specifier."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'


def _quoted(log: str) -> str:
    lines: Sequence[str] = log.strip().splitlines()[-3:]
    return f": {' | '.join(lines)}" if lines else ""


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
