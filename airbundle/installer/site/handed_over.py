"""The step of a release that an administrator deploys: it is waited for, checked and recorded, and never changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from airbundle.deploy.desired import images_of
from airbundle.deploy.handover import stamp_of
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import Conflict, Finding, SiteError, Unauthorized
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.release_works import OfRelease
from airbundle.installer.site.step import Change
from airbundle.installer.site.wait import wait_ready
from airbundle.progress import Phase

_POLL = 2.0
_HINT = "let the administrator run apply.sh of `airbundle install --handoff DIR` with this bundle"


@dataclass(frozen=True)
class _Seen:
    """What the operator sees of a release: what may not be looked at, and why others are not as handed over."""

    closed: tuple[ObjectKey, ...]
    wrong: tuple[Finding, ...]


class HandedOverStep(OfRelease):
    """A handed-over release, as a step; made as `OfRelease`."""

    def plan(self) -> Sequence[Change]:
        """Return that it is waited for; nothing when it was seen up already and still is there."""
        material = self._works.materials.of(self._carried, self._release)
        return [] if self._done(material) else [Change(f"release {self._release.name}, handed over: waited for", "run")]

    def run(self, phase: Phase) -> bool:
        """Wait until it is there and up, and record that; return whether that was not known yet.

        Raises:
            SiteError: it is not there in time, or of another version, or does not come up.
            Unauthorized: nothing of it may be looked at.
            Conflict: airbundle itself deployed it before.
        """
        run, release = self._works.run, self._release
        material = self._works.materials.of(self._carried, release)
        self._check_foreign()
        if self._done(material):
            return False
        with phase.item(release.name, 0):
            closed = self._wait(material)
            keys = [key for key in _keys(material) if key not in closed]
            what = f"{release.name}, which was handed over"
            wait_ready(run.cluster, keys, material.timeout, what=what, leaving=_leaving(material))
            if self._works.check is not None:
                self._works.check(run, release, material.namespace)
        if closed:
            kinds = ", ".join(sorted({key.kind for key in closed}))
            run.reporter.warn(f"release {release.name}: {len(closed)} objects may not be looked at ({kinds})")
        run.site_state.record(_record(material, run.trusted.statement.name))
        return True

    def _check_foreign(self) -> None:
        latest = self._works.run.site_state.latest()
        record = latest.release(self._release.name) if latest else None
        if record is not None and record.kind != HANDED_OVER:
            raise Conflict(
                f"the release {record.name} is up as {record.kind}, deployed by airbundle, and would be handed over",
                hint="take it away first, or leave `handedOver` out of the site file",
            )

    def _done(self, material: Material) -> bool:
        latest = self._works.run.site_state.latest()
        record = latest.release(self._release.name) if latest else None
        same = record is not None and record.kind == HANDED_OVER and record.inputs == material.inputs
        return same and not self._look(material, seen=True).wrong

    def _wait(self, material: Material) -> frozenset[ObjectKey]:
        """Wait until all that may be looked at is there as it was handed over; return what may not be."""
        left = material.timeout
        while True:
            begun = time.monotonic()
            seen = self._look(material)
            if not seen.wrong:
                break
            if left <= 0:
                raise SiteError(
                    f"the release {self._release.name} was handed over, and is not there as it is in this bundle",
                    findings=list(seen.wrong),
                    hint=_HINT,
                )
            time.sleep(_POLL)
            self._works.run.cluster.forget()
            left -= time.monotonic() - begun
        if len(seen.closed) == len(_keys(material)) and seen.closed:
            raise SiteError(
                f"the release {self._release.name} was handed over, and nothing of it may be looked at",
                hint="let the administrator apply cluster/40-operator-rights.yaml of the handoff",
            )
        return frozenset(seen.closed)

    def _look(self, material: Material, *, seen: bool = False) -> _Seen:
        """Look at all of it; what takes itself away may be gone, once something of it was `seen`."""
        closed, wrong, gone = list[ObjectKey](), list[Finding](), list[Finding]()
        keys, leaving = _keys(material), _leaving(material)
        for key in keys:
            try:
                live = self._works.run.cluster.get(key)
            except Unauthorized as error:
                if not error.forbidden:
                    raise
                closed.append(key)
                continue
            if live is None:
                missing = gone if key in leaving else wrong
                missing.append(Finding("it is not there", where=key.title, code="handed-over"))
            elif stamp_of(live) != material.inputs:
                wrong.append(Finding("it is not of this version of the bundle", where=key.title, code="handed-over"))
        if not seen and len(gone) == len(keys):
            wrong = gone  # nobody has applied it yet, for all that is known
        return _Seen(tuple(closed), tuple(wrong))


def _keys(material: Material) -> list[ObjectKey]:
    return sorted({each.key for each in material.running})


def _leaving(material: Material) -> frozenset[ObjectKey]:
    """Return what takes itself away when it has ended."""
    return frozenset(each.key for each in material.running if each.leaves)


def _record(material: Material, bundle: str) -> DeployedRelease:
    """Return the record: what it is, and nothing that airbundle could take away or put back."""
    return DeployedRelease(
        name=material.release.name,
        namespace=material.namespace,
        kind=HANDED_OVER,
        inputs=material.inputs,
        rollback="never",
        needs=material.release.needs,
        images=images_of(material.objects),
        objects=tuple(sorted(str(key) for key in _keys(material) if key not in _leaving(material))),
        bundle=bundle,
    )
