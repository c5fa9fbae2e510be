"""installer.site.settled: which site file holds for nodes and DNS, whatever was deployed with which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.errors import DocumentError
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.kept_site import SITE_FILE
from airbundle.installer.site.rollback_plan import ROLLBACK
from airbundle.installer.site.settled import Settled, begin, commit, settled
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory

SHOP = Deployment(1, "shop", "1.0.0", 1, "sha256:1", "2026", complete=True, who={SITE_FILE: "old"})


@pytest.fixture
def site(tmp_path: Path) -> SiteState:
    (tmp_path / "state").mkdir()
    return SiteState(StateDirectory(tmp_path / "state"), "berlin")


def run(site: SiteState, digest: str) -> None:
    """Set it, to the end of the run."""
    begin(site, "dns", digest)
    commit(site, "dns")


def test_nothing_is_known_at_first(site: SiteState) -> None:
    assert settled(site, "dns") == Settled()
    commit(site, "dns")
    assert not site.root.exists()
    begin(site, "dns", "one")
    assert settled(site, "dns") == Settled("", "one")
    assert not settled(site, "dns").undone  # before it there was none
    commit(site, "dns")
    assert settled(site, "dns").is_at("one")
    assert settled(site, "nodes") == Settled()


def test_what_held_before_is_known_until_a_run_ends_well_however_often_it_is_begun(site: SiteState) -> None:
    run(site, "one")
    for _ in range(2):  # the first was killed
        begin(site, "dns", "two")
        assert settled(site, "dns").undone == "one"
        assert not settled(site, "dns").is_at("one")
    run(site, "one")  # back
    assert (settled(site, "dns").undone, settled(site, "dns").is_at("one")) == ("", True)
    run(site, "two")
    begin(site, "dns", "two")
    assert (settled(site, "dns").undone, settled(site, "dns").is_at("two")) == ("", True)


def test_of_earlier_versions_deployments_tell_as_far_as_they_do(site: SiteState) -> None:
    site.write(SHOP)
    assert settled(site, "dns") == Settled("old")
    site.write(replace(SHOP, number=2, complete=False))
    assert settled(site, "dns") == Settled("old")
    site.write(replace(SHOP, number=2, complete=False, who={SITE_FILE: "new"}))
    assert settled(site, "dns") == Settled("old", "new")
    begin(site, "dns", "new")
    assert settled(site, "dns").undone == "old"
    site.finish()
    commit(site, "dns")
    assert settled(site, "dns").is_at("new")


def test_once_it_is_noted_deployments_count_no_more(site: SiteState) -> None:
    """A rollback beside another bundle leaves nodes and DNS alone, and is made with an older site file all the same."""
    site.write(SHOP)
    run(site, "new")  # such as `install --phases nodes,dns`
    assert settled(site, "dns").is_at("new")
    site.write(replace(SHOP, number=2, who={SITE_FILE: "older", ROLLBACK: 1}))
    begin(site, "dns", "newest")
    assert settled(site, "dns").undone == "new"


def test_what_is_unchanged_is_noted_too(site: SiteState) -> None:
    site.write(SHOP)
    run(site, "old")
    site.write(replace(SHOP, number=2, who={SITE_FILE: "older"}))
    assert settled(site, "dns").is_at("old")


def test_a_damaged_record_is_refused(site: SiteState) -> None:
    run(site, "one")
    (site.root / "settings/dns.json").write_text("[]")
    with pytest.raises(DocumentError):
        settled(site, "dns")
