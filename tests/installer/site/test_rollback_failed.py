"""installer.site.rollback_failed: what failed is told, and what it changed goes back, whatever else is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site import rollback_failed
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.release_back import Restores
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.rollback_failed import roll_back_failed
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import Installed, StateDirectory
from airbundle.progress import SILENT
from tests.support.process import free_port

APP = DeployedRelease("app", "shop", "manifests", "old", rollback="auto", bundle="shop")
BEFORE = Deployment(1, "shop", "1.0.0", 1, "sha256:" + "0" * 64, "2026", complete=True, releases=(APP,))
FAILED = {"release/app": SiteError("pods crash", hint="mend them")}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    state = StateDirectory(tmp_path / "state")
    with state.locked("airbundle install"):
        url = f"https://127.0.0.1:{free_port()}"
        state.write(Installed(mode="embedded", registry=url, registry_here=url, server=url, server_here=url))
    site = SiteState(state, "berlin")
    site.write(BEFORE)
    site.write(replace(BEFORE, number=2, version="1.1.0", complete=False))
    return SimpleNamespace(
        state=state, site_state=site, reporter=SILENT, journal=Journal(site.journal), cluster=None,
        trusted=SimpleNamespace(title="shop 1.1.0", statement=SimpleNamespace(name="shop")),
        ask=lambda _question: False,
    )  # fmt: skip


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of releases that went back."""
    names: list[str] = []
    monkeypatch.setattr(Restores, "within", lambda _run: Restores())
    monkeypatch.setattr(rollback_failed, "release_changed", lambda *_: True)
    monkeypatch.setattr(rollback_failed, "go_back", lambda _run, then, *_, **__: names.append(then.name))
    return names


def failing(run: Any) -> SiteError:
    with pytest.raises(SiteError) as caught:
        roll_back_failed(run, cast(Any, FAILED), {}, BEFORE)
    return caught.value


def test_a_registry_that_is_gone_is_told_first(run: Any, back: list[str]) -> None:
    run.state.ca_file.parent.mkdir()
    trustme.CA().cert_pem.write_to_path(str(run.state.ca_file))
    error = failing(run)
    told = [(each.where, each.message) for each in error.findings[:2]]
    lost = "the registry of this host does not answer, and nodes can't pull from it"
    assert told == [(run.state.read().registry, lost), ("release/app", "pods crash")]
    assert back == ["app"]


def test_where_the_registry_cannot_be_asked_the_failure_is_told_and_all_goes_back(run: Any, back: list[str]) -> None:
    error = failing(run)  # the CA's certificate is not there
    assert [each.where for each in error.findings[:2]] == ["registry", "release/app"]
    assert error.findings[0].message.startswith("whether the registry of this host answers can't be told: ")
    assert (back, error.outcome) == (["app"], "rolled-back")


def test_a_damaged_state_file_keeps_nothing_from_going_back(run: Any, back: list[str]) -> None:
    run.state.path("state.json").write_text("{")
    error = failing(run)
    assert [each.where for each in error.findings] == ["registry", "release/app", "the registry's names"]
    assert "release/app failed; shop 1.0.0 serves as before (app went back)" in error.problem
    assert back == ["app"]


def test_what_is_back_on_data_of_an_earlier_failed_version_is_not_as_it_was(run: Any, back: list[str]) -> None:
    """Neither this version nor its run restores them; the deployment stays open, so that a rollback goes on."""
    Tracks(run.site_state, "app").restore()
    error = failing(run)
    assert (back, error.outcome) == (["app"], "partial")
    (told,) = (each for each in error.findings if each.code == "data")
    assert told.where == "release/app" and "`airbundle rollback --site berlin --bundle shop` restores them" in told.hint
    assert "app did not go back" in error.problem
    assert not run.site_state.latest().complete
