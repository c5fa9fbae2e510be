"""installer.status_clamav: the age of the databases that a site has."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.status_clamav import clamav_days, clamav_findings
from tests.server.site import BUILT, make_site


def test_the_newest_database_counts(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    (tmp_path / "state/bundles").mkdir(parents=True)
    site = make_site(tmp_path)
    site.path.rename(state.bundles / "x.airbundle")
    bundles = tuple(InstalledBundle("x", "1", 1, "s", file=name) for name in ("x.airbundle", "gone", ""))
    age = (datetime.now(timezone.utc) - BUILT).days
    assert clamav_days(state, Installed(bundles=bundles)) == age
    assert clamav_days(state, Installed()) is None


@pytest.mark.parametrize(("days", "severity"), [(None, ""), (7, ""), (8, "warning"), (30, "warning"), (31, "error")])
def test_when_it_is_too_old(days: int | None, severity: str) -> None:
    assert [finding.severity for finding in clamav_findings(days)] == ([severity] if severity else [])
