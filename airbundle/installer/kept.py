"""What an earlier install was asked for: what is not said again stays as it was."""

from __future__ import annotations

from pathlib import Path

from airbundle.bundle.serving import CONFIG_LIMIT, parse_config
from airbundle.installer.embedded import CONFIG
from airbundle.installer.files import read_file
from airbundle.installer.options import CONTAINER, EMBEDDED, URL, Options
from airbundle.installer.state import Installed, StateDirectory
from airbundle.installer.target import Target, parse_target


def installed_target(state: StateDirectory, installed: Installed) -> Target:
    """Return the private registry of an install, as this host reaches it."""
    kept = state.registry_ca
    ca_file = (kept if kept.is_file() else None) if installed.mode == URL else state.ca_file
    registries = Path(installed.registries) if installed.registries else None
    login = Path(installed.login) if installed.login else None
    return parse_target(
        installed.registry_here, prefix=installed.prefix, ca_file=ca_file, registries=registries, login=login
    )


def kept_options(state: StateDirectory) -> Options:
    """Return what an earlier install said of registry, prefix, address and domain; the defaults where there was none.

    Raises:
        DocumentError, HostError: what it left can't be read.
    """
    installed, path = state.read(), state.path("server", CONFIG)
    raw = read_file(path, limit=CONFIG_LIMIT)
    config = None if raw is None else parse_config(raw, where=str(path))
    before = Options()
    port = installed.registry_here.rpartition(":")[2] if installed.mode == CONTAINER else ""
    return Options(
        mode=installed.mode or EMBEDDED,
        target=installed_target(state, installed) if installed.mode == URL else None,
        domain=installed.domain,
        host=config.host if config else before.host,
        port=config.port if config else before.port,
        access_log=bool(config and config.access_log),
        container_port=int(port) if port.isdigit() else before.container_port,
        prefix=installed.prefix,
    )
