"""Runs steps: each when all that it needs is done, those that don't need each other at the same time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event

from airbundle.errors import AirbundleError
from airbundle.installer.journal import Journal
from airbundle.installer.site.step import Change, Step
from airbundle.progress import Phase, Reporter
from airbundle.store.host import host_errors

AT_ONCE = 4
"""Most steps that run at the same time: a small cluster's API has other work, too."""


@dataclass
class Ran:
    """How the steps of a run ended, by name; a step in none of these was not begun.

    Attributes:
        changed: step → whether it changed anything, in the order in which they ended.
        failed: step → why.
    """

    changed: dict[str, bool] = field(default_factory=dict)
    failed: dict[str, AirbundleError] = field(default_factory=dict)


def check_steps(steps: Sequence[Step]) -> None:
    """Refuse steps that can't be ordered: this is a fault of ours, not of the site's."""
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise ValueError(f"steps of one name: {names}")
    done: set[str] = set()
    left = list(steps)
    while left:
        ready = [step for step in left if done.issuperset(step.needs)]
        if not ready:
            raise ValueError(f"steps that wait for what never comes: {[(step.name, step.needs) for step in left]}")
        done.update(step.name for step in ready)
        left = [step for step in left if step.name not in done]


def plan_steps(steps: Sequence[Step]) -> dict[str, Sequence[Change]]:
    """Return what each step would change, in the order given; reads only.

    What an earlier step makes, such as a namespace that a release has, too, is told once; a step that would make
    nothing else tells it all the same.
    """
    planned: dict[str, Sequence[Change]] = {}
    made: set[str] = set()
    for step in steps:
        changes = step.plan()
        creates = {change.what for change in changes if change.action == "create"}
        planned[step.name] = [change for change in changes if change.what not in made & creates] or changes
        made |= creates
    return planned


def run_steps(steps: Sequence[Step], journal: Journal, reporter: Reporter, *, at_once: int = AT_ONCE) -> Ran:
    """Run all steps, each after those that it needs.

    When one fails, those under way come to their end and no other begins.

    Args:
        steps: in any order.
        journal: gets a line when each begins and when it ends.
        reporter: gets an item for each.
        at_once: most that run at the same time.

    Returns:
        How they ended. Interrupts and faults of our own are raised, after those under way have ended.
    """
    check_steps(steps)
    ran = Ran()
    if not steps:
        return ran
    with reporter.phase("deploy") as phase, ThreadPoolExecutor(at_once, "step") as pool:
        work = _Work(journal, reporter, phase)
        _Runner(steps, work, pool, ran).run()
    return ran


@dataclass(frozen=True)
class _Work:
    """Does one step, journalled and told."""

    journal: Journal
    reporter: Reporter
    phase: Phase

    def do(self, step: Step) -> bool:
        began = time.monotonic()
        self.reporter.event(f"{step.name}: begins")
        with self.journal.step(step.name) as done, self.phase.item(step.name, 0):
            with host_errors(f"go on with {step.name}", self.journal.path.parent):
                changed = step.run(self.phase)
            done.update(changed=changed)
        self.reporter.event(f"{step.name}: {'done' if changed else 'as it was'}, {time.monotonic() - began:.0f} s")
        return changed


class _Runner:
    def __init__(self, steps: Sequence[Step], work: _Work, pool: ThreadPoolExecutor, ran: Ran) -> None:
        self._left = list(steps)
        self._work = work
        self._pool = pool
        self._ran = ran
        self._stop = Event()
        self._under_way: dict[Future[bool], str] = {}

    def run(self) -> None:
        try:
            self._begin_ready()
            while self._under_way:
                ended, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._take(future)
                self._begin_ready()
        finally:
            self._stop.set()

    def _begin_ready(self) -> None:
        for step in [step for step in self._left if self._ran.changed.keys() >= set(step.needs)]:
            if self._stop.is_set():
                return
            self._left.remove(step)
            self._under_way[self._pool.submit(self._step, step)] = step.name

    def _step(self, step: Step) -> bool:
        try:
            return self._work.do(step)
        except BaseException:
            self._stop.set()
            self._work.reporter.event(f"{step.name}: failed")
            raise

    def _take(self, future: Future[bool]) -> None:
        name = self._under_way.pop(future)
        error = future.exception()
        if error is None:
            self._ran.changed[name] = future.result()
        elif isinstance(error, AirbundleError):
            self._ran.failed[name] = error
        else:
            raise error
