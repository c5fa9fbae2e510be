"""installer.site.shared: what sites of one cluster have in common goes with the last of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from airbundle.deploy.dns_parts import COREFILE, CUSTOM, custom_key
from airbundle.deploy.objects import ObjectKey
from airbundle.installer.journal import Journal
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.shared import Share, hand_over, heir_of, share_of
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.state import StateDirectory
from airbundle.transfer.cluster_write import ClusterWriter

NODE = {"node": "n1", "access": "ssh 10.0.0.1"}
DNS = {"restore": str(COREFILE), "file": "before/coredns.json"}
CA = {"object": "v1/ConfigMap/{}/airbundle-ca"}
NOBODY = cast(ClusterWriter, None)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    with made.locked("test"):
        pass
    return made


def site(state: StateDirectory, name: str, uid: str = "u", *undo: Mapping[str, str]) -> SiteState:
    made = SiteState(state, name)
    made.write_cluster(SiteCluster(uid))
    Journal(made.journal).note("release/x", undo=undo or [{"helm": f"{name}/x"}])
    objects = (f"v1/ConfigMap/{name}/x",)
    release = DeployedRelease("x", name, "chart", "i", bundle="shop", objects=objects)
    made.write(Deployment(1, "shop", "1", 1, "s", "2026", True, releases=(release,)))
    return made


def heir_name(share: Share) -> str:
    return share.heir.name if share.heir else ""


def test_the_heir_is_another_site_of_the_same_cluster(state: StateDirectory) -> None:
    berlin = site(state, "berlin")
    site(state, "elsewhere", "other")
    empty = SiteState(state, "empty")
    empty.write_cluster(SiteCluster("u"))
    assert heir_of(state, berlin, {"berlin"}).heir is None
    site(state, "oslo")
    site(state, "paris")
    assert heir_name(heir_of(state, berlin, {"berlin"})) == "oslo"
    assert heir_name(heir_of(state, berlin, {"berlin", "oslo"})) == "paris"
    # Where all leave, it is the next: the last takes it all back.
    assert heir_name(heir_of(state, berlin, {"berlin", "oslo", "paris"})) == "oslo"
    assert heir_name(heir_of(state, berlin, {"berlin", "oslo", "paris"}, ["oslo"])) == "paris"
    assert heir_of(state, SiteState(state, "unknown"), ()).heir is None


def test_clusters_that_nobody_could_tell_apart_are_not_taken_for_one(state: StateDirectory) -> None:
    berlin = site(state, "berlin", "")
    site(state, "oslo", "")
    assert heir_of(state, berlin, {"berlin"}).heir is None


def looking(**bodies: dict[str, str]) -> Any:
    return lambda key: {"data": bodies[key.name.replace("-", "_")]} if key.name.replace("-", "_") in bodies else None


def shared(state: StateDirectory, *made: tuple[str, dict[str, str]], look: Any = looking()) -> list[Any]:
    berlin, oslo = SiteState(state, "berlin"), site(state, "oslo")
    return list(share_of(berlin, oslo, made, look).actions)


def test_nodes_and_trust_stay_and_releases_go(state: StateDirectory) -> None:
    issuer = {"object": "cert-manager.io/v1/ClusterIssuer//airbundle-ca"}
    secret = {"object": "v1/Secret/cert-manager/airbundle-ca"}
    theirs, ours = ({"object": f"v1/ConfigMap/{name}/airbundle-ca"} for name in ("oslo", "berlin"))
    spaces = [{"object": f"v1/Namespace//{name}"} for name in ("oslo", "berlin", "cert-manager")]
    common = {"object": "v1/ConfigMap/oslo/x"}
    made = [
        ("release/web", {"helm": "berlin/web"}),
        ("release/web", {"object": "v1/ConfigMap/oslo/web"}),
        ("release/web", common),
        ("release/x", {"helm": "oslo/x"}),
        ("trust/issuer", issuer),
        ("trust/issuer", secret),
        ("trust", theirs),
        ("trust", ours),
        ("trust", {"file": "/state/page"}),
        ("nodes/n1", NODE),
        *(("release/web", each) for each in spaces),
    ]
    left = shared(state, *made)
    assert left == [common, {"helm": "oslo/x"}, issuer, secret, theirs, NODE, spaces[0], spaces[2]]


def _marks(name: str) -> str:
    return f"# airbundle begin {name} zones\nx:53 {{\n}}\n# airbundle end {name} zones\n"


@pytest.mark.parametrize(
    ("action", "bodies", "stays"),
    [
        (DNS, {"coredns": {"Corefile": _marks("berlin")}}, True),  # the other has none of its own: it needs this one
        (DNS, {"coredns": {"Corefile": _marks("berlin") + _marks("oslo")}}, False),  # its own part is taken out
        (DNS, {"coredns": {"Corefile": ""}}, False),
        ({"object": str(CUSTOM)}, {"coredns_custom": {custom_key("berlin"): "a"}}, True),
        # The object goes with the last of them, whoever made it.
        ({"object": str(CUSTOM)}, {"coredns_custom": {custom_key("berlin"): "a", custom_key("oslo"): "b"}}, True),
        ({"object": str(CUSTOM)}, {}, False),
    ],
)
def test_of_dns_the_last_part_stays(
    state: StateDirectory, action: dict[str, str], bodies: dict[str, dict[str, str]], stays: bool
) -> None:
    assert shared(state, ("dns", action), look=looking(**bodies)) == ([action] if stays else [])


def test_the_heir_knows_how_to_take_it_back(state: StateDirectory) -> None:
    berlin, oslo = site(state, "berlin"), site(state, "oslo")
    (berlin.directory("nodes") / "n1.sh").write_text("berlin's")
    (berlin.directory("before") / "a.json").write_text("{}")
    changed = {"restore": "v1/ConfigMap/oslo/theirs", "file": "before/a.json"}
    wrong = {"restore": "v1/ConfigMap/oslo/theirs", "file": "../../trust.json"}
    share = Share(oslo, (NODE, changed, wrong))
    hand_over(berlin, share, NOBODY)
    assert Journal(oslo.journal).undo() == [NODE, changed, wrong, {"helm": "oslo/x"}]
    assert (oslo.root / "nodes" / "n1.sh").read_text() == "berlin's"
    assert (oslo.root / "before" / "a.json").stat().st_mode & 0o777 == 0o600
    (oslo.root / "nodes" / "n1.sh").write_text("its own")
    lines = oslo.journal.read_text()
    hand_over(berlin, share, NOBODY)
    assert oslo.journal.read_text() == lines
    assert (oslo.root / "nodes" / "n1.sh").read_text() == "its own"
    hand_over(berlin, Share(), NOBODY)


class Cluster:
    """One object."""

    def __init__(self, **data: str) -> None:
        self.body: dict[str, Any] = {"metadata": {"name": "coredns"}, "data": data}

    def get(self, _key: ObjectKey) -> dict[str, Any]:
        return self.body

    def replace(self, body: dict[str, Any]) -> None:
        self.body = body


@pytest.mark.parametrize(
    ("before", "after"),
    [(_marks("berlin"), _marks("oslo")), (_marks("berlin") + _marks("oslo"), _marks("oslo"))],
)
def test_its_part_of_dns_becomes_the_heirs(state: StateDirectory, before: str, after: str) -> None:
    berlin, oslo = site(state, "berlin"), site(state, "oslo")
    (berlin.directory("before") / "coredns.json").write_text("{}")
    cluster = Cluster(Corefile=before, other="stays")
    for _ in range(2):  # as after a kill
        hand_over(berlin, Share(oslo, (DNS,)), cast(ClusterWriter, cluster))
        assert cluster.body["data"] == {"Corefile": after, "other": "stays"}
    assert Journal(oslo.journal).undo()[0] == DNS
    assert (oslo.root / "before" / "coredns.json").exists()
