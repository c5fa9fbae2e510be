"""Which site file holds for nodes and for DNS: one for the whole site, whichever bundle brought it.

Deployments don't tell: each says with which site file it was made, and nodes and DNS are not always set by it, nor only
then. So each of the two has a record, `settings/NAME.json`: the site file of the last run that came to its end, and the
one that a run has begun to set since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airbundle.installer.files import read_file
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.kept_site import SITE_FILE
from airbundle.installer.site.records import LIMIT, read_record, write_record
from airbundle.installer.site.site_state import SiteState

_KIND = "Settings"
_DIRECTORY = "settings"


@dataclass(frozen=True)
class Settled:
    """What holds for nodes, or for DNS.

    Attributes:
        site: digest of the site file that was set by the last run that came to its end; empty where none is known.
        trying: of the one that a run has begun to set, and that has not come to its end; empty without one.
    """

    site: str = ""
    trying: str = ""

    @property
    def undone(self) -> str:
        """The site file to set again where a run failed; empty where there is nothing to do."""
        return self.site if self.trying not in ("", self.site) else ""

    def is_at(self, digest: str) -> bool:
        """Tell whether all is as this site file says, as far as it is known."""
        return self == Settled(digest)


def settled(state: SiteState, name: str) -> Settled:
    """Return what holds.

    Earlier versions of airbundle noted nothing: then it is the site file of the newest deployment that came to its end,
    and that of the newest one, if that did not.

    Args:
        state: of the site.
        name: of the step.

    Raises:
        DocumentError: a record does not parse.
    """
    found = _read(state, name)
    if found is not None:
        return found
    deployments = [each for each in state.deployments() if each.who.get(SITE_FILE)]
    ended = [_file(each) for each in deployments if each.complete]
    site = ended[-1] if ended else ""
    trying = _file(deployments[-1]) if deployments and not deployments[-1].complete else ""
    return Settled(site, trying if trying != site else "")


def begin(state: SiteState, name: str, digest: str) -> None:
    """Note that a site file is about to be set; what held before stays known until `commit`.

    Raises:
        DocumentError: a record does not parse. HostError: it can't be written.
    """
    now = settled(state, name)
    _write(state, name, now if now.is_at(digest) else Settled(now.site, digest))


def commit(state: SiteState, name: str) -> None:
    """Note that what was begun to be set holds from now on. Raises as `begin`."""
    now = _read(state, name)
    if now is not None and now.trying:
        _write(state, name, Settled(now.trying))


def _file(deployment: Deployment) -> str:
    return str(deployment.who[SITE_FILE])


def _path(state: SiteState, name: str) -> Path:
    return state.root / _DIRECTORY / f"{name}.json"


def _read(state: SiteState, name: str) -> Settled | None:
    path = _path(state, name)
    raw = read_file(path, limit=LIMIT)
    if raw is None:
        return None
    body: Mapping[str, Any] = read_record(raw, _KIND, path)
    return Settled(str(body.get("site", "")), str(body.get("trying", "")))


def _write(state: SiteState, name: str, record: Settled) -> None:
    if _read(state, name) != record:
        state.directory(_DIRECTORY)
        write_record(_path(state, name), _KIND, asdict(record))
