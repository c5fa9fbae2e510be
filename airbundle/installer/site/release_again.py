"""A chart's release, back where helm has no revision to go back to: deployed again as it was, from its own bundle.

helm forgets a release that is uninstalled, and counts anew when it comes again. What it is to be is known all the same:
the chart lies in the bundle of that time, its values were kept, and the digest of both tells whether it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.deploy.desired import Desired, objects_of_manifest
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import chosen_release
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_material import Material, Materials
from airbundle.installer.site.release_plan import applied, scope_of
from airbundle.installer.site.release_step import ReleaseStep
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.release_values import kept_values
from airbundle.installer.site.release_works import ReleaseWorks
from airbundle.installer.site.step import SiteRun
from airbundle.progress import SILENT

_HINT = "install the bundle of that version again, with --allow-older"


def has_revision(run: SiteRun, helm: SiteHelm, record: DeployedRelease) -> bool:
    """Tell whether helm has the recorded revision: under its number, what was deployed then.

    A number alone tells little: a release that was taken away and came again counts from 1.

    Raises:
        HostError, RemoteError, DocumentError: it can't be told.
    """
    history = helm.releases.history(record.namespace, record.name)
    if all(each.number != record.revision for each in history):
        return False
    if not record.manifest:
        return True
    text = helm.releases.manifest(record.namespace, record.name, record.revision)
    has = {each.key: each.body for each in objects_of_manifest(text, record.namespace, scope_of(record))}
    # More may be there: a way back adds to helm's records what it finds, such as volumes.
    return all(has.get(each.key) == each.body for each in applied(run.site_state, record))


def again_problem(run: SiteRun, record: DeployedRelease) -> Finding | None:
    """Return why a release can't be deployed again as it was recorded; None when it can. Changes nothing.

    Args:
        run: of the bundle of that time, and with its site file.
        record: of a chart.
    """
    try:
        with _opened(run, record):
            return None
    except AirbundleError as error:
        return Finding(
            f"helm has its revision {record.revision} no more, and it can't be deployed again: {error.problem}",
            where=f"release/{record.name}",
            code="revision",
            hint=_HINT,
        )


def deploy_again(run: SiteRun, record: DeployedRelease, restore: Callable[[], None] | None = None) -> None:
    """Deploy a release as it was recorded, wait until it is up, and record it. Safe to repeat after a kill.

    Definitions of custom resources that are there stay as they are, and so does data.

    Args:
        run: of the bundle of that time, and with its site file.
        record: of a chart.
        restore: puts its data back, and waits until it is up with them, which it may refuse to be without. Until that
            ended well, the release counts as one that did not go back. By default data stay as they are.

    Raises:
        SiteError: it is not what was recorded, or does not come up.
        Conflict, Unauthorized, Refused, Unreachable, RemoteError: no good answer of the cluster.
    """
    with _opened(run, record) as again, SiteHelm(run) as helm, SILENT.phase("") as phase:
        if restore is not None:
            Tracks(run.site_state, record.name).restore()
        _StepBack(ReleaseWorks(run, again.materials, helm), again.carried, again.release, restore).run(phase)


class _StepBack(ReleaseStep):
    """The release's step; what is to be restored decides when it is up."""

    def __init__(
        self, works: ReleaseWorks, carried: CarriedRelease, release: Release, restore: Callable[[], None] | None
    ) -> None:
        super().__init__(works, carried, release, ())
        self._restore = restore
        self._restored = restore is not None

    def _come_up(self, record: DeployedRelease, timeout: float) -> None:
        if self._restore is None:
            super()._come_up(record, timeout)
        else:
            self._restore()


@dataclass(frozen=True)
class _Again:
    materials: Materials
    carried: CarriedRelease
    release: Release


@contextmanager
def _opened(run: SiteRun, record: DeployedRelease) -> Iterator[_Again]:
    carried = next((each for each in carried_releases(run.trusted.bundle) if each.release.name == record.name), None)
    if carried is None or not carried.chart:
        raise SiteError(f"{run.trusted.title} has no chart for it")
    # What was run before an upgrade, and tests, were of that time.
    release = replace(chosen_release(carried.release, run.site), before=(), test=False)
    with _AsRecorded(run, record) as materials:
        materials.of(carried, release)
        yield _Again(materials, carried, release)


class _AsRecorded(Materials):
    """What releases were, with the values that were kept."""

    def __init__(self, run: SiteRun, record: DeployedRelease) -> None:
        super().__init__(run.trusted, run.site, run.cluster, run.state.directory("bin"))
        self._run = run
        self._record = record

    def of(self, carried: CarriedRelease, release: Release) -> Material:
        """Return the release as it was recorded, without definitions that are there.

        Raises:
            SiteError: it would not be the same.
            CheckFailed, HostError: as for any other.
        """
        record = self._record
        values = kept_values(self._run.site_state, record.values) if record.values else None
        material = self.with_values(carried, release, values)
        if (material.namespace, material.inputs) != (record.namespace, record.inputs):
            raise SiteError("its values or the registry's name are others now, and those of then were not kept")
        return replace(material, objects=tuple(self._lacking(material.objects)))

    def _lacking(self, objects: Sequence[Desired]) -> Iterator[Desired]:
        for each in objects:
            if not each.definition or self._run.cluster.get(each.key) is None:
                yield each
