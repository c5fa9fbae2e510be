"""The site file of each deployment, kept: a way back needs what it said, when the file has changed or is gone."""

from __future__ import annotations

from pathlib import Path

from airbundle.bundle.digest import is_digest, sha256
from airbundle.bundle.site import parse_site
from airbundle.bundle.yamldoc import SIZE_LIMIT
from airbundle.installer.files import PRIVATE_FILE, read_file, write_file
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.store.host import read_bounded
from airbundle.store.site_dir import SiteDir

SITE_FILE = "site"
"""Under which name `Deployment.who` has the digest of the site file."""
_DIRECTORY = "site-files"


def keep_site(state: SiteState, site: SiteDir) -> str:
    """Keep a site file, without the values files beside it; return its digest, for `Deployment.who[SITE_FILE]`.

    Raises:
        HostError: it can't be read or written.
    """
    raw = read_bounded(site.root / Path(site.site.where).name, SIZE_LIMIT)
    digest = sha256(raw)
    write_file(state.directory(_DIRECTORY) / _name(digest), raw, PRIVATE_FILE)
    return digest


def kept_site(state: SiteState, deployment: Deployment | None = None) -> SiteDir | None:
    """Return the site file that a deployment was made with, by default the newest; None where none was kept.

    Raises:
        DocumentError: a deployment, or the file, does not parse any more.
    """
    deployment = deployment or state.latest()
    return site_kept_as(state, str(deployment.who.get(SITE_FILE, "")) if deployment else "")


def site_kept_as(state: SiteState, digest: str) -> SiteDir | None:
    """Return the site file that was kept under a digest; None where none was.

    Raises:
        DocumentError: it does not parse any more.
    """
    raw = read_file(state.root / _DIRECTORY / _name(digest), limit=SIZE_LIMIT) if is_digest(digest) else None
    if raw is None or sha256(raw) != digest:
        return None
    return SiteDir(state.root / _DIRECTORY, parse_site(raw, where=f"{state.name}: site.yaml"))


def _name(digest: str) -> str:
    return f"{digest.replace(':', '-')}.yaml"
