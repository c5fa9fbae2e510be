"""installer.site.runner: steps in the order of their needs, and at the same time where they don't need each other."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from airbundle.errors import NoSpace, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site.runner import plan_steps, run_steps
from airbundle.installer.site.step import Change
from airbundle.progress import SILENT, Phase


@dataclass
class Recorded:
    """A step that does what it is told."""

    name: str
    needs: tuple[str, ...]
    action: Callable[[], bool]

    def plan(self) -> Sequence[Change]:
        return [Change(self.name, "create")]

    def run(self, phase: Phase) -> bool:
        return self.action()


@dataclass
class Planned(Recorded):
    """A step that would change what it is told."""

    changes: Sequence[Change]

    def plan(self) -> Sequence[Change]:
        return self.changes


def test_what_an_earlier_step_makes_is_planned_once() -> None:
    space, web, other = (Change(what, "create") for what in ("Namespace shop", "Service shop/web", "Service shop/x"))
    lists = {"trust": [space], "release/web": [space, web], "release/only": [space], "release/x": [other]}
    steps = [Planned(name, (), bool, changes) for name, changes in lists.items()]
    assert plan_steps(steps) == {**lists, "release/web": [web]}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def test_each_step_comes_after_what_it_needs(journal: Journal) -> None:
    done: list[str] = []

    def step(name: str, *needs: str) -> Recorded:
        def action() -> bool:
            done.append(name)
            return name == "b"

        return Recorded(name, needs, action)

    ran = run_steps([step("d", "b", "c"), step("b", "a"), step("c", "a"), step("a")], journal, SILENT)
    assert (done[0], done[-1], set(done)) == ("a", "d", {"a", "b", "c", "d"})
    assert ran.changed == {"a": False, "b": True, "c": False, "d": False}
    assert not ran.failed


def test_what_does_not_need_each_other_runs_at_the_same_time(journal: Journal) -> None:
    meet = threading.Barrier(2, timeout=30)

    def action() -> bool:
        meet.wait()
        return True

    ran = run_steps([Recorded("a", (), action), Recorded("b", (), action)], journal, SILENT)
    assert ran.changed == {"a": True, "b": True}


def test_after_a_failure_those_under_way_end_and_no_other_begins(journal: Journal) -> None:
    failed, under_way = threading.Event(), threading.Event()
    begun: list[str] = []

    class Told:
        """Tells what was told."""

        def event(self, message: str) -> None:
            if message == "a: failed":
                failed.set()

        def warn(self, message: str) -> None: ...

        def phase(self, name: str, *, total: int = 0) -> Phase:
            return SILENT.phase(name, total=total)

    def fails() -> bool:
        begun.append("a")
        assert under_way.wait(30)
        raise SiteError("a does not get ready")

    def goes_on() -> bool:
        begun.append("b")
        under_way.set()
        assert failed.wait(30)
        return True

    def never() -> bool:
        begun.append("c")
        return True

    steps = [Recorded("a", (), fails), Recorded("b", (), goes_on), Recorded("c", ("b",), never)]
    ran = run_steps(steps, journal, Told())
    assert (sorted(begun), list(ran.failed), ran.changed) == (["a", "b"], ["a"], {"b": True})
    events = {(entry.step, entry.event) for entry in journal.read()}
    assert events == {("a", "begin"), ("a", "failed"), ("b", "begin"), ("b", "done")}


def test_a_fault_of_our_own_is_not_taken_for_the_sites(journal: Journal) -> None:
    def breaks() -> bool:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_steps([Recorded("a", (), breaks)], journal, SILENT)


def test_a_full_disk_fails_its_step_alone(journal: Journal) -> None:
    def full() -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ran = run_steps([Recorded("full", (), full), Recorded("other", (), lambda: True)], journal, SILENT)
    assert isinstance(ran.failed["full"], NoSpace)
    assert "cannot go on with full" in ran.failed["full"].problem
    assert str(journal.path.parent) in ran.failed["full"].hint
    assert ran.changed == {"other": True}


def test_steps_that_wait_for_each_other_are_refused_before_any_runs(journal: Journal) -> None:
    steps = [Recorded("a", ("b",), bool), Recorded("b", ("a",), bool), Recorded("c", (), bool)]
    with pytest.raises(ValueError, match="never comes"):
        run_steps(steps, journal, SILENT)
    assert journal.read() == []


def test_a_plan_runs_nothing() -> None:
    def never() -> bool:
        raise AssertionError

    assert plan_steps([Recorded("a", (), never)]) == {"a": [Change("a", "create")]}
