"""installer.site.release_before: how what is run to its end is applied; all of it runs in tests/site."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import SiteError
from airbundle.installer.site import wait
from airbundle.installer.site.release_before import run_manifests

JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "dump", "namespace": "shop"},
    "spec": {"ttlSecondsAfterFinished": 0, "backoffLimit": 2},
}


class Cluster:
    """Jobs end at once; those that say so are gone then."""

    def __init__(self, ended: str) -> None:
        self.there: dict[ObjectKey, Any] = {}
        self._status = {"conditions": [{"type": ended, "status": "True"}]}

    def apply(self, body: dict[str, Any]) -> None:
        if "ttlSecondsAfterFinished" not in body["spec"]:
            self.there[key_of(body)] = {**body, "status": self._status}

    def get(self, key: ObjectKey) -> Any:
        return self.there.get(key)

    def objects(self, *_: object, **__: object) -> list[Any]:
        return []

    def resource_of(self, *_: object) -> None:
        return None


def run(ended: str) -> Cluster:
    cluster = Cluster(ended)
    applier = SimpleNamespace(apply=cluster.apply, cluster=cluster)
    run_manifests(cast(Any, applier), [Desired(key_of(JOB), JOB)], "r1", 1.0)
    return cluster


def test_how_a_job_ends_is_seen_whatever_it_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_POLL", 0.01)
    (made,) = run("Complete").there.values()
    assert (made["metadata"]["name"], made["spec"]) == ("dump-r1", {"backoffLimit": 2})
    with pytest.raises(SiteError, match="1 of 1 objects are not up"):
        run("Failed")
    assert JOB["spec"]["ttlSecondsAfterFinished"] == 0  # what was rendered stays as it was
