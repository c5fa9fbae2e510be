"""What is there of a release, before anything is done about it: whether it is up, edited, or left by an attempt."""

from __future__ import annotations

from dataclasses import dataclass

from airbundle.deploy.helm_history import DEPLOYED, recovery_of
from airbundle.deploy.objects import ObjectKey, parse_key
from airbundle.errors import Conflict
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.drift import Drift, release_changed
from airbundle.installer.site.release_lasting import lasting_alone
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.release_tracks import Track
from airbundle.installer.site.release_works import ReleaseWorks
from airbundle.transfer.helm_release import check_owner


@dataclass(frozen=True)
class Found:
    """What is there of a release.

    Attributes:
        record: what was recorded last.
        track: of its attempts.
        revision: helm's last one that is deployed; 0 where none is.
        base: the last one that helm counts from.
        exists: whether there is anything that an upgrade would change.
        done: nothing is to be done at all.
        taken: an earlier attempt with the same inputs was taken in whole: only waiting is left.
        edited: all of it was up once, and is not as it was applied then.
        lasting: what is not as it was applied, and was so when all of it was up: nothing is done about that.
        saved: what is run before a change was run for what was up before, which an attempt has changed since.
    """

    record: DeployedRelease | None
    track: Track
    revision: int
    base: int
    exists: bool
    done: bool
    taken: bool
    edited: bool
    saved: bool
    lasting: tuple[Drift, ...] = ()

    @property
    def asks(self) -> list[ObjectKey]:
        """Objects of which a person is asked again whether they are put back, having said no."""
        return [each.key for each in self.lasting if str(each.key) in self.track.declined]


@dataclass(frozen=True)
class _Helms:
    """What helm has: whether its newest revision is up, which that is, which it counts from, whether any is up."""

    up: bool = True
    revision: int = 0
    base: int = 0
    exists: bool = False


def find_release(works: ReleaseWorks, material: Material, track: Track) -> Found:
    """Return what is there of a release; reads only.

    Args:
        works: of the run.
        material: the release as it is to be.
        track: of its attempts.

    Raises:
        Conflict: it is somebody else's, or is up elsewhere, or as another kind of thing.
        HostError, Unauthorized, Unreachable, RemoteError: it can't be told.
    """
    run, name = works.run, material.release.name
    latest = run.site_state.latest()
    record = latest.release(name) if latest else None
    helms = _helms(works, material) if material.chart else _Helms()
    check_same(record, material)
    same = record is not None and (record.inputs, record.namespace) == (material.inputs, material.namespace)
    recorded = record if same and helms.up and record is not None and record.revision == helms.revision else None
    lasting = lasting_alone(run.cluster, run.site_state, recorded, track.lasting) if recorded else None
    taken = recorded is None and helms.up and track.took(material.inputs, helms.revision) and _there(works, material)
    return Found(
        record,
        track,
        helms.revision,
        helms.base,
        exists=helms.exists or record is not None,
        # While its data are yet to be restored it does not count as up, whatever its objects say.
        done=lasting is not None and not track.restoring,
        taken=taken or lasting is not None,
        edited=recorded is not None and lasting is None,
        saved=track.saved and record is not None and release_changed(run, works.helm, record),
        lasting=tuple(lasting or ()),
    )


def _helms(works: ReleaseWorks, material: Material) -> _Helms:
    history = works.helm.releases.history(material.namespace, material.release.name)
    check_owner(material.namespace, material.release.name, material.chart, history)
    up = bool(history) and history[-1].status == DEPLOYED
    dropped = recovery_of(history).drop
    return _Helms(
        up,
        revision=history[-1].number if up else 0,
        base=max((each.number for each in history if each.number not in dropped), default=0),
        exists=any(each.status == DEPLOYED for each in history),
    )


def _there(works: ReleaseWorks, material: Material) -> bool:
    # Also what takes itself away: nobody saw how it ended, and it may be that it failed.
    return all(works.run.cluster.get(parse_key(text)) is not None for text in texts_of(material))


def texts_of(material: Material) -> list[str]:
    """Return the `ObjectKey` texts of what runs of a release."""
    return [str(each.key) for each in material.running]


def check_same(record: DeployedRelease | None, material: Material) -> None:
    """Refuse to deploy a release elsewhere, or as another kind of thing, than where and what it is.

    Raises:
        Conflict: it would.
    """
    kind = "chart" if material.chart else "manifests"
    if record is not None and (record.namespace, record.kind) != (material.namespace, kind):
        raise Conflict(
            f"the release {record.name} is up as {record.kind} in {record.namespace}, and would be deployed as {kind} "
            f"in {material.namespace}",
            hint="give it another name, or take the old one away first: data does not move along",
        )
