"""What the steps of a way back share: the site as it was left by the install before, without its site file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from airbundle.bundle.site import parse_site
from airbundle.installer.journal import Journal
from airbundle.installer.kept import kept_options
from airbundle.installer.options import EMBEDDED, URL
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.kept_site import kept_site
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import PATIENCE, SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Trusted
from airbundle.progress import Reporter
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.cluster_write import ClusterWriter


def kept_run(
    state: StateDirectory,
    site: SiteState,
    cluster: ClusterWriter,
    reporter: Reporter,
    *,
    trusted: Trusted | None = None,
    deployment: Deployment | None = None,
    site_dir: SiteDir | None = None,
    patience: float = PATIENCE,
    ask: Callable[[str], bool] = lambda _question: False,
) -> SiteRun:
    """Return what steps share.

    Args:
        state: of this host.
        site: of an earlier install.
        cluster: its API.
        reporter: gets progress.
        trusted: the bundle that steps may read; what takes things back reads none.
        deployment: whose site file counts; by default the newest.
        site_dir: the site file that counts, in place of a deployment's.
        patience: seconds for which calls of the API are tried again.
        ask: asks a person.

    Raises:
        DocumentError: what was kept does not parse.
    """
    return SiteRun(
        trusted=cast(Trusted, trusted),
        site=site_dir or kept_site(site, deployment) or _bare(state, site),
        options=kept_options(state),
        state=state,
        site_state=site,
        journal=Journal(site.journal),
        cluster=cluster,
        reporter=reporter,
        patience=patience,
        ask=ask,
    )


def _bare(state: StateDirectory, site: SiteState) -> SiteDir:
    """Return a site of which only that is known which the host's own state says: where no site file was kept."""
    installed = state.read()
    mode = "external" if installed.mode == URL else installed.mode or EMBEDDED
    registry = {"mode": mode, "url": installed.registry, "prefix": installed.prefix}
    body = {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Site",
        "metadata": {"name": site.name},
        "domain": installed.domain,
        "registry": {name: value for name, value in registry.items() if value},
    }
    raw = json.dumps({name: value for name, value in body.items() if value}).encode()
    return SiteDir(site.root, parse_site(raw, where=f"{site.name}: as this host knows it"))
