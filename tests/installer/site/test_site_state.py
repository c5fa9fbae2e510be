"""installer.site.site_state: what a host keeps of a site."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.errors import DocumentError, HostError
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.site_state import SiteCluster, SiteState, sites_of
from airbundle.installer.state import StateDirectory

RELEASE = DeployedRelease(
    "synapse",
    "matrix",
    "chart",
    "sha256:" + "a" * 64,
    3,
    "ask",
    ("base",),
    ("r/x:1@sha256:1",),
    ("v1/Pod/a/b",),
    "sha256:" + "c" * 64,
    "messenger",
)
DEPLOYMENT = Deployment(1, "messenger", "1.0.0", 7, "sha256:" + "b" * 64, "2026-01-02T03:04:05Z", who={"user": "op"})


@pytest.fixture
def site(tmp_path: Path) -> SiteState:
    (tmp_path / "state").mkdir()
    return SiteState(StateDirectory(tmp_path / "state"), "berlin-1")


def test_nothing_is_made_by_asking(site: SiteState) -> None:
    assert (site.deployments(), site.latest(), site.cluster()) == ([], None, None)
    assert not site.root.exists()


def test_a_deployment_is_read_back_as_it_was_written(site: SiteState) -> None:
    site.write(DEPLOYMENT)
    later = Deployment(2, "messenger", "1.1.0", 8, "x", "y").with_release(RELEASE)
    site.write(later)
    assert site.deployments() == [DEPLOYMENT, later]
    assert site.latest() == later


def test_a_release_that_comes_again_replaces_its_record(site: SiteState) -> None:
    site.write(DEPLOYMENT.with_release(RELEASE))
    latest = site.latest()
    assert latest is not None
    again = latest.with_release(DeployedRelease("synapse", "matrix", "chart", "other", 4))
    assert [each.revision for each in again.releases] == [4]
    assert again.without_release("synapse").releases == ()


def test_only_the_owner_reads_what_may_hold_secrets(site: SiteState) -> None:
    site.write(DEPLOYMENT)
    site.write_cluster(SiteCluster("uid-1", "berlin"))
    kept = site.keep_manifest(b"password: x").replace(":", "-")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [site.root, *site.root.rglob("*")]}
    directories = {"berlin-1": 0o700, "deployments": 0o700, "manifests": 0o700}
    assert modes == {**directories, "0001.json": 0o600, "site.json": 0o600, f"{kept}.yaml": 0o600}
    assert site.cluster() == SiteCluster("uid-1", "berlin")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Other"},
        {"formatVersion": 2},
        {"formatVersion": "1"},
        {"serial": None},
        {"serial": float("inf")},
        {"releases": [{"name": "x"}]},
        {"who": 3},
    ],
)
def test_a_broken_record_is_named(site: SiteState, change: dict[str, object]) -> None:
    site.write(DEPLOYMENT)
    path = site.root / "deployments" / "0001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DocumentError, match=r"0001\.json"):
        site.deployments()


def test_a_record_never_names_a_file_elsewhere(site: SiteState) -> None:
    site.write(DEPLOYMENT.with_release(DeployedRelease("a", "b", "manifests", "c", manifest="../../etc/passwd")))
    with pytest.raises(DocumentError, match="manifest"):
        site.deployments()


def test_sites_of_a_host_keep_apart(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = StateDirectory(tmp_path / "state")
    for name in ("b", "a"):
        SiteState(state, name).write(DEPLOYMENT)
    assert [site.name for site in sites_of(state)] == ["a", "b"]


def test_releases_are_recorded_one_by_one_from_many_threads(site: SiteState) -> None:
    site.write(DEPLOYMENT)
    releases = [DeployedRelease(f"r{number}", "n", "chart", "i") for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(site.record, releases))
    site.drop("r3")
    site.finish()
    latest = site.latest()
    assert latest is not None
    assert {each.name for each in latest.releases} == {f"r{number}" for number in range(16)} - {"r3"}
    assert latest.complete


def test_a_manifest_is_what_was_applied_or_refused(site: SiteState) -> None:
    digest = site.keep_manifest(b"kind: Pod\n")
    assert site.read_manifest(digest) == b"kind: Pod\n"
    next(site.root.glob("manifests/*")).write_bytes(b"kind: Other\n")
    with pytest.raises(DocumentError, match="not what was applied"):
        site.read_manifest(digest)


def test_what_another_bundle_has_up_is_not_this_ones(site: SiteState) -> None:
    web, job = (DeployedRelease(name, "n", "chart", "i") for name in ("web", "job"))
    metrics = DeployedRelease("metrics", "n", "chart", "i")
    site.write(replace(DEPLOYMENT, releases=(web, job)))
    other = replace(DEPLOYMENT, number=2, name="monitoring", releases=(web, job, metrics))
    site.write(other)
    site.write(replace(other, number=3, name="messenger", releases=(web, metrics)))  # job was taken away
    assert [each.name for each in site.releases_of("messenger")] == ["web"]
    assert [each.name for each in site.releases_of("monitoring")] == ["metrics"]
    assert site.releases_of("else") == ()


def test_whose_a_release_is_stays_when_it_is_told(site: SiteState) -> None:
    web = DeployedRelease("web", "n", "chart", "i")
    site.write(DEPLOYMENT)
    site.record(web)
    site.write(replace(DEPLOYMENT, number=2, name="monitoring", releases=site.releases_of("messenger")))
    site.record(replace(web, revision=2, bundle="messenger"))
    assert [each.revision for each in site.releases_of("messenger")] == [2]
    assert site.releases_of("monitoring") == ()


def test_a_record_that_does_not_tell_whose_it_is_is_of_who_brought_or_changed_it(site: SiteState) -> None:
    web, job = (DeployedRelease(name, "n", "chart", "i") for name in ("web", "job"))
    site.write(replace(DEPLOYMENT, releases=(web, job)))
    site.write(replace(DEPLOYMENT, number=2, name="monitoring", releases=(web, replace(job, inputs="j"))))
    for path in sorted((site.root / "deployments").iterdir()):  # as an earlier version wrote it
        body = json.loads(path.read_text())
        path.write_text(json.dumps({**body, "releases": [_without_bundle(each) for each in body["releases"]]}))
    assert [each.name for each in site.releases_of("messenger")] == ["web"]
    assert [each.name for each in site.releases_of("monitoring")] == ["job"]


def _without_bundle(release: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in release.items() if name != "bundle"}


def test_a_bundle_is_complete_also_when_another_came_after_it(site: SiteState) -> None:
    site.write(DEPLOYMENT)
    site.write(replace(DEPLOYMENT, number=2, name="monitoring"))
    site.finish("messenger")
    assert [each.complete for each in site.deployments()] == [True, False]


def test_nothing_is_up_at_a_new_site(site: SiteState) -> None:
    assert site.releases_of("messenger") == ()


def test_what_holds_now_is_noted_of_a_bundles_newest_deployment(site: SiteState) -> None:
    other = replace(DEPLOYMENT, number=2, name="tools")
    site.write(DEPLOYMENT)
    site.write(other)
    site.note("messenger", site="sha256:1")
    assert site.deployments() == [replace(DEPLOYMENT, who={"user": "op", "site": "sha256:1"}), other]


def test_what_is_no_file_makes_nobody_wait(site: SiteState) -> None:
    site.write(DEPLOYMENT)
    path = site.root / "deployments" / "0001.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HostError, match=r"0001\.json: it is no regular file"):
        site.deployments()


def test_what_a_file_system_keeps_for_itself_is_no_site(site: SiteState, tmp_path: Path) -> None:
    site.make()
    (site.root.parent / "lost+found").mkdir()
    (site.root.parent / ".snapshot").mkdir()
    assert [each.name for each in sites_of(StateDirectory(tmp_path / "state"))] == [site.name]
