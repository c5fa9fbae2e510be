"""installer.site.release_again: a release that helm has no more, and whose data are to be restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.deploy.desired import Desired
from airbundle.deploy.helm_history import Revision
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site import release_again
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.release_back import changed_since, go_back
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.rollback_moves import moves_between
from airbundle.installer.site.rollback_plan import ROLLBACK
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "app", "namespace": "shop", "uid": "1"}}
MANIFEST = b'{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "app", "namespace": "shop"}}\n'


class Killed(BaseException):
    """A kill -9, as far as a test can have one."""


class Site:
    """A cluster with helm, where the old version refuses the newer data: its job fails until they are restored."""

    def __init__(self, root: Path) -> None:
        self.there: dict[ObjectKey, Mapping[str, Any]] = {}
        self.revisions: list[Revision] = []
        self.restored = 0
        state = StateDirectory(root / "state")
        state.root.mkdir()
        self.state = SiteState(state, "berlin")
        self.state.make()
        self.run = cast(Any, SimpleNamespace(
            cluster=self, journal=Journal(self.state.journal), site_state=self.state, reporter=SILENT,
            ask=lambda _question: False, trusted=SimpleNamespace(statement=SimpleNamespace(name="shop")),
        ))  # fmt: skip
        self.helm = cast(Any, SimpleNamespace(releases=self, release=lambda material, _pins: material))

    # the cluster
    def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        body = self.there.get(key)
        if body is None or key.kind != "Job":
            return body
        condition = "Complete" if self.restored else "Failed"
        return {**body, "status": {"conditions": [{"type": condition, "status": "True"}]}}

    def apply(self, body: Mapping[str, Any], *, dry_run: bool = False, **_: object) -> Mapping[str, Any]:
        if dry_run:
            return self.get(key_of(body)) or body
        self.there[key_of(body)] = body
        return body

    def resource_of(self, *_: object) -> None:
        return None

    def objects(self, *_: object, **__: object) -> list[Mapping[str, Any]]:
        return []

    def forget(self) -> None: ...

    # helm
    def wait(self, *_: object, **__: object) -> None: ...

    def upgrade(self, _given: object, *, ours: bool) -> Revision:
        del ours
        self.there[key_of(JOB)] = JOB
        self.revisions.append(Revision(len(self.revisions) + 1, "deployed", "app-1.0.0"))
        return self.revisions[-1]

    def history(self, *_: object) -> list[Revision]:
        return self.revisions

    def manifest(self, *_: object) -> bytes:
        return MANIFEST


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    release = Release("app", "shop", timeout="1s")
    material = Material(release, "shop", "app", b"", (), (Desired(key_of(JOB), JOB),), (), "inputs")
    materials = SimpleNamespace(of=lambda *_: material, pins=None, scope=lambda *_: True)

    @contextmanager
    def opened(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(materials=materials, carried=cast(CarriedRelease, None), release=release)

    monkeypatch.setattr(release_again, "_opened", opened)
    monkeypatch.setattr(release_again, "SiteHelm", lambda _run: nullcontext(site.helm))
    return site


def records(site: Site) -> tuple[DeployedRelease, Deployment]:
    """Return what is gone back to, and the deployment under way, in which a newer version is up."""
    then = DeployedRelease("app", "shop", "chart", "inputs", 7, objects=(str(key_of(JOB)),), bundle="shop")
    newer = DeployedRelease("app", "shop", "chart", "newer", 9, bundle="shop")
    now = Deployment(3, "shop", "1.0.0", 1, "sha256:1", "", who={ROLLBACK: 1}, releases=(newer,))
    site.state.write(now)
    return then, now


def mend(site: Site) -> None:
    site.restored += 1


def test_an_old_version_that_refuses_newer_data_is_not_waited_for_before_they_are_restored(site: Site) -> None:
    then, _ = records(site)
    go_back(site.run, then, lambda: mend(site), afresh=True)
    latest = site.state.latest()
    assert latest is not None
    assert [(each.inputs, each.revision) for each in latest.releases] == [("inputs", 1)]
    assert site.restored == 1
    assert not Tracks(site.state, "app").read().restoring


def test_without_anything_to_restore_it_must_come_up(site: Site) -> None:
    then, _ = records(site)
    with pytest.raises(SiteError, match="1 of 1 objects are not up"):
        go_back(site.run, then, None, afresh=True)


@pytest.mark.parametrize("error", [Killed, SiteError("the backup is not there")])
def test_what_was_cut_off_or_failed_before_the_data_were_restored_is_restored_by_the_next_run(
    site: Site, error: BaseException | type[BaseException]
) -> None:
    then, _ = records(site)

    def fail() -> None:
        raise error

    with pytest.raises((Killed, SiteError)):
        go_back(site.run, then, fail, afresh=True)
    now = site.state.latest()
    assert now is not None
    (move,) = moves_between(now, replace(now, releases=(then,), complete=True))
    assert changed_since(site.run, site.helm, now, move)
    go_back(site.run, then, lambda: mend(site), afresh=True)
    assert (site.restored, len(site.revisions)) == (1, 1)  # helm is not given again what it has taken
    assert not Tracks(site.state, "app").read().restoring


def test_what_was_recorded_as_up_and_not_restored_is_restored_by_the_next_run(site: Site) -> None:
    """As a run recorded it that was killed before it restored."""
    then, _ = records(site)
    go_back(site.run, then, lambda: mend(site), afresh=True)
    Tracks(site.state, "app").restore()
    go_back(site.run, then, lambda: mend(site), afresh=True)
    assert (site.restored, len(site.revisions)) == (2, 1)
    assert not Tracks(site.state, "app").read().restoring
