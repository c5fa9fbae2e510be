"""installer.site.nodes_step: what a person does on nodes; all of it runs in tests/site/test_nodes_and_dns.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airbundle.deploy.nodes import ClusterNode
from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site import nodes_step
from airbundle.installer.site.nodes_step import NodesStep
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory

NODES = [cast(ClusterNode, SimpleNamespace(name=name)) for name in ("node1", "node2")]
BY_HAND = {"node1": "run it on node1", "node2": "run it on node2"}


class Step:
    """A step whose nodes pull, or don't, as often as they are asked; `agrees` is what a person says."""

    def __init__(self, root: Path, pulls: dict[str, list[str]], agrees: bool = False) -> None:
        site = SiteState(StateDirectory(root), "berlin")
        site.make()
        self.told: list[str] = []
        run = SimpleNamespace(
            site_state=site, journal=Journal(site.journal), ask=lambda _question: agrees,
            reporter=SimpleNamespace(event=self.told.append),
        )  # fmt: skip
        self._step = NodesStep(cast(Any, run))
        self._step._unpulled = lambda node: pulls[node].pop(0)  # type: ignore[method-assign]

    def ask(self, *, handed_over: bool) -> bool:
        return self._step._ask(NODES, BY_HAND, handed_over)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_step, "_BELIEVED", 0.0)


def test_what_was_run_just_now_is_seen_by_a_runtime_a_moment_later(tmp_path: Path) -> None:
    step = Step(tmp_path, {"node1": [""], "node2": ["no such host", ""]})
    assert (step.ask(handed_over=True), step.told) == (False, [])


def test_what_was_not_run_is_told_at_once_with_the_reason(tmp_path: Path) -> None:
    step = Step(tmp_path, {"node1": [""], "node2": ["no such host"]})
    with pytest.raises(SiteError) as caught:
        step.ask(handed_over=False)
    assert step.told == ["run it on node2"]
    assert [str(each) for each in caught.value.findings] == ["run it on node2; found no such host"]


def test_a_person_who_says_that_it_was_done_is_believed_when_nodes_pull(tmp_path: Path) -> None:
    assert Step(tmp_path, {"node1": ["no"] * 2 + [""], "node2": ["", ""]}, agrees=True).ask(handed_over=False)
    step = Step(tmp_path, {"node1": ["no"] * 3, "node2": ["", ""]}, agrees=True)
    with pytest.raises(SiteError) as caught:
        step.ask(handed_over=False)
    assert [str(each) for each in caught.value.findings] == ["node1: does not pull; found no"]
