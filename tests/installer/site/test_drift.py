"""Tests for installer.site.drift; all of it runs in tests/site/test_rollback.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.drift import release_changed
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory


@pytest.mark.parametrize("kind", ["chart", "manifests"])
def test_what_is_yet_to_be_restored_counts_as_changed(tmp_path: Path, kind: str) -> None:
    """Whatever the cluster says: all its objects may be as they were already."""
    (tmp_path / "state").mkdir()
    site = SiteState(StateDirectory(tmp_path / "state"), "berlin")
    Tracks(site, "app").restore()
    run = cast(Any, SimpleNamespace(site_state=site))
    assert release_changed(run, cast(Any, None), DeployedRelease("app", "shop", kind, "a"))
