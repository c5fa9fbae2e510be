"""installer.site.status_releases: what counts as well; all of it runs in tests/site."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.status_releases import release_findings
from tests.installer.site.test_release_step import CONFIG, JOB, KEY, Site, hand


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def look(site: Site) -> tuple[str, list[str], list[str]]:
    """Return how the release is, what is not well, and what is told all the same."""
    latest = site.state.latest()
    assert latest is not None
    states: dict[str, str] = {}
    found = list(release_findings(site.run, cast(Any, None), latest.releases[0], states))
    errors, warnings = ([str(each) for each in found if each.severity == how] for how in ("error", "warning"))
    return states["app"], errors, warnings


def test_what_a_controller_sets_each_time_is_told_and_well(site: Site) -> None:
    site.controller = lambda body: {**body, "data": {"greeting": "by a controller"}}
    site.install()
    state, errors, (told,) = look(site)
    assert (state, errors) == ("up", []) and told.startswith(
        "release/app: ConfigMap shop/app was not as it was applied"
    )
    assert told.endswith("; found greeting: by a controller; expected greeting: hello")
    site.there[KEY] = hand("by hand")
    state, (found,), still = look(site)
    assert (state, still) == ("changed", []) and "ConfigMap shop/app was edited; found greeting: by hand" in found


def test_a_revision_of_helms_is_our_own_or_somebody_elses(site: Site) -> None:
    record = DeployedRelease("app", "shop", "chart", "inputs", revision=3)
    history = [SimpleNamespace(number=2, status="deployed")]
    helm = cast(Any, SimpleNamespace(releases=SimpleNamespace(history=lambda *_: history)))

    def told() -> list[str]:
        return [str(each).partition(" (")[0] for each in release_findings(site.run, helm, record, {})]

    others = "release/app: somebody else has deployed it since: its values may be others; found revision"
    assert told() == [f"{others} 2; expected revision 3"]
    tracks = Tracks(site.state, "app")
    tracks.begin([], "newer", 1)
    assert told() == ["release/app: an install has deployed it since, which has not come to its end"]
    tracks.taken("newer", 4)
    assert told() == [f"{others} 2; expected revision 3"]
    tracks.settle([])
    history[0].number = 1
    assert told() == [f"{others} 1; expected revision 3"]


def test_what_a_person_keeps_is_a_finding_until_it_is_agreed_upon(site: Site) -> None:
    site.install()
    site.there[KEY] = hand("by hand")
    site.others = True
    site.install()
    state, (found,), kept = look(site)
    assert (state, kept) == ("changed", []) and "with --yes, which puts it back" in found


def test_a_job_that_has_taken_itself_away_is_not_missed(site: Site) -> None:
    site.bodies = [CONFIG, JOB]
    site.install()
    assert look(site) == ("up", [], [])
    del site.there[KEY]
    state, (gone,), _ = look(site)
    assert state == "gone" and gone.startswith("release/app: the release is gone")


def test_data_that_are_yet_to_be_restored_are_a_finding(site: Site) -> None:
    site.install()
    Tracks(site.state, "app").restore()
    state, (found,), _ = look(site)
    assert state == "changed" and found.startswith("release/app: its data are yet to be restored (airbundle rollback")
