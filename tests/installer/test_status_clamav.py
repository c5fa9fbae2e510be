"""installer.status_clamav: the age of the databases that a site has."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.status_clamav import DatabaseAge, clamav_ages, clamav_findings, deciding
from tests.server.site import BUILT, make_site


def test_the_newest_database_counts(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    (tmp_path / "state/bundles").mkdir(parents=True)
    site = make_site(tmp_path)
    site.path.rename(state.bundles / "x.airbundle")
    bundles = tuple(InstalledBundle("x", "1", 1, "s", file=name) for name in ("x.airbundle", "gone", ""))
    age = (datetime.now(timezone.utc) - BUILT).days
    assert clamav_ages(state, Installed(bundles=bundles)) == [DatabaseAge("daily", 27001, age)]
    assert clamav_ages(state, Installed()) == []


def test_daily_decides_because_the_others_are_made_seldom() -> None:
    main, daily, own = DatabaseAge("main", 63, 400), DatabaseAge("daily", 27001, 40), DatabaseAge("own", 1, 2)
    assert deciding([daily, main, own]) == daily
    assert deciding([main, own]) == own
    assert deciding([]) is None
    (finding,) = clamav_findings([daily, main, own])
    assert (finding.message, finding.found) == ("the ClamAV database daily is stale", "40 days old")


@pytest.mark.parametrize(("days", "severity"), [(7, ""), (8, "warning"), (30, "warning"), (31, "error")])
def test_when_it_is_too_old(days: int, severity: str) -> None:
    found = clamav_findings([DatabaseAge("daily", 1, days)])
    assert [finding.severity for finding in found] == ([severity] if severity else [])


def test_without_a_database_nothing_is_too_old() -> None:
    assert list(clamav_findings([])) == []
