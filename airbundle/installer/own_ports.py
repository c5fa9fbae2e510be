"""Whether what listens on a port was started for a state directory.

A run that was cut off may have started it and not come to write so into the state: what is asked is the host itself.
"""

from __future__ import annotations

from airbundle.errors import AirbundleError
from airbundle.installer.embedded import CONFIG
from airbundle.installer.state import StateDirectory
from airbundle.transfer.listeners import listening_commands


def server_listens(state: StateDirectory, port: int) -> bool:
    """Tell whether airbundle's server of this state directory listens on a TCP `port`, as far as this user may know."""
    config = str(state.path("server", CONFIG))
    return any(config in command for command in listening_commands(port))


def container_listens(state: StateDirectory, port: int) -> bool:
    """Tell whether the registry's container of this state directory is published on `port` and runs."""
    from airbundle.installer.container import container_name
    from airbundle.installer.container_checks import is_ours
    from airbundle.transfer.containers import open_containers

    try:
        with open_containers() as engine:
            found = engine.find(container_name(state.root))
    except AirbundleError:  # no engine, no container; that is told elsewhere
        return False
    return found is not None and is_ours(found.labels) and found.status == "running" and port in found.ports
