"""installer.site.order: what an operator asks for beyond the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.bundle.site import ClusterTarget, Site
from airbundle.errors import UsageError
from airbundle.installer.site.order import PHASES, Order, parse_phases, phase_of
from airbundle.store.site_dir import SiteDir


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("nodes", ("nodes",)),
        ("releases, registry", ("registry", "releases")),
        (",".join(reversed(PHASES)), PHASES),
    ],
)
def test_phases_come_in_the_order_in_which_they_are_done(text: str, phases: tuple[str, ...]) -> None:
    assert parse_phases(text) == phases


@pytest.mark.parametrize("text", ["", ",", "nodes,everything", "Nodes"])
def test_a_phase_that_is_none_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_phases(text)
    assert "registry, nodes, dns" in caught.value.hint


@pytest.mark.parametrize(
    ("step", "phase"), [("nodes", "nodes"), ("release/synapse", "releases"), ("trust/issuer", "trust")]
)
def test_each_step_belongs_to_a_phase(step: str, phase: str) -> None:
    assert phase_of(step) == phase


def test_what_is_said_on_the_command_line_wins_over_the_site_file(tmp_path: Path) -> None:
    site = SiteDir(tmp_path, Site("a", ClusterTarget(context="berlin", kubeconfig="kube.yaml")))
    assert Order(site).reach() == (tmp_path / "kube.yaml", "berlin")
    assert Order(site, Path("/other"), "paris").reach() == (Path("/other"), "paris")
    assert Order(SiteDir(tmp_path, Site("a"))).reach() == (None, "")
