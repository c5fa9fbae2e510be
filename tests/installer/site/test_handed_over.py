"""installer.site.handed_over: what counts as there; all of it runs in tests/site/test_handoff.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from airbundle.bundle.release import Release
from airbundle.deploy.desired import Desired
from airbundle.deploy.handover import INPUTS
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.installer.site.handed_over import HandedOverStep
from airbundle.installer.site.release_material import Material

CONFIG: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}}
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "once", "namespace": "n"},
    "spec": {"ttlSecondsAfterFinished": 60},
}


def stamped(body: dict[str, Any], inputs: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "annotations": {INPUTS: inputs}}}


def wrong(there: list[dict[str, Any]], *bodies: dict[str, Any], seen: bool = False) -> list[str]:
    """Return what is wrong of a release that is to have `bodies`."""
    live: dict[ObjectKey, Any] = {key_of(body): body for body in there}
    release = Release("app", "n")
    works = cast(Any, SimpleNamespace(run=SimpleNamespace(cluster=SimpleNamespace(get=live.get))))
    objects = tuple(Desired(key_of(body), body) for body in bodies)
    material = Material(release, "n", "", b"", (), objects, (), "new")
    return [f"{each.where}: {each.message}" for each in HandedOverStep(works, cast(Any, None), release, ())._look(
        material, seen=seen
    ).wrong]  # fmt: skip


def test_a_job_that_has_taken_itself_away_is_not_missed_where_the_rest_is_there() -> None:
    assert wrong([stamped(CONFIG, "new")], CONFIG, JOB) == []
    assert wrong([], CONFIG, JOB) == ["ConfigMap n/a: it is not there"]


def test_one_that_is_there_must_be_of_this_version() -> None:
    old = [stamped(CONFIG, "new"), stamped(JOB, "old")]
    assert wrong(old, CONFIG, JOB) == ["Job n/once: it is not of this version of the bundle"]


def test_of_such_jobs_alone_one_must_have_been_seen() -> None:
    assert wrong([], JOB) == ["Job n/once: it is not there"]
    assert wrong([], JOB, seen=True) == []
    assert wrong([stamped(JOB, "new")], JOB) == []
