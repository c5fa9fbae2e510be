"""How airbundle's server runs at a site: a systemd unit where there is systemd, else a process that is found again.

`Service.of(state)` finds the service of a state directory, running or not; `ensure` makes it run as it should. All
that matters is in files: a later run, or another user of the same state directory, sees the same.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.serving import join_host
from airbundle.errors import SiteError
from airbundle.installer.state import StateDirectory
from airbundle.transfer.listeners import who_listens
from airbundle.transfer.local import port_problem

BOOTED = Path("/run/systemd/system")
"""It exists where systemd is the init system (sd_booted(3))."""


@dataclass(frozen=True)
class Start:
    """What is to run.

    Attributes:
        command: the whole command line; the program by its absolute path.
        environment: what is set for it.
        host, port: where it will listen.
        digest: of the program; with another one, what runs is started again.
        writable: directories that it writes to, such as that of an access log.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    digest: str = ""
    writable: tuple[Path, ...] = ()


class Service(ABC):
    """The server of one state directory."""

    def __init__(self, state: StateDirectory) -> None:
        self.state = state

    @staticmethod
    def of(state: StateDirectory) -> Service:
        """Return the service of a state directory: the kind that was used before, else the best that this host has."""
        from airbundle.installer.process import Process
        from airbundle.installer.systemd import SYSTEM, USER, Unit

        kinds: list[Service] = []
        if os.geteuid() == 0:
            if BOOTED.is_dir():
                kinds.append(Unit(state, SYSTEM))
        elif user_systemd():
            kinds.append(Unit(state, USER))
        kinds.append(Process(state))
        return next((kind for kind in kinds if kind.exists()), kinds[0])

    @abstractmethod
    def describe(self) -> str:
        """Return what it is, for people: `systemd unit airbundle.service`, `process 123`."""

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether it was made, be it running or not."""

    @abstractmethod
    def running(self) -> bool:
        """Tell whether its process is there; whether it answers is for `embedded.ask_health` to say."""

    @abstractmethod
    def log(self) -> str:
        """Return the end of what it printed since it was started last; empty when that can't be read."""

    @abstractmethod
    def notes(self) -> list[str]:
        """Return what the operator should know about how long it runs, one line each."""

    def ensure(self, start: Start, *, reload: bool = False) -> bool:
        """Make it run as `start` says; one that does is left alone.

        Args:
            start: what is to run.
            reload: one that runs as it should reads its configuration again.

        Returns:
            Whether anything was started, started again, or told to reload.

        Raises:
            SiteError: it can't be started, or its port is taken by another program.
            HostError: a file can't be written.
        """
        changed = self.prepare(start)
        if not self.running():
            check_port(start)
            self.start(start)
            return True
        if changed:
            self.restart(start)
        elif reload:
            self.reload()
        return changed or reload

    @abstractmethod
    def prepare(self, start: Start) -> bool:
        """Write what is needed to start it; return whether what runs now was started otherwise."""

    @abstractmethod
    def start(self, start: Start) -> None:
        """Start it."""

    def restart(self, start: Start) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start(start)

    @abstractmethod
    def reload(self) -> None:
        """Have it read its configuration again; transfers under way go on."""

    @abstractmethod
    def stop(self) -> bool:
        """Stop it, and return when it has ended; tell whether it ran."""

    @abstractmethod
    def remove(self) -> bool:
        """Stop it and take away what was made for it; tell whether there was anything."""


def user_systemd() -> bool:
    """Tell whether this user has a systemd of their own to talk to."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return runtime.startswith("/") and Path(runtime, "systemd", "private").exists()


def check_port(start: Start) -> None:
    """Check that the port is free.

    Raises:
        SiteError: it isn't; names the program that listens there, where it can be found.
    """
    problem = port_problem(start.host, start.port) if start.port else ""
    if problem:
        other = who_listens(start.port)
        raise SiteError(
            f"the server can't listen at {join_host(start.host, start.port)}: {problem}{f': {other}' if other else ''}",
            hint="stop that program, or name another port with --listen HOST:PORT",
        )
