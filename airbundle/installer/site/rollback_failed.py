"""A failed upgrade: what it changed goes back, as each release says; and what serves then is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from airbundle.errors import AirbundleError, Finding, HostError, Outcome, SiteError
from airbundle.installer.journal import Journal, timestamp
from airbundle.installer.served import open_kept, serve_back
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease, Deployment, same_release
from airbundle.installer.site.drift import release_changed
from airbundle.installer.site.release_back import Restores, go_back
from airbundle.installer.site.release_data import DataBack
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.rollback_moves import ReleaseMove, in_order
from airbundle.installer.site.rollback_plan import ROLLBACK
from airbundle.installer.site.rollback_told import failure_findings, registry_findings
from airbundle.installer.site.settings import SETTINGS, set_back
from airbundle.installer.site.step import SiteRun
from airbundle.store.host import host_errors

_STEP = "release/"


def roll_back_failed(
    run: SiteRun,
    failed: Mapping[str, AirbundleError],
    changed: Mapping[str, bool],
    before: Deployment | None,
    others: Sequence[DeployedRelease] = (),
) -> NoReturn:
    """Take back what a failed install changed, and raise what it was.

    Releases go back that this run changed and that were up before it, each as its `rollback` says: `auto` at once,
    `ask` when a person agrees, `never` not at all. What is new in this version is left as it is: nothing ran there
    before, and the next run goes on with it. Nothing that ran before is ever deleted. When all releases are back, nodes
    and DNS are set again as the site file said before.

    Args:
        run: the failed one; its state is locked.
        failed: steps that failed, and why.
        changed: steps that came to their end, and whether they changed anything.
        before: the newest complete deployment of this bundle before this run, as `history_of` has it; None before
            the first.
        others: what other bundles had up before; of that goes back what this run changed all the same.

    Raises:
        SiteError: always. Its outcome is `rolled-back` when all that was up before is up again as it was, else
            `partial`.
    """
    lost = registry_findings(run)
    work = _Failed(run, before, others, failed)
    work.go_back([name for name in (*changed, *failed) if name.startswith(_STEP) and changed.get(name, True)])
    findings = failure_findings(failed)
    whole = before is not None and work.whole
    if whole and before is not None:
        work.set_back([name for name in SETTINGS if name in changed or name in failed])
        work.settle(before)
    result: Outcome = "rolled-back" if whole and work.whole else "partial"
    names = ", ".join(failed)
    raise SiteError(
        f"{run.trusted.title} could not be brought up: {names} failed; {work.says(whole and work.whole)}",
        outcome=result,
        findings=[*lost, *findings, *work.findings],
        hint=work.hint,
    )


class _Failed:
    def __init__(
        self,
        run: SiteRun,
        before: Deployment | None,
        others: Sequence[DeployedRelease],
        failed: Mapping[str, AirbundleError],
    ) -> None:
        self._run = run
        self._before = before
        self._up = {each.name: each for each in (*(before.releases if before else ()), *others)}
        self._failed = failed
        self.findings: list[Finding] = []
        self.back: list[str] = []
        self.left: list[str] = []
        self.asking = False

    @property
    def whole(self) -> bool:
        """Whether all that was up before is up again."""
        return not self.left

    def go_back(self, steps: Sequence[str]) -> None:
        """Bring releases back, those first that others need."""
        moves = [move for move in map(self._move, dict.fromkeys(steps)) if move is not None]
        restores = Restores.within(self._run) if moves else Restores()
        data = DataBack(restores, self._run.journal, self._before)
        for move in in_order(moves):
            release = restores.release(move.name)
            policy = release.rollback if release else move.policy
            try:
                with host_errors(f"take back {move.name}", self._run.site_state.root):
                    self._one(data.of(replace(move, policy=policy)), data)
            except AirbundleError as error:
                self.left.append(move.name)
                self.findings += [
                    Finding(f"could not go back: {error.problem}", where=_STEP + move.name, hint=error.hint),
                    *error.findings,
                ]

    def _move(self, step: str) -> ReleaseMove | None:
        name = step[len(_STEP) :]
        then = self._up.get(name)
        if then is None or then.kind == HANDED_OVER:
            return None  # it was only waited for
        return ReleaseMove(name, "back", None, then, then.rollback)

    def _one(self, move: ReleaseMove, data: DataBack) -> None:
        then = move.then
        assert then is not None  # noqa: S101 - `_move` makes no other
        with SiteHelm(self._run) as helm:
            if not release_changed(self._run, helm, then):
                self._recorded(then)
                return
        if move.policy == "never" or (move.asks and not self._run.ask(self._question(move))):
            self._stays(move)
            return
        self._run.reporter.event(f"{_STEP}{move.name}: goes back")
        with self._run.reporter.phase("roll back") as phase, phase.item(move.name, 0):
            # The way forth left alone what others had set, unless somebody agreed: so does the way back.
            go_back(self._run, then, (lambda: data.run(move)) if move.restores else None, force=False)
        if Tracks(self._run.site_state, move.name).read().restoring:
            self._unrestored(move)
        else:
            self.back.append(move.name)

    def _unrestored(self, move: ReleaseMove) -> None:
        """Tell of what is back on data that an earlier failed version left: this one has nothing that restores them."""
        self.left.append(move.name)
        self.findings.append(
            Finding(
                "is back, but its data are those of a version that failed before, and nothing here restores them",
                where=_STEP + move.name,
                code="data",
                hint=f"`{self._command}` restores them, as the version says that backed them up",
            )
        )

    def _question(self, move: ReleaseMove) -> str:
        why = "; ".join(f"{name} failed: {error.problem}" for name, error in self._failed.items())
        back = f"{why}\nTake {move.name} back to what was up before"
        if not move.restores:
            return f"{back}?"
        told = f"{back}, and run {_runs(move)}, after which {move.lost}"
        return f"{told} (warning: {move.warning})?" if move.warning else f"{told}?"

    def _stays(self, move: ReleaseMove) -> None:
        self.left.append(move.name)
        why, hint, code = "its `rollback` is never", "", ""
        if move.asks:
            self.asking = True
            code, why = "agreement", move.warning or "its `rollback` is ask"
            why += ", and nobody agreed"
            runs = f", and runs {_runs(move)}" if move.restores else ""
            hint = f"`{self._command}` takes it back{runs}; with --yes a failed install does so by itself"
        message = f"stays as the failed run left it: {why}"
        self.findings.append(Finding(message, where=_STEP + move.name, code=code, hint=hint))

    @property
    def _command(self) -> str:
        return f"airbundle rollback --site {self._run.site_state.name} --bundle {self._run.trusted.statement.name}"

    @property
    def hint(self) -> str:
        """The next step."""
        again = "mend what is said, then run the same command again: it goes on from there"
        if self._before is None or not self.asking:
            return again
        return f"either go back to {self._before.title}: `{self._command}`; or {again}"

    def _recorded(self, then: DeployedRelease) -> None:
        """What never changed is up as it was: the record may say otherwise where a step was cut off."""
        latest = self._run.site_state.latest()
        now = latest.release(then.name) if latest else None
        if now is None or not same_release(now, then):
            self._run.site_state.record(then)

    def set_back(self, names: Sequence[str]) -> None:
        """Set nodes and DNS again as they were, those of them that the run has begun to set."""
        try:
            self.back += set_back(self._run, names)
        except AirbundleError as error:
            self.left.append("nodes or DNS")
            self.findings += [
                Finding(f"could not go back: {error.problem}", where="nodes and DNS", hint=error.hint),
                *error.findings,
            ]

    def settle(self, before: Deployment) -> None:
        """Record that the earlier version is up again, and give the registry's names back to it."""
        run, site = self._run, self._run.site_state
        latest = site.latest()
        if latest is None or latest.name != before.name or latest.number == before.number:
            return  # it failed before anything of its own was begun
        others = tuple(each for each in latest.releases if each.bundle != before.name)
        records = {each.name: each for each in latest.releases}
        own = (records.get(each.name, each) for each in before.releases)
        releases = (*others, *(each for each in own if each.bundle == before.name))
        number = latest.number + 1
        who = {**before.who, ROLLBACK: before.number}
        try:
            with open_kept(run.state, before.statement) as trusted:
                serve_back(run.state, trusted, before.statement, Journal(run.state.journal), run.reporter)
        except AirbundleError as error:
            where = "the registry's names"
            self.findings.append(Finding(f"stay those of the newer version: {error.problem}", where=where))
        now = replace(before, number=number, time=timestamp(), complete=before.complete, who=who, releases=releases)
        try:
            with host_errors("record what serves", site.root):
                site.write(now)
        except HostError as error:
            self.findings.append(Finding(error.problem, where=site.name, hint=error.hint))

    def says(self, whole: bool) -> str:
        """Return what serves now."""
        if self._before is None:
            return "none of it was up before; what came up stays, and the next run goes on with it"
        back = f" ({', '.join(self.back)} went back)" if self.back else ""
        if whole:
            return f"{self._before.title} serves as before{back}"
        left = ", ".join(self.left)
        return f"{left} did not go back; all other releases serve as in {self._before.title}{back}"


def _runs(move: ReleaseMove) -> str:
    return ", ".join(move.restores)
