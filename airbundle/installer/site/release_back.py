"""One release, back: whether it has to go back, whether it can, and what is run once it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import parse_key
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import chosen_release
from airbundle.installer.served import open_kept
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.backups import declares
from airbundle.installer.site.deployment import DeployedRelease, Deployment, same_release
from airbundle.installer.site.drift import release_changed
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.release_again import again_problem, deploy_again, has_revision
from airbundle.installer.site.release_before import run_manifests
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_material import Materials, timeout_of
from airbundle.installer.site.release_rollback import roll_back_release
from airbundle.installer.site.release_told import told_as
from airbundle.installer.site.release_up import wait_up
from airbundle.installer.site.rollback_moves import ReleaseMove
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.wait import begin_anew
from airbundle.installer.state import StateDirectory

_WHILE = 15.0
"""Seconds that a release has for coming up before its data are restored."""


@dataclass(frozen=True)
class Restores:
    """What the newer bundle's releases run after they went back, such as a job that restores a database's backup.

    Attributes:
        run: of the newer bundle; None where its copy is gone, and nothing is known.
        releases: as that bundle carries them, and with the site's choices.
    """

    run_of: SiteRun | None = None
    releases: Mapping[str, tuple[CarriedRelease, Release]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(
        cls, state: StateDirectory, site: SiteState, now: Deployment, run: SiteRun, *, needed: bool = True
    ) -> Iterator[Restores]:
        """Open the bundle of a newer deployment, and yield what it runs after a rollback; warn where it is `needed`."""
        with ExitStack() as stack:
            try:
                trusted = stack.enter_context(open_kept(state, now.statement))
            except AirbundleError as error:
                if needed:
                    run.reporter.warn(f"{now.title}: nothing is run after the rollback: {error.problem}")
                yield cls()
                return
            newer = kept_run(
                state, site, run.cluster, run.reporter, trusted=trusted, deployment=now, patience=run.patience
            )
            yield cls.within(newer)

    @classmethod
    def within(cls, run: SiteRun) -> Restores:
        """Return what the bundle of a run does after a rollback."""
        carried = carried_releases(run.trusted.bundle)
        return cls(run, {each.release.name: (each, chosen_release(each.release, run.site)) for each in carried})

    def release(self, name: str) -> Release | None:
        """Return a release of the newer bundle; None where it has none of that name."""
        found = self.releases.get(name)
        return found[1] if found else None

    def names(self, move: ReleaseMove) -> tuple[str, ...]:
        """Return what a release runs after it went back."""
        release = self.release(move.name)
        return release.restore if release and move.move == "back" else ()

    def run(self, move: ReleaseMove) -> None:
        """Run it, to its end; then the release must be up again.

        It is given a while to come up before, as the database that is restored may be its own; but it may be that it
        can't, with the data of a newer version. So whoever restores must wait for what it needs, and what has crashed
        until then is begun anew.

        Raises:
            SiteError: it failed, or took too long.
            CheckFailed: an image that it needs is not in the bundle.
        """
        if self.run_of is None or move.name not in self.releases or move.then is None:
            return
        run, release = self.run_of, self.releases[move.name][1]
        applier = Applier(run.cluster, run.journal, run.site_state, f"restore/{move.name}", run.reporter)
        objects, backup = self._objects(run, move.name), move.backup.name if move.backup else ""
        keys = list(map(parse_key, move.then.objects))
        try:
            wait_up(run, move.then, _WHILE)
        except SiteError as error:
            run.reporter.event(f"{move.name}: its data are restored before it is up: {error.problem}")
        with run.journal.step(f"restore/{move.name}", manifests=list(release.restore), backup=backup):
            with told_as(f"{move.name} is back, but its data are not restored"):
                run_manifests(applier, objects, run.journal.run[:8], timeout_of(release), backup=backup)
        begin_anew(run.cluster, keys)
        wait_up(run, move.then, timeout_of(release))

    def keeps_apart(self, move: ReleaseMove) -> bool:
        """Tell whether what a release runs then takes the name of a backup.

        Raises as `run`, before it changes anything.
        """
        run = self.run_of
        return run is not None and bool(self.names(move)) and declares(self._objects(run, move.name))

    def _objects(self, run: SiteRun, name: str) -> list[Desired]:
        carried, release = self.releases[name]
        with Materials(run.trusted, run.site, run.cluster) as materials:
            return materials.manifests(carried, release, release.restore)


def go_back(
    run: SiteRun,
    then: DeployedRelease,
    restore: Callable[[], None] | None,
    *,
    afresh: bool = False,
    force: bool = True,
) -> None:
    """Bring a release back, and run what it runs after that.

    Args:
        run: of the bundle that brought it, where it is deployed `afresh`.
        then: as it was recorded.
        restore: what it runs.
        afresh: deploy it again: helm has no revision to go back to.
        force: take over what others have set since, as `roll_back_release` has it.

    Raises as `roll_back_release`, `deploy_again` and `Restores.run`.
    """
    with run.journal.step(f"rollback/{then.name}", afresh=afresh):
        if afresh:
            deploy_again(run, then, restore)
        else:
            roll_back_release(run, None, then, restore, force=force)


def ways_back(run: SiteRun, helm: SiteHelm, moves: Sequence[ReleaseMove]) -> tuple[list[ReleaseMove], list[Finding]]:
    """Return moves with how each chart goes back, and what keeps releases from it. Changes nothing.

    helm goes back to its own revision; where it has that no more, the release is deployed afresh.

    Raises:
        HostError: there is no helm. RemoteError: the cluster does not tell.
    """
    found: list[ReleaseMove] = []
    problems: list[Finding] = []
    for move in moves:
        then = move.then
        charts = then is not None and then.kind == "chart" and move.move in ("back", "again")
        if then is None or not charts or has_revision(run, helm, then):
            found.append(move)
            continue
        problem = again_problem(run, then)
        problems += [problem] if problem else []
        found.append(replace(move, afresh=True))
    return found, problems


def changed_since(run: SiteRun, helm: SiteHelm, now: Deployment, move: ReleaseMove) -> bool:
    """Tell whether a move has anything to do: after a run that was cut off, not all that it began with was changed."""
    if now.complete or move.then is None or move.now is None or not same_release(move.now, move.then):
        return True
    # What came back in that run is recorded as it is now: its data are not restored a second time.
    return release_changed(run, helm, move.now)
