"""installer.site.kept_run: a site of which no site file was kept."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import Installed, StateDirectory
from airbundle.progress import SILENT
from airbundle.transfer.cluster_write import ClusterWriter


@pytest.mark.parametrize(
    ("installed", "mode", "url"),
    [
        (Installed(), "embedded", ""),
        (
            Installed(mode="embedded", registry="https://registry.a.internal:5443", domain="a.internal"),
            "embedded",
            "https://registry.a.internal:5443",
        ),
        (
            Installed(mode="url", registry="https://r.b.internal", registry_here="https://r.b.internal", prefix="x/y"),
            "external",
            "https://r.b.internal",
        ),
        (
            Installed(mode="container", registry="https://10.0.0.1:5000", registry_here="https://127.0.0.1:5000"),
            "container",
            "https://10.0.0.1:5000",
        ),
    ],
)
def test_it_is_as_the_host_knows_it(tmp_path: Path, installed: Installed, mode: str, url: str) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        state.write(installed)
    run = kept_run(state, SiteState(state, "berlin"), cast(ClusterWriter, None), SILENT)
    site = run.site.site
    assert (site.name, site.domain) == ("berlin", installed.domain)
    assert (site.registry.mode, site.registry.url, site.registry.prefix) == (mode, url, installed.prefix)
