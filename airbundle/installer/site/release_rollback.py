"""A release, back as it was recorded: by helm's own rollback, or by applying again what was applied then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from airbundle.bundle.release import Release
from airbundle.deploy.desired import objects_of_manifest
from airbundle.deploy.helm_history import DEPLOYED, Revision, recovery_of
from airbundle.deploy.objects import parse_key
from airbundle.errors import Conflict, SiteError
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_material import timeout_of
from airbundle.installer.site.release_plan import applied, scope_of
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.release_up import wait_up
from airbundle.installer.site.step import SiteRun
from airbundle.installer.site.undo_helm import read_record, write_record


def roll_back_release(
    run: SiteRun,
    release: Release | None,
    previous: DeployedRelease,
    restore: Callable[[], None] | None = None,
    *,
    force: bool = True,
) -> DeployedRelease:
    """Bring a release back to what was recorded, wait until it is up, and record it in the newest deployment.

    Definitions of custom resources stay as they are: older ones could drop what newer objects have. What is new since
    is deleted, except what holds data. Safe to repeat after a kill.

    Args:
        run: of which cluster, state, journal, reporter and patience are used.
        release: as a bundle has it, for its timeout; None: five minutes.
        previous: the record to go back to.
        restore: puts its data back, and waits until it is up with them; until that ended well, the release counts as
            one that did not go back. By default data stay as they are.
        force: take over what others have set since in plain manifests; else that stays, and is told.

    Returns:
        The record as it is now: helm gives a rollback a revision of its own.

    Raises:
        SiteError: helm knows the revision no more; a hook failed; it did not get ready in time.
        Conflict, Unauthorized, Refused, Unreachable, RemoteError: no good answer of the cluster.
    """
    name, timeout = previous.name, timeout_of(release)
    applier = Applier(run.cluster, run.journal, run.site_state, f"rollback/{name}", run.reporter)
    tracks = Tracks(run.site_state, name)
    latest = run.site_state.latest()
    newest = latest.release(name) if latest else None
    known = tracks.read().objects.union(newest.objects if newest else ())
    applier.namespace(previous.namespace)
    if restore is not None:
        tracks.restore()
    now = previous
    if previous.kind == "chart":
        applier.protect(sorted(map(parse_key, known.difference(previous.objects))))
        now = replace(previous, revision=_helm_back(run, previous, timeout))
    else:
        _apply_again(run, applier, previous, force)
    if restore is not None:
        restore()
    else:
        wait_up(run, now, timeout)
    others = {text for each in (latest.releases if latest else ()) if each.name != name for text in each.objects}
    applier.delete(map(parse_key, known - {*now.objects, *others}))
    run.site_state.record(now)
    tracks.settle(now.objects, restored=restore is not None)
    return now


def _helm_back(run: SiteRun, previous: DeployedRelease, timeout: float) -> int:
    with SiteHelm(run) as helm:
        history = helm.releases.history(previous.namespace, previous.name)
        newest = history[-1] if history else None
        if newest and newest.status == DEPLOYED and newest.number == previous.revision:
            return newest.number
        _check_known(previous, history)
        _add_kept(run, previous, history)
        return helm.releases.rollback(previous.namespace, previous.name, previous.revision, timeout=timeout).number


def _add_kept(run: SiteRun, previous: DeployedRelease, history: Sequence[Revision]) -> None:
    """Add to helm's newest record what it has left out since, and what is there all the same, such as volumes.

    helm creates what the newest revision lacks; where that is there, its rollback ends with an error.
    """
    dropped = recovery_of(history).drop
    stored = read_record(
        [each for each in history if each.number not in dropped], run.cluster, previous.namespace, previous.name
    )
    if stored is None:
        return
    text = stored.record.manifest.encode()
    now = {each.key for each in objects_of_manifest(text, previous.namespace, scope_of(previous))}
    wanted = applied(run.site_state, previous)
    lacking = [each for each in wanted if each.key not in now and run.cluster.get(each.key) is not None]
    if lacking:
        write_record(replace(stored, record=stored.record.adding(each.body for each in lacking)), run.cluster)


def _check_known(previous: DeployedRelease, history: Sequence[Revision]) -> None:
    if not any(each.number == previous.revision for each in history):
        found = ", ".join(str(each.number) for each in history) or "none"
        raise SiteError(
            f"the release {previous.name}: helm knows its revision {previous.revision} no more; found {found}",
            hint="install the bundle of that version again, with --allow-older",
        )


def _apply_again(run: SiteRun, applier: Applier, previous: DeployedRelease, force: bool) -> None:
    for each in applied(run.site_state, previous):
        if each.definition:
            continue
        try:
            applier.apply(each.body, force=force)
        except Conflict as error:
            run.reporter.warn(f"{error.problem}; it stays as it is")
