"""The scripts that nodes were given: made, and kept in the site's state."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from airbundle.errors import Finding
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.mirrors import NodeSetup, node_setup
from airbundle.installer.node_script import hosts_line, node_script
from airbundle.installer.site.node_facts import (
    SCRIPTS,
    mirrored,
    registry_addresses,
    registry_name,
)
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun

NAME = "nodes"
_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Given:
    """What every node is given, and the registry's URL; `hosts` is the line for `/etc/hosts`, empty for none."""

    setup: NodeSetup
    script: bytes
    url: str
    hosts: str = ""


def given_at(run: SiteRun) -> Given:
    """Return what the nodes of a site are given. Raises as `mirrored`."""
    registry = mirrored(run)
    setup = node_setup(run.site.site.nodes.runtime, registry)
    name = urlsplit(registry.url).hostname or ""
    addresses = registry_addresses(run) if registry_name(run) else ()
    address = addresses[0] if addresses else ""
    script = node_script(setup, url=registry.url, name=name, address=address)
    return Given(setup, script.encode(), registry.url, hosts_line(name, address))


def keep_script(run: SiteRun, node: str, script: bytes) -> None:
    """Keep the script that a node is given now."""
    write_file(run.site_state.directory(SCRIPTS) / f"{node}.sh", script, FILE)


def kept_script(site_state: SiteState, node: str) -> bytes | None:
    """Return the script that a node was given last; None where it was given none."""
    return read_file(site_state.root / SCRIPTS / f"{node}.sh", limit=_LIMIT)


def said_finding(node: str, text: str, code: int) -> Finding:
    """Return what a script that failed said last."""
    last = (text.strip().splitlines() or ["nothing"])[-1]
    return Finding("its script failed", where=node, code="node", found=f"exit code {code}: {last!r:.300}")
