"""airbundle's own server, brought up: by an install, and by what needs it and finds it down, as after a reboot."""

from __future__ import annotations

from airbundle.bundle.serving import CONFIG_LIMIT, ServerConfig, parse_config
from airbundle.errors import AirbundleError, SiteError
from airbundle.installer.embedded import CONFIG, start_server, wait_ready
from airbundle.installer.files import read_file
from airbundle.installer.journal import Journal
from airbundle.installer.program import Program, install_program
from airbundle.installer.service import Service
from airbundle.installer.state import Installed, StateDirectory
from airbundle.progress import Reporter


def bring_up(
    state: StateDirectory, journal: Journal, program: Program, config: ServerConfig, here: str
) -> tuple[Service, bool]:
    """Make the server run with `config`, and wait until it answers. The lock is held.

    Args:
        state: of this host.
        journal: gets the step.
        program: what is run.
        config: what it is given.
        here: URL at which this host reaches it.

    Returns:
        What keeps it running, and whether anything had to be done.

    Raises:
        SiteError, HostError: it can't be started, ended, or does not answer as it should.
    """
    service = Service.of(state)
    with journal.step("serve", url=config.url) as done:
        started = start_server(state, service, program, config, here)
        wait_ready(state, config, here, service.running, service.log)
        done.update(started=started, runs=service.describe())
    return service, started


def is_down(state: StateDirectory) -> bool:
    """Tell whether a server was installed here and none runs, as after a reboot where nothing starts it."""
    return bool(state.read().mode) and state.path("server", CONFIG).is_file() and not Service.of(state).running()


def start_again(state: StateDirectory, command: str, reporter: Reporter) -> bool:
    """Start the server where it is down, as an install does; return whether it was.

    Args:
        state: of this host; its lock is not held.
        command: for which it is started; who waits for the lock is told that.
        reporter: is told of it.

    Raises:
        Busy: another run is under way.
        SiteError: it can't be started; nothing else has changed.
    """
    if not is_down(state):
        return False
    with state.locked(command):
        return start_locked(state, reporter)


def start_locked(state: StateDirectory, reporter: Reporter) -> bool:
    """Do as `start_again` while the lock is held.

    Raises:
        SiteError: it can't be started.
    """
    if not is_down(state):
        return False  # another run has started it meanwhile
    installed, path = state.read(), state.path("server", CONFIG)
    reporter.event(f"airbundle's server does not run at {installed.server}: it is started")
    try:
        config = parse_config(read_file(path, limit=CONFIG_LIMIT) or b"", where=str(path))
        bring_up(state, Journal(state.journal), _program(state), config, installed.server_here)
    except AirbundleError as error:
        raise _not_started(installed, error) from None
    return True


def _program(state: StateDirectory) -> Program:
    """Return the installed program: what asks for the server may be another version of it, out of an older bundle."""
    kept = state.path("bin", "airbundle.pyz")
    return install_program(state, kept if kept.is_file() else None)


def _not_started(installed: Installed, error: AirbundleError) -> SiteError:
    return SiteError(
        f"airbundle's server at {installed.server} does not run, and could not be started: {error.problem}",
        outcome="unchanged",
        findings=error.findings,
        hint="mend that, then run the same command again; or install the newest bundle again, which starts it too "
        "(at another port with --listen)",
    )
