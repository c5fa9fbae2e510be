"""installer.site.release_data: which version restores which backup; tests/site does it to a real database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.bundle.release import Release
from airbundle.installer.journal import Journal
from airbundle.installer.site.backups import Backup, step_of
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.release_back import Restores
from airbundle.installer.site.release_data import DataBack
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.rollback_moves import ReleaseMove
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory


@dataclass(frozen=True)
class Version(Restores):
    """What a version restores, without its bundle."""

    title: str = ""
    apart: bool = True

    def keeps_apart(self, move: ReleaseMove) -> bool:
        return bool(self.names(move)) and self.apart


def version(title: str, *, before: bool = True, restore: bool = True, apart: bool = True) -> Version:
    release = Release("app", before=("dump.yaml",) * before, restore=(f"restore-{title}.yaml",) * restore)
    return Version(None, {"app": cast(Any, (None, release))}, title, apart)


def record(inputs: str) -> DeployedRelease:
    return DeployedRelease("app", "shop", "chart", inputs, rollback="auto")


def deployed(number: int, title: str) -> Deployment:
    return Deployment(number, "shop", title, number, f"sha256:{number}", "", True, releases=(record(title),))


HISTORY = [deployed(number, f"1.{number}") for number in (1, 2, 3, 4)]
NOW = HISTORY[-1]
VERSIONS = {each.number: version(each.version) for each in HISTORY}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def made(journal: Journal, *numbers: int, apart: bool = True) -> None:
    """Write down backups, each made by the version of a deployment of the one before."""
    for number in numbers:
        backup = Backup(f"1.{number - 1}-x", f"1.{number - 1}", f"1.{number - 1}", number, f"sha256:{number}", apart)
        journal.note(step_of("app"), "done", info=backup.info())


def back(
    journal: Journal, to: int, newer: Restores | None = None, versions: Mapping[int, Version] = VERSIONS
) -> ReleaseMove:
    then = HISTORY[to - 1]
    move = ReleaseMove("app", "back", NOW.release("app"), then.release("app"), "auto")

    def made_by(backup: Backup) -> Restores:
        return versions.get(backup.deployment, Restores())

    return DataBack(newer or VERSIONS[4], journal, then, HISTORY, made_by).of(move)


def told(move: ReleaseMove) -> tuple[str, ...]:
    return (move.backup.name if move.backup else "", *move.restores)


def test_far_back_the_backup_of_that_moment_is_restored_by_the_version_that_made_it(journal: Journal) -> None:
    made(journal, 2, 3, 4)
    assert told(back(journal, 1)) == ("1.1-x", "restore-1.2.yaml")
    assert told(back(journal, 2)) == ("1.2-x", "restore-1.3.yaml")
    assert told(back(journal, 3)) == ("1.3-x", "restore-1.4.yaml")
    assert not any(back(journal, each).warning for each in (1, 2, 3))


def test_where_only_the_newest_is_kept_that_is_told(journal: Journal) -> None:
    made(journal, 2, 3, 4, apart=False)
    move = back(journal, 1)
    assert told(move) == ("1.3-x", "restore-1.4.yaml")
    assert "not the one that was made when 1.1 was left" in move.warning and move.asks
    assert not back(journal, 3).warning


def test_what_migrated_in_a_version_between_is_restored_though_the_newest_has_nothing_to_restore(
    journal: Journal,
) -> None:
    made(journal, 2, apart=False)
    newest = version("1.4", before=False, restore=False)
    move = back(journal, 1, newest)
    assert (told(move), move.warning) == (("1.1-x", "restore-1.2.yaml"), "")
    assert told(back(journal, 2, newest)) == ("",)


def test_where_the_version_that_made_it_is_gone_the_newer_one_restores(journal: Journal) -> None:
    made(journal, 2, 3, 4)
    move = back(journal, 1, versions={})
    assert (told(move), move.warning) == (("1.1-x", "restore-1.4.yaml"), "")
    move = back(journal, 1, version("1.4", apart=False), {})
    assert told(move) == ("1.3-x", "restore-1.4.yaml") and move.warning


def test_forth_again_nothing_is_restored_as_nothing_was_backed_up_since(journal: Journal) -> None:
    made(journal, 2)
    assert told(back(journal, 3)) == ("",)
    # Manifests that restore on their own, without a backup of ours, are run as ever.
    assert told(back(journal, 3, version("1.4", before=False))) == ("", "restore-1.4.yaml")


def test_what_no_journal_tells_is_restored_by_the_newer_one_and_told_where_versions_are_between(
    journal: Journal,
) -> None:
    move = back(journal, 3)
    assert (told(move), move.warning) == (("", "restore-1.4.yaml"), "")
    move = back(journal, 1)
    assert told(move) == ("", "restore-1.4.yaml") and "not written down" in move.warning
    assert not back(journal, 1, version("1.4", before=False)).warning


def test_what_is_removed_or_stays_restores_nothing(journal: Journal) -> None:
    made(journal, 2)
    data = DataBack(VERSIONS[4], journal, HISTORY[0], HISTORY)
    for move in (ReleaseMove("app", "remove", record("a"), None), ReleaseMove("app", "stay", record("a"), record("b"))):
        assert data.of(move) == move


def test_what_was_only_put_back_has_no_other_data_to_restore(journal: Journal, tmp_path: Path) -> None:
    """Nothing is backed up before it is, and what an older backup has would be lost for it."""
    (tmp_path / "state").mkdir()
    state = SiteState(StateDirectory(tmp_path / "state"), "berlin")
    newer = replace(VERSIONS[1], run_of=cast(Any, SimpleNamespace(site_state=state)))
    tracks = Tracks(state, "app")
    tracks.begin([], "1.1", 1)
    assert told(back(journal, 1, newer)) == ("",)
    tracks.begin([], "1.2", 1)
    assert told(back(journal, 1, newer)) == ("", "restore-1.1.yaml")
    tracks.begin([], "1.1", 1, saved=True)  # over what an attempt with another version left
    assert told(back(journal, 1, newer)) == ("", "restore-1.1.yaml")
    tracks.begin([], "1.1", 1)
    tracks.restore()
    assert told(back(journal, 1, newer)) == ("", "restore-1.1.yaml")
