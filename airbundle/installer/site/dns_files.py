"""The site's zones as files for its own DNS server: a hosts file, and a zone file for each zone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from airbundle.deploy.zone import Zone, hosts_file, zone_file
from airbundle.installer.files import FILE, read_file, write_file
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import Change
from airbundle.store.host import host_errors

DIRECTORY = "dns"
_LIMIT = 4 << 20
_SERIAL = re.compile(r"^(@ IN SOA \S+ \S+) ([0-9]{1,10}) ", re.MULTILINE)


def dns_files(site_state: SiteState, zones: Sequence[Zone]) -> dict[str, bytes]:
    """Return name → bytes of the files that are not as they should be.

    A zone's serial is the time of its last change, so that secondary servers take it over.
    """
    wanted = {"hosts": hosts_file(tuple(zones))} if zones else {}
    wanted.update({f"{zone.name}.zone": zone_file(zone, int(time.time())) for zone in zones})
    return {name: text.encode() for name, text in wanted.items() if _plain(_read(site_state, name)) != _plain(text)}


def file_changes(site_state: SiteState, zones: Sequence[Zone]) -> list[Change]:
    """Return which files would be made, changed and taken away; reads only."""
    directory = site_state.root / DIRECTORY
    changes = [
        Change(str(directory / name), "change" if (directory / name).exists() else "create")
        for name in dns_files(site_state, zones)
    ]
    return changes + [Change(str(directory / name), "delete") for name in stale_files(site_state, zones)]


def stale_files(site_state: SiteState, zones: Sequence[Zone]) -> list[str]:
    """Return the names of files of zones that the site has no more.

    Raises:
        HostError: the directory can't be read.
    """
    directory = site_state.root / DIRECTORY
    wanted = {f"{zone.name}.zone" for zone in zones} | ({"hosts"} if zones else set())
    with host_errors("look into", directory):
        names = [path.name for path in directory.iterdir() if path.is_file()] if directory.is_dir() else []
    return sorted(name for name in names if name not in wanted and (name == "hosts" or name.endswith(".zone")))


def write_dns_files(site_state: SiteState, files: Mapping[str, bytes], stale: Sequence[str] = ()) -> None:
    """Write files into `dns/` of the site's state, and take away those of zones that are no more.

    Raises:
        HostError: one can't be written.
    """
    for name, data in files.items():
        write_file(site_state.directory(DIRECTORY) / name, data, FILE)
    for name in stale:
        path = site_state.root / DIRECTORY / name
        with host_errors("take away", path):
            path.unlink(missing_ok=True)


def _read(site_state: SiteState, name: str) -> str:
    raw = read_file(site_state.root / DIRECTORY / name, limit=_LIMIT)
    return (raw or b"").decode("utf-8", "replace")


def _plain(text: str) -> str:
    return _SERIAL.sub(r"\1 0 ", text)
