"""installer.site.kept_site: the site file of a deployment, when the file itself has changed or is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.kept_site import SITE_FILE, keep_site, kept_site
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.store.site_dir import open_site

TEXT = "apiVersion: airbundle.dev/v1\nkind: Site\nmetadata: {name: berlin}\ndomain: DOMAIN\n"
BARE = Deployment(1, "shop", "1.0", 1, "sha256:" + "0" * 64, "2026", complete=True)


def test_each_deployment_has_the_site_file_of_its_time(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = SiteState(StateDirectory(tmp_path / "state"), "berlin")
    path = tmp_path / "berlin.yaml"
    for number, domain in ((1, "old.internal"), (2, "new.internal")):
        path.write_text(TEXT.replace("DOMAIN", domain))
        digest = keep_site(state, open_site(path))
        state.write(replace(BARE, number=number, who={SITE_FILE: digest}))
    path.unlink()
    first, second = state.deployments()
    found = [kept_site(state, each) for each in (first, second, None)]
    assert [each and each.site.domain for each in found] == ["old.internal", "new.internal", "new.internal"]


def test_where_none_was_kept_or_it_was_changed_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = SiteState(StateDirectory(tmp_path / "state"), "berlin")
    assert kept_site(state) is None
    state.write(BARE)
    assert kept_site(state) is None
    path = tmp_path / "site.yaml"
    path.write_text(TEXT.replace("DOMAIN", "x.internal"))
    state.write(replace(BARE, who={SITE_FILE: keep_site(state, open_site(path))}))
    assert kept_site(state) is not None
    (kept,) = (state.root / "site-files").iterdir()
    kept.write_text(TEXT.replace("DOMAIN", "evil.internal"))
    assert kept_site(state) is None
    state.write(replace(BARE, who={SITE_FILE: "../../etc/passwd"}))
    assert kept_site(state) is None
