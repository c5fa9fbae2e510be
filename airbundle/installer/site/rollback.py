"""`airbundle rollback`: back to what was deployed before, with the images, names and settings of that time.

All that is needed is looked for first: the earlier bundle's copy, its images at the registry, helm's revisions. Then a
deployment is recorded that is not complete, and each release in it as it comes up: a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from airbundle.errors import Interrupted, SiteError
from airbundle.installer.journal import Journal, timestamp
from airbundle.installer.options import EMBEDDED
from airbundle.installer.served import find_kept, is_served, lacking_images, open_kept, serve_back
from airbundle.installer.server_up import is_down, start_again
from airbundle.installer.site.as_planned import locked_as_planned
from airbundle.installer.site.backups import Backup
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.history import bundles_at, choose_bundle, history_of
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.kept_site import SITE_FILE
from airbundle.installer.site.reach_kept import Reach, reach_kept
from airbundle.installer.site.release_back import Restores, changed_since, go_back, ways_back
from airbundle.installer.site.release_data import DataBack
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_remove import remove_release
from airbundle.installer.site.rollback_moves import ReleaseMove, moves_between
from airbundle.installer.site.rollback_plan import FROM, ROLLBACK, RollbackPlan, RolledBack, came_from, choose_target
from airbundle.installer.site.settings import other_settings, set_settings
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.who import who_runs
from airbundle.installer.state import StateDirectory
from airbundle.installer.steps import outcome
from airbundle.installer.verify import Trusted
from airbundle.progress import Reporter


@dataclass
class _Work:
    """A rollback under way: the run of what is gone back to, what of the newer bundle is needed, and its deployment."""

    run: SiteRun
    plan: RollbackPlan
    then: Trusted
    data: DataBack
    origin: int
    deployments: Sequence[Deployment]


@dataclass(frozen=True)
class BackTo:
    """What is to go back, and where to.

    Attributes:
        bundle: its name; may be empty where the site has one alone.
        version: of that bundle; empty for what was up before.
    """

    bundle: str = ""
    version: str = ""


def plan_rollback(
    state: StateDirectory, site: SiteState, goal: BackTo, reach: Reach, reporter: Reporter
) -> RollbackPlan:
    """Return what a rollback would do. Changes nothing: images are not asked for where this host's registry is down.

    Args:
        state: of this host.
        site: which one.
        goal: which bundle, and what it goes back to.
        reach: how the cluster is reached.
        reporter: gets progress.

    Raises:
        UsageError: there is no such deployment, or which of several bundles is meant isn't said.
        SiteError: it can't be gone back to; lists why.
        Busy, RemoteError, VerificationError: as other commands.
    """
    with outcome("unchanged"):
        state.check_free()
        with _prepared(state, site, goal, reach, reporter, start=False) as work:
            return work.plan


def roll_back(
    state: StateDirectory,
    site: SiteState,
    goal: BackTo,
    reach: Reach,
    reporter: Reporter,
    *,
    agree: Callable[[RollbackPlan], bool],
) -> RolledBack:
    """Roll a site back; as `plan_rollback`, and then do it. airbundle's server is started first where it is down.

    Args:
        agree: is shown the plan; False: nothing is done.

    Raises:
        Interrupted: nobody agreed.
        SiteError, RemoteError: a step failed; its `outcome` is `partial`, and the same command goes on from there. Or
            another run has changed the site since the plan was made.
    """
    with outcome("unchanged"):
        state.check_free()
        with _prepared(state, site, goal, reach, reporter, start=True) as work:
            if not work.plan.changes and work.plan.now.complete:
                return RolledBack(work.plan)
            if not agree(work.plan):
                raise Interrupted("nothing was rolled back")
            command = f"airbundle rollback {work.plan.then.title}"
            with locked_as_planned(state, site, work.deployments, command), outcome("partial"):
                return _roll_back(state, work, reporter)


@contextmanager
def _prepared(
    state: StateDirectory, site: SiteState, goal: BackTo, reach: Reach, reporter: Reporter, *, start: bool
) -> Iterator[_Work]:
    deployments = site.deployments()
    bundle = choose_bundle(deployments, goal.bundle, site.name)
    now, then = choose_target(history_of(deployments, bundle), goal.version)
    others = [each for each in bundles_at(deployments) if each.name != bundle]
    find_kept(state, then.statement)
    if start:
        start_again(state, f"airbundle rollback {then.title}", reporter)
    with ExitStack() as stack:
        cluster = stack.enter_context(reach_kept(site, reach, reporter))
        trusted = stack.enter_context(open_kept(state, then.statement))
        run = kept_run(state, site, cluster, reporter, trusted=trusted, deployment=then, patience=reach.patience)
        newer = came_from(deployments, now, then)

        def made_by(backup: Backup) -> Restores:
            maker = next((each for each in deployments if each.number == backup.deployment), newer)
            if maker.statement == newer.statement:
                return restores
            return stack.enter_context(Restores.of(state, site, maker, run, needed=False))

        restores = stack.enter_context(Restores.of(state, site, newer, run))
        data = DataBack(restores, run.journal, then, history_of(deployments, bundle), made_by)
        with SiteHelm(run) as helm:
            theirs = [each for other in others for each in other.releases]
            moves = [each for each in moves_between(now, then, theirs) if changed_since(run, helm, now, each)]
            moves = [data.of(each) for each in moves]
            moves, problems = ways_back(run, helm, moves)
        plan = RollbackPlan(
            site.name,
            now,
            then,
            tuple(moves),
            # Nodes and DNS are one for all bundles of a site: one bundle alone takes nothing of theirs back.
            settings=() if others else other_settings(site, then),
            serves=not is_served(state, then.statement),
            others=tuple(each.title for each in others),
            starts=is_down(state),
        )
        askable = plan.changes and not (plan.starts and state.read().mode == EMBEDDED)
        findings = [*problems, *(lacking_images(state, trusted, reporter) if askable else [])]
        if findings:
            hint = findings[0].hint or "install the bundle of that version again, with --allow-older"
            raise SiteError(f"{then.title} can't be gone back to", outcome="unchanged", findings=findings, hint=hint)
        yield _Work(run, plan, trusted, data, newer.number, deployments)


def _roll_back(state: StateDirectory, work: _Work, reporter: Reporter) -> RolledBack:
    run, plan, site = work.run, work.plan, work.run.site_state
    latest = site.deployments()[-1]
    number = latest.number + 1
    who = {**who_runs(work.then), ROLLBACK: plan.then.number, FROM: work.origin}
    if plan.then.who.get(SITE_FILE):
        who[SITE_FILE] = plan.then.who[SITE_FILE]
    done = RolledBack(plan, number)
    with run.journal.step(ROLLBACK, before=plan.now.number, to=plan.then.number, deployment=number):
        site.write(
            replace(plan.then, number=number, time=timestamp(), complete=False, who=who, releases=latest.releases)
        )
        serve_back(state, work.then, plan.then.statement, Journal(state.journal), reporter)
        with reporter.phase("roll back") as phase:
            set_settings(run, phase, str(plan.then.who.get(SITE_FILE, "")), plan.settings)
            for move in plan.moves:
                with phase.item(move.name, 0):
                    _move(work, move, done)
        site.finish(plan.then.name)
    return done


def _move(work: _Work, move: ReleaseMove, done: RolledBack) -> None:
    if move.move == "remove" and move.now is not None:
        removed = remove_release(work.run, move.now)
        done.removed += removed.removed
        done.kept += removed.kept
    elif move.move in ("back", "again") and move.then is not None:
        restore = partial(work.data.run, move) if move.restores else None
        go_back(work.run, move.then, restore, afresh=move.afresh)
        done.done.append(move.name)
