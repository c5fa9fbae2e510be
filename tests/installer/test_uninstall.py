from __future__ import annotations

from pathlib import Path

from airbundle.installer.journal import Journal
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease, Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.installer.uninstall import uninstall, what_goes


def test_outside_the_state_directory_only_links_into_it_are_taken_away(tmp_path: Path) -> None:
    """What somebody has put in the place of ours since then stays, whatever the journal says."""
    state = StateDirectory(tmp_path / "state")
    ours, file, link = (tmp_path / name for name in ("ours", "file", "link"))
    with state.locked("test"):
        Journal(state.journal).note("program", undo=[{"file": str(path)} for path in (ours, file, link)])
        ours.symlink_to(state.path("bin", "airbundle"))
        file.write_text("another program of that name")
        link.symlink_to(file)
    goes = [each.what for each in what_goes(state, keep_data=False)]
    assert str(ours) in goes and not {str(file), str(link)} & set(goes)
    assert str(ours) in uninstall(state).removed
    assert not ours.is_symlink()
    assert link.read_text() == "another program of that name"
    assert not state.root.exists()


def test_what_was_handed_over_stays_and_who_takes_it_away_is_told(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    releases = (
        DeployedRelease("base", "shop", HANDED_OVER, "sha256:0"),
        DeployedRelease("web", "shop", "chart", "sha256:1"),
    )
    with state.locked("test"):
        site = SiteState(state, "berlin")
        site.make()
        site.write(Deployment(1, "shop", "1.0.0", 1, "sha256:2", "2026-01-01T00:00:00Z", True, releases=releases))
    (loss,) = [each for each in what_goes(state, keep_data=False) if "handed over" in each.what]
    assert (loss.site, loss.what) == ("berlin", "release base (handed over)")
    assert loss.stays.startswith("an administrator takes it away: undo.sh")
    (kept,) = uninstall(state).kept
    assert kept.startswith("site berlin: release base, which was handed over; an administrator takes it away: undo.sh")
    assert not state.root.exists()
