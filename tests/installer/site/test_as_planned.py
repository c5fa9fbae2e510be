"""installer.site.as_planned: what another run did while a person read the plan makes the plan void."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.errors import Busy, SiteError
from airbundle.installer.site import rollback, run
from airbundle.installer.site.as_planned import locked_as_planned
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.rollback import BackTo, roll_back
from airbundle.installer.site.run import install_site
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT

FIRST = Deployment(1, "shop", "1.0.0", 1, "sha256:1", "2026", complete=True)
SECOND = Deployment(2, "shop", "1.1.0", 2, "sha256:2", "2026")
WORD = "berlin was changed by another run since this was planned: deployment 3, shop 1.2.0, is the newest now"


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path / "state")
    with state.locked("airbundle install"):
        return state


@pytest.fixture
def site(state: StateDirectory) -> SiteState:
    site = SiteState(state, "berlin")
    site.write(FIRST)
    site.write(SECOND)
    return site


def install_another(site: SiteState) -> None:
    site.write(replace(SECOND, number=3, version="1.2.0"))


def test_what_is_as_it_was_planned_for_is_gone_on_with_under_the_lock(state: StateDirectory, site: SiteState) -> None:
    with locked_as_planned(state, site, site.deployments(), "airbundle rollback"):
        with pytest.raises(Busy):
            state.check_free()


def test_a_run_that_ended_meanwhile_makes_a_plan_void(state: StateDirectory, site: SiteState) -> None:
    planned = site.deployments()
    site.finish()
    with pytest.raises(SiteError, match=r"deployment 2, shop 1\.1\.0") as caught:
        with locked_as_planned(state, site, planned, "airbundle rollback"):
            pytest.fail("it went on")
    assert (caught.value.outcome, caught.value.hint) == (
        "unchanged",
        "run the same command again: it looks at the site as it is now",
    )
    state.check_free()


def test_so_does_an_uninstall(state: StateDirectory, site: SiteState) -> None:
    planned = site.deployments()
    for path in (site.root / "deployments").iterdir():
        path.unlink()
    with pytest.raises(SiteError, match="nothing is deployed there any more"):
        with locked_as_planned(state, site, planned, "airbundle rollback"):
            pytest.fail("it went on")


def test_a_rollback_is_not_done_over_what_came_while_a_person_was_asked(
    state: StateDirectory, site: SiteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def prepared(*_: object, **__: object) -> Iterator[Any]:
        plan = SimpleNamespace(changes=True, now=SECOND, then=FIRST)
        yield SimpleNamespace(plan=plan, run=SimpleNamespace(site_state=site), deployments=site.deployments())

    def agree(_plan: object) -> bool:
        install_another(site)
        return True

    monkeypatch.setattr(rollback, "_prepared", prepared)
    monkeypatch.setattr(rollback, "_roll_back", lambda *_: pytest.fail("it went on"))
    with pytest.raises(SiteError, match=WORD) as caught:
        roll_back(state, site, BackTo(), cast(Any, None), SILENT, agree=agree)
    assert caught.value.outcome == "unchanged"


def test_an_install_is_not_done_over_what_came_while_its_plan_was_reviewed(
    state: StateDirectory, site: SiteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def prepared(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(plan=lambda: None, run=SimpleNamespace(site_state=site))

    monkeypatch.setattr(run, "_prepared", prepared)
    monkeypatch.setattr(run, "_Bring", lambda *_: pytest.fail("it went on"))
    asked = cast(Any, SimpleNamespace(state=state, order=SimpleNamespace(name="berlin")))
    with pytest.raises(SiteError, match=WORD) as caught:
        install_site(asked, SILENT, review=lambda _plan: install_another(site))
    assert caught.value.outcome == "unchanged"
