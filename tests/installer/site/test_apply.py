"""installer.site.apply: each change has its way back in the journal before, and none is noted of what is our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.installer.journal import Journal
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT
from airbundle.transfer.cluster_write import MANAGER, ClusterWriter

SHOP = ObjectKey("v1", "Namespace", "", "shop")
LABELLED = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "x"}}}


class Racing:
    """A cluster in which a namespace, with nobody's fields, comes between the first look and the second."""

    def __init__(self, managers: tuple[str, ...] = ()) -> None:
        self._looks = 0
        self._managers = managers

    def get(self, _key: ObjectKey) -> Mapping[str, Any] | None:
        self._looks += 1
        fields = [{"manager": name} for name in self._managers]
        return {"metadata": {"name": "shop", "managedFields": fields}} if self._looks > 1 else None

    def apply(self, body: Mapping[str, Any], *, force: bool = False) -> Mapping[str, Any]:
        del force
        return body


@pytest.fixture
def site(tmp_path: Path) -> SiteState:
    state = StateDirectory(tmp_path / "state")
    with state.locked("test"):
        made = SiteState(state, "berlin")
        made.make()
    return made


def applier(site: SiteState, cluster: Racing) -> Applier:
    return Applier(cast(ClusterWriter, cluster), Journal(site.journal), site, "release/app", SILENT)


def test_a_namespace_that_another_release_has_just_made_is_our_own(site: SiteState) -> None:
    Journal(site.journal).note("release/other", undo=[{"object": str(SHOP)}])
    applier(site, Racing()).namespace("shop")
    applier(site, Racing(("kubectl", MANAGER))).namespace("shop")
    assert Journal(site.journal).undo() == [{"object": str(SHOP)}]


@pytest.mark.parametrize("managers", [(), ("kubectl",)])
def test_one_that_somebody_else_has_made_is_kept_as_it_was(site: SiteState, managers: tuple[str, ...]) -> None:
    cluster = Racing(managers)
    assert cluster.get(SHOP) is None
    applier(site, cluster).apply(LABELLED)
    (action,) = Journal(site.journal).undo()
    assert action["restore"] == str(SHOP)
    assert (site.root / action["file"]).is_file()
