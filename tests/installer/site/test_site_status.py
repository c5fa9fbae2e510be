"""installer.site.site_status: what is told of a site without its cluster; the rest is tested on one (tests/site)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbundle.cli.main import main
from airbundle.installer.journal import Journal
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.reach_kept import Reach
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.site_status import SiteStatus, read_site_status
from airbundle.installer.state import StateDirectory

GOOD = Deployment(1, "shop", "1.0.0", 1, "sha256:1", "2026-01-02T03:04:05Z", complete=True)
BAD = Deployment(2, "shop", "1.1.0", 2, "sha256:2", "2026-02-02T03:04:05Z")
BACK = Deployment(3, "shop", "1.0.0", 1, "sha256:1", "2026-02-02T03:05:05Z", complete=True, who={"rollback": 1})


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    (tmp_path / "state").mkdir()
    return StateDirectory(tmp_path / "state")


def look(state: StateDirectory, *deployments: Deployment) -> SiteStatus:
    site = SiteState(state, "berlin")
    for each in deployments:
        site.write(each)
    return read_site_status(state, site, Reach())


def test_that_the_newest_install_failed_and_what_is_up_instead_is_told_and_no_finding(state: StateDirectory) -> None:
    status = look(state, GOOD, BAD, BACK)
    told = "shop 1.1.0, deployment 2 of 2026-02-02T03:04:05Z, did not come up; the site went back to shop 1.0.0"
    assert f"failed     {told}" in list(status.lines())
    failed = status.to_json()["bundles"][0]["failed"]
    assert (failed["version"], failed["number"], failed["complete"]) == ("1.1.0", 2, False)
    assert {each.code for each in status.findings} == {"cluster"}  # there is none here


def test_nothing_of_that_is_told_where_it_came_up_or_stays_as_it_is(state: StateDirectory) -> None:
    status = look(state, GOOD)
    assert not any(line.startswith("failed") for line in status.lines())
    assert status.to_json()["bundles"][0]["failed"] is None
    assert look(state, GOOD, BAD).findings[0].code == "cut-off"


def test_a_broken_line_of_the_journal_is_one_finding_and_the_rest_is_told(state: StateDirectory) -> None:
    site = SiteState(state, "berlin")
    site.write(GOOD)
    Journal(site.journal).note("release/web", "begin")
    with site.journal.open("ab") as stream:
        stream.write(b"{broken\n")
    status = read_site_status(state, site, Reach())
    assert (status.deployment, status.bundles, status.last) == (GOOD, [GOOD], None)
    assert [each.code for each in status.findings] == ["journal", "cluster"]
    broken = status.findings[0]
    assert f"{site.journal}:3: does not parse" in broken.message and broken.where == "site berlin"
    assert broken.hint and broken.severity == "error"


def test_a_broken_record_is_one_finding(state: StateDirectory) -> None:
    site = SiteState(state, "berlin")
    site.write(GOOD)
    (site.root / "deployments" / "0001.json").write_text("{")
    status = read_site_status(state, site, Reach())
    assert [each.code for each in status.findings] == ["record"]
    assert list(status.lines()) == ["site       berlin: what was deployed there can't be read"]


def test_one_broken_site_keeps_no_other_from_being_told(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("berlin", "oslo", "paris"):
        site = SiteState(state, name)
        site.write(GOOD)
        Journal(site.journal).note("release/web", "done")
    SiteState(state, "oslo").journal.write_text("no journal\n")
    assert main(["status", "--state-dir", str(state.root), "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in answer["sites"]] == ["berlin", "oslo", "paris"]
    assert [each["last"] and each["last"]["step"] for each in answer["sites"]] == ["release/web", None, "release/web"]
    assert [each["where"] for each in answer["findings"] if each["code"] == "journal"] == ["site oslo"]
