"""What steps share, made for tests: a state directory, a site file and the cluster of the fixture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from airbundle.bundle.site import Site as SiteFile
from airbundle.installer.journal import Journal
from airbundle.installer.options import Options
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Trusted
from airbundle.progress import SILENT
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.cluster_write import open_cluster_writer
from tests.support.sealed import Site


@contextmanager
def site_run(site: Site, directory: Path, described: SiteFile, *, patience: float = 120.0) -> Iterator[SiteRun]:
    """Yield what steps share. There is no bundle: steps that need one can't be run with it."""
    (directory / "state").mkdir(exist_ok=True)
    state = StateDirectory(directory / "state")
    site_state = SiteState(state, described.name)
    site_state.make()
    with open_cluster_writer(site.kubeconfig, patience=patience) as cluster:
        yield SiteRun(
            trusted=cast(Trusted, None),
            site=SiteDir(directory, described),
            options=Options(domain=described.domain),
            state=state,
            site_state=site_state,
            journal=Journal(site_state.journal),
            cluster=cluster,
            reporter=SILENT,
            patience=patience,
        )
