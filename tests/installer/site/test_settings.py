"""installer.site.settings: nodes and DNS go back to what held there, whichever bundle's run set it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site import settings
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.kept_site import SITE_FILE, keep_site
from airbundle.installer.site.settings import (
    SETTINGS,
    commit_settings,
    other_settings,
    set_back,
    set_settings,
    settings_steps,
)
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import Change
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT
from airbundle.store.site_dir import SiteDir, open_site

TEXT = "apiVersion: airbundle.dev/v1\nkind: Site\nmetadata: {name: berlin}\ndomain: DOMAIN\n"
SHOP = Deployment(1, "shop", "1.0.0", 1, "sha256:" + "0" * 64, "2026", complete=True)


class Cluster:
    """Nodes and DNS, each as the domain of the site file that was set last."""

    def __init__(self) -> None:
        self.has: dict[str, str] = {}
        self.ran: list[str] = []
        self.fails = ""

    def step(self, name: str) -> Any:
        """Return what makes the step of this name."""

        class Step:
            needs = ()

            def __init__(self, run: Any) -> None:
                self.run_of = run
                self.name = name

            def plan(self) -> Sequence[Change]:
                domain = self.run_of.site.site.domain
                return [] if self.run_of.cluster.has.get(name) == domain else [Change(name, "change")]

            def run(self, _phase: object) -> bool:
                cluster, domain = self.run_of.cluster, self.run_of.site.site.domain
                before = cluster.has.get(name)
                cluster.ran.append(name)
                cluster.has[name] = domain
                if cluster.fails == name:
                    raise SiteError("a node is not as it should be")
                return bool(before != domain)

        return Step


class World:
    """A site, and site files for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = StateDirectory(root / "state")
        with self.state.locked("airbundle install"):
            self.site = SiteState(self.state, "berlin")
            self.site.make()
        self.cluster = Cluster()

    def file(self, domain: str) -> SiteDir:
        """Write a site file; what follows a `#` is a comment in it."""
        path = self.root / f"{domain}.yaml"
        path.write_text(TEXT.replace("DOMAIN", domain.replace("#", " # ")))
        return open_site(path)

    def run(self, domain: str) -> Any:
        return SimpleNamespace(
            state=self.state, site_state=self.site, site=self.file(domain), cluster=self.cluster, reporter=SILENT,
            journal=Journal(self.site.journal), trusted=None, patience=1.0, ask=lambda _question: False,
        )  # fmt: skip

    def install(self, domain: str, *, fails: str = "", ends: bool = True) -> Any:
        """Run the steps, as an install does; return its run."""
        run = self.run(domain)
        self.cluster.fails = fails
        with SILENT.phase("") as phase:
            for step in settings_steps(run):
                try:
                    step.run(phase)
                except SiteError:
                    assert fails
        self.cluster.fails = ""
        if ends and not fails:
            commit_settings(self.site, SETTINGS)
        self.cluster.ran.clear()
        return run

    def digest(self, domain: str) -> str:
        return keep_site(self.site, self.file(domain))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(settings, "NodesStep", world.cluster.step("nodes"))
    monkeypatch.setattr(settings, "DnsStep", world.cluster.step("dns"))
    return world


def test_a_failed_install_sets_back_what_held_and_not_what_a_deployment_was_made_with(world: World) -> None:
    world.site.write(replace(SHOP, who={SITE_FILE: world.digest("a.internal")}))
    world.install("a.internal")
    world.install("b.internal")  # --phases nodes,dns: no deployment says so
    world.site.write(replace(SHOP, number=2, name="tools", who={SITE_FILE: world.digest("a.internal")}))
    failed = world.install("c.internal", ends=False)
    assert set_back(failed, SETTINGS) == ["nodes", "dns"]
    assert world.cluster.has == {"nodes": "b.internal", "dns": "b.internal"}
    world.cluster.ran.clear()
    assert (set_back(failed, SETTINGS), world.cluster.ran) == ([], [])


def test_where_the_site_file_is_the_same_nothing_is_set_back(world: World) -> None:
    world.install("a.internal")
    failed = world.install("a.internal", fails="nodes")
    assert (set_back(failed, SETTINGS), world.cluster.ran) == ([], [])


def test_where_two_site_files_mean_the_same_nothing_is_run_that_could_fail_again(world: World) -> None:
    world.install("a.internal")
    failed = world.install("a.internal#written anew", fails="nodes")
    assert (set_back(failed, SETTINGS), world.cluster.ran) == ([], [])
    held = replace(SHOP, who={SITE_FILE: world.digest("a.internal")})
    assert other_settings(world.site, held) == ()


def test_what_failed_half_way_or_was_killed_before_goes_back_too(world: World) -> None:
    world.install("a.internal")
    world.install("b.internal", ends=False)  # killed
    failed = world.install("b.internal", fails="dns")
    assert set_back(failed, SETTINGS) == ["nodes", "dns"]
    assert world.cluster.has == {"nodes": "a.internal", "dns": "a.internal"}


def test_of_a_first_install_nothing_goes_back(world: World) -> None:
    failed = world.install("a.internal", fails="nodes")
    assert (set_back(failed, SETTINGS), world.cluster.ran) == ([], [])


def test_only_what_the_run_has_begun_goes_back(world: World) -> None:
    world.install("a.internal")
    failed = world.install("b.internal", ends=False)
    assert set_back(failed, ["dns"]) == ["dns"]
    assert world.cluster.has == {"nodes": "b.internal", "dns": "a.internal"}


def test_a_rollback_sets_what_is_not_as_the_deployment_says(world: World) -> None:
    first = replace(SHOP, who={SITE_FILE: world.digest("a.internal")})
    world.site.write(first)
    world.install("a.internal")
    assert other_settings(world.site, first) == ()
    world.install("b.internal")
    assert other_settings(world.site, first) == SETTINGS
    with SILENT.phase("") as phase:
        changed = set_settings(
            world.run("a.internal"), phase, world.digest("a.internal"), other_settings(world.site, first)
        )
    assert changed == ["nodes", "dns"]
    assert other_settings(world.site, first) == ()
    # An install that failed, and of which nobody wanted to go back.
    world.install("c.internal", ends=False)
    assert other_settings(world.site, first) == SETTINGS


def test_of_a_deployment_without_a_site_file_nothing_is_known(world: World) -> None:
    world.install("a.internal")
    assert other_settings(world.site, SHOP) == ()
    assert other_settings(world.site, replace(SHOP, who={SITE_FILE: "sha256:" + "1" * 64})) == ()
