"""Whether nodes, which have no login, may pull: asked of real registries by a bundle's own image."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from airbundle.errors import Finding
from airbundle.installer.journal import Journal
from airbundle.installer.options import URL, Options
from airbundle.installer.site.node_login import login_findings
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.target import parse_target
from airbundle.installer.verify import Gate, open_trusted
from airbundle.progress import SILENT
from airbundle.store.site_dir import open_site
from airbundle.transfer.cluster_write import ClusterWriter
from tests.support.registries import PASSWORD, USER, Registry
from tests.support.release_bundles import Host, Shelf


def _found(root: Path, registry: Registry, *, logged_in: bool = False) -> list[Finding]:
    host = Host(root / "host", root / "none")
    auth = {"username": USER, "password": PASSWORD}
    said = {"mode": "external", "url": registry.url, "ca": str(registry.ca_file), "auth": auth}
    host.site(registry=said, nodes={"loggedIn": logged_in})
    (root / "shelf").mkdir()
    bundle = Shelf(root / "shelf").write(host.key)
    state, path = StateDirectory(host.root / "state"), host.root / "site.yaml"
    target = parse_target(registry.url, ca_file=registry.ca_file, login=path)
    with open_trusted([bundle], state, Gate((host.root / "release.pub",))) as trusted:
        kept = SiteState(state, "berlin")
        options = Options(mode=URL, target=target)
        nobody = cast(ClusterWriter, None)
        return login_findings(
            SiteRun(trusted, open_site(path), options, state, kept, Journal(kept.journal), nobody, SILENT)
        )


def test_a_registry_that_wants_a_login_of_nodes(basic_registry: Registry, tmp_path: Path) -> None:
    (finding,) = _found(tmp_path, basic_registry)
    assert (finding.code, finding.severity, finding.where) == ("registry-login", "error", basic_registry.host)
    assert "loggedIn: true" in finding.hint
    assert PASSWORD not in str(finding)


@pytest.mark.parametrize("kind", ["tls_registry", "basic_registry"])
def test_one_that_wants_none_and_nodes_that_have_one(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(kind)
    assert _found(tmp_path, registry, logged_in=kind == "basic_registry") == []
