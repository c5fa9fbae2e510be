"""installer.site.release_step: plain manifests at a cluster that is a dictionary; all of it runs in tests/site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.bundle.release import Release
from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import Conflict
from airbundle.installer.journal import Journal
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.release_again import _StepBack
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.release_step import ReleaseStep
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.release_works import ReleaseWorks
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT

Body = Mapping[str, Any]
CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "app", "namespace": "shop"},
    "data": {"greeting": "hello"},
}
KEY = key_of(CONFIG)
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "once", "namespace": "shop"},
    "spec": {"ttlSecondsAfterFinished": 0},
}
BACKUP: dict[str, Any] = {**CONFIG, "metadata": {"name": "backup", "namespace": "shop"}}


class Site:
    """A cluster, and a release of one ConfigMap; `controller` changes what is applied, as a controller does.

    A Job that takes itself away has done so before anybody looks at it.
    """

    def __init__(self, root: Path) -> None:
        self.there: dict[ObjectKey, Body] = {}
        self.applied: list[Body] = []
        self.bodies = [CONFIG]
        self.asked = 0
        self.others = False
        self.before: tuple[str, ...] = ()
        self.warned: list[str] = []
        self.controller: Callable[[Body], Body] = lambda body: body
        state = StateDirectory(root / "state")
        state.root.mkdir()
        self.state = SiteState(state, "berlin")
        self.state.make()
        reporter = SimpleNamespace(event=lambda _text: None, warn=self.warned.append)
        self.run = cast(Any, SimpleNamespace(
            cluster=self, journal=Journal(self.state.journal), site_state=self.state, reporter=reporter,
            ask=lambda _question: False, trusted=SimpleNamespace(statement=SimpleNamespace(name="shop")),
        ))  # fmt: skip
        self.begin(1)

    def begin(self, number: int) -> None:
        """Begin a deployment."""
        latest = self.state.latest()
        up = latest.releases if latest else ()
        self.state.write(Deployment(number, "shop", f"1.0.{number}", number, f"sha256:{number}", "", releases=up))

    def step(self, inputs: str = "inputs") -> ReleaseStep:
        release = Release("app", "shop", timeout="1s", before=self.before)
        objects = tuple(Desired(key_of(body), body) for body in self.bodies)
        material = Material(release, "shop", "", b"", (), objects, (), inputs)
        backup = [Desired(key_of(BACKUP), BACKUP)]
        materials = SimpleNamespace(
            of=lambda *_: material, manifests=lambda *_: backup, pins=None, scope=lambda *_: True
        )
        return ReleaseStep(ReleaseWorks(self.run, cast(Any, materials), cast(Any, None)), cast(Any, None), release, ())

    def install(self) -> bool:
        return run(self.step())

    def get(self, key: ObjectKey) -> Body | None:
        self.asked += 1
        return self.there.get(key, {} if key.kind == "Namespace" else None)

    def apply(self, body: Body, *, force: bool = False, dry_run: bool = False) -> Body:
        if self.others and not force:
            raise Conflict("ConfigMap shop/app: kubectl-edit sets it", fields=(("kubectl-edit", ".data"),))
        live = self.there.get(key_of(body), {})
        after = {**live, **body, "metadata": {**live.get("metadata", {}), **body["metadata"], "uid": "1"}}
        if not dry_run:
            self.applied.append(body)
            after["metadata"]["resourceVersion"] = str(len(self.applied))
            if "ttlSecondsAfterFinished" not in after.get("spec", {}):
                self.there[key_of(body)] = self.controller(after)
        return after

    def resource_of(self, *_: object) -> None:
        return None

    def objects(self, *_: object, **__: object) -> list[Body]:
        return []

    def forget(self) -> None: ...


def run(step: ReleaseStep) -> bool:
    with SILENT.phase("") as phase:
        return step.run(phase)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_up_is_done(site: Site) -> None:
    assert site.install()
    assert (site.step().plan(), site.install(), len(site.applied)) == ([], False, 1)


def test_what_is_up_but_for_its_data_is_not_done(site: Site) -> None:
    site.install()
    Tracks(site.state, "app").restore()
    assert [change.action for change in site.step().plan()] == ["change"]
    assert (site.install(), len(site.applied)) == (True, 1)  # the API is not given again what it has
    assert not Tracks(site.state, "app").read().restoring


def test_what_comes_back_without_its_data_is_yet_to_be_restored(site: Site) -> None:
    site.install()
    Tracks(site.state, "app").restore()
    step = site.step()
    assert (
        run(_StepBack(step._works, step._carried, step._release, None)) and Tracks(site.state, "app").read().restoring
    )
    restored: list[str] = []
    assert run(_StepBack(step._works, step._carried, step._release, lambda: restored.append("app")))
    assert restored == ["app"] and not Tracks(site.state, "app").read().restoring


def hand(greeting: str) -> Body:
    return {**CONFIG, "metadata": {**CONFIG["metadata"], "uid": "1"}, "data": {"greeting": greeting}}


def test_what_somebody_edited_since_is_put_back_and_then_it_is_done(site: Site) -> None:
    site.install()
    site.there[KEY] = hand("by hand")
    assert [change.action for change in site.step().plan()] == ["change"]
    assert (site.install(), site.there[KEY]["data"]) == (True, {"greeting": "hello"})
    assert (site.step().plan(), site.install(), site.warned) == ([], False, [])


def test_what_a_controller_sets_again_is_told_and_nothing_is_done_about_it(site: Site) -> None:
    site.controller = lambda body: {**body, "data": {"greeting": "by a controller"}}
    site.install()
    assert (site.step().plan(), site.install(), len(site.applied)) == ([], False, 1)
    (told,) = site.warned
    assert "ConfigMap shop/app stays as something in the cluster sets it each time" in told
    assert "found greeting: by a controller; expected greeting: hello" in told
    site.there[KEY] = hand("by hand")
    assert (site.install(), len(site.applied)) == (True, 2)  # that is another thing
    assert (site.step().plan(), site.install()) == ([], False)


def test_what_a_person_keeps_is_asked_for_again_and_is_no_deployment(site: Site) -> None:
    site.install()
    site.there[KEY] = hand("by hand")
    site.others = True
    assert (site.step().deploys(), site.install()) == (True, True)
    for _ in range(2):
        (change,) = site.step().plan()
        assert (change.then, site.step().deploys(), site.install()) == ("asks", False, False)
    assert [told.rpartition("; ")[2] for told in site.warned] == ["it stays as it is: --yes puts it back"] * 3
    site.run.ask = lambda _question: True
    assert site.step().deploys() is False
    assert (site.install(), site.there[KEY]["data"]) == (True, {"greeting": "hello"})
    site.others = False
    assert (site.step().plan(), site.install()) == ([], False)


def test_a_job_that_has_taken_itself_away_is_not_missed(site: Site) -> None:
    site.bodies = [CONFIG, JOB]
    assert site.install()
    assert (site.step().plan(), site.step().deploys(), site.install(), len(site.applied)) == ([], False, False, 2)


def test_of_an_attempt_that_did_not_come_up_it_is_run_again(site: Site) -> None:
    """How it ended is not known: it may have failed, and be gone since."""
    site.bodies = [CONFIG, JOB]
    site.install()
    tracks = Tracks(site.state, "app")
    tracks.begin([str(KEY), str(key_of(JOB))], "newer", 0)
    tracks.taken("newer", 0)
    assert run(site.step("newer")) and site.applied[2:] == [CONFIG, JOB]


def test_any_other_job_that_is_gone_is_made_again(site: Site) -> None:
    site.bodies = [CONFIG, {**JOB, "spec": {}}]
    site.controller = lambda body: {**body, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    site.install()
    del site.there[key_of(JOB)]
    assert site.install() and key_of(JOB) in site.there


def test_what_was_deleted_is_made_again(site: Site) -> None:
    site.install()
    del site.there[KEY]
    assert site.install()
    assert (KEY in site.there, site.install()) == (True, False)


def test_what_was_found_done_at_the_beginning_is_not_looked_at_twice(site: Site) -> None:
    site.install()
    step = site.step()
    assert not step.deploys()
    site.asked = 0
    assert (run(step), site.asked) == (False, 0)


def test_what_was_found_done_is_looked_at_again_when_another_release_changed_since(site: Site) -> None:
    site.install()
    step = site.step()
    assert not step.deploys()
    del site.there[KEY]
    step._works.changed.append("release/other")
    assert run(step) and KEY in site.there


def test_what_is_only_put_back_is_not_backed_up_before(site: Site) -> None:
    site.before = ("backup.yaml",)
    site.install()
    site.there[KEY] = hand("by hand")
    assert [change.action for change in site.step().plan()] == ["change"]
    assert site.install() and key_of(BACKUP) not in site.there
    assert site.step("newer").plan()[0].action == "run"
    assert run(site.step("newer")) and key_of(BACKUP) in site.there
