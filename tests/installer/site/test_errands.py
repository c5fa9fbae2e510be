"""installer.site.errands: whose errands are whose, and which of them nobody needs any more."""

from __future__ import annotations

import os
import re
from pathlib import Path

from airbundle.deploy.objects import ObjectKey
from airbundle.installer.journal import Journal
from airbundle.installer.process_mark import own_mark
from airbundle.installer.site.errands import LONGEST, abandoned, maker_at, owner_of
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory

KEY = ObjectKey("v1", "Pod", "kube-system", "airbundle-errand-1")


def test_an_owner_is_this_host_with_a_state_directory_and_a_site(tmp_path: Path) -> None:
    ours = owner_of(SiteState(StateDirectory(tmp_path / "state"), "berlin"))
    (tmp_path / "link").symlink_to(tmp_path / "state")
    assert owner_of(SiteState(StateDirectory(tmp_path / "link"), "berlin")) == ours
    assert owner_of(SiteState(StateDirectory(tmp_path / "state"), "paris")) != ours
    assert owner_of(SiteState(StateDirectory(tmp_path / "other"), "berlin")) != ours
    assert re.fullmatch(r"[0-9a-f]{32}", ours)


def test_an_errand_is_abandoned_when_its_process_has_ended() -> None:
    pid, start, boot, namespace = own_mark().split(".")
    gone = f"{pid}.{int(start) - 1}.{boot}.{namespace}"
    unseen = f"{pid}.{start}.{boot}.{int(namespace) + 1}"
    assert abandoned(gone, 0.0)
    assert not abandoned(own_mark(), 10 * LONGEST)
    assert not abandoned(unseen, LONGEST / 2)
    assert abandoned(unseen, LONGEST + 1)


def test_what_is_made_is_journalled_where_there_is_a_journal(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    site_state = SiteState(state, "berlin")
    maker = maker_at(site_state, Journal(site_state.journal))
    maker.noting(KEY)
    assert os.listdir(tmp_path) == []
    state.root.mkdir()
    site_state.make()
    maker.noting(KEY)
    assert Journal(site_state.journal).undo() == [{"object": str(KEY)}]
    assert maker.labels["airbundle.dev/owner"] == owner_of(site_state)
