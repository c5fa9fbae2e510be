"""installer.site.closed and hook_pulls: what this user may not look at, and what a refused question means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from airbundle.deploy.hooks import hook_images
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.wanted import Wanted, WantedRelease
from airbundle.errors import NotFound, RemoteError, Unauthorized
from airbundle.installer.site.closed import closed, list_open
from airbundle.installer.site.hook_pulls import SiteLike, pull_problem, untried
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.transfer.cluster_api import Resource
from tests.deploy.rules.test_images import JOB
from tests.deploy.rules.world import release, want

PODS = Resource("v1", "pods", "Pod")


class Answering:
    """A cluster that answers everything in one way."""

    def __init__(self, answer: RemoteError | None) -> None:
        self._answer = answer

    def objects(self, resource: Resource, namespace: str = "", *, labels: str = "") -> Iterator[Mapping[str, Any]]:
        del labels
        if self._answer:
            raise self._answer
        yield {"kind": resource.kind, "metadata": {"namespace": namespace}}

    def create(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._answer:
            raise self._answer
        return body

    def delete(self, _key: ObjectKey, *, wait: float = 0.0) -> bool:
        del wait
        if self._answer:
            raise self._answer
        return False


def test_what_may_not_be_listed_is_neither_none_nor_a_fault() -> None:
    assert list_open(Answering(Unauthorized("forbidden", status=403)), PODS, "a") is None
    assert list_open(Answering(NotFound("no such kind", status=404)), PODS, "a") == []
    assert list_open(Answering(None), PODS, "a") == [{"kind": "Pod", "metadata": {"namespace": "a"}}]
    with pytest.raises(Unauthorized):
        list_open(Answering(Unauthorized("who is it?", status=401)), PODS, "a")
    assert closed("pods", "a").severity == "warning"


class Here:
    """A site of which only that is there which is asked for."""

    def __init__(self, root: Path, answer: RemoteError | None) -> None:
        self.site_state = SiteState(StateDirectory(root), "berlin")
        self.cluster = Answering(answer)


def test_without_hooks_nobody_is_asked(tmp_path: Path) -> None:
    here = cast(SiteLike, Here(tmp_path, Unauthorized("forbidden", status=403)))
    assert pull_problem(here, want(release("", chart="app"))) == ""


def with_hook() -> Wanted:
    made: WantedRelease = release(JOB)
    return want(release(JOB, chart="app", hooks=hook_images(made.manifests, registry="registry.site")))


def test_what_can_not_be_tried_yet_is_not_tried(tmp_path: Path) -> None:
    here = cast(SiteLike, Here(tmp_path, Unauthorized("pods is forbidden", status=403)))
    assert pull_problem(here, with_hook()) == ""  # its namespace is made by this run
    assert untried(with_hook(), loaded=True) == "there is no namespace shop yet for a pod that tries it"
    there = replace(with_hook(), there=frozenset({"shop"}))
    assert untried(there, loaded=True) == ""
    assert untried(there, loaded=False) == "the registry does not have this bundle yet"
    assert untried(want(release("", chart="app")), loaded=False) == ""


def test_who_may_not_try_can_not_tell_that_nodes_pull(tmp_path: Path) -> None:
    wanted = replace(with_hook(), there=frozenset({"shop"}))
    here = cast(SiteLike, Here(tmp_path, Unauthorized("pods is forbidden", status=403)))
    assert pull_problem(here, wanted) == "upstream.test/m:1: pods is forbidden"
