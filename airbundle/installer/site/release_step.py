"""The step of one release: deployed when what decides it has changed, waited for, tested, and recorded.

After a kill at any moment another run goes on: what helm took in whole is not given to it again, and what an attempt
may have made is known from before it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.deploy.desired import images_of, objects_of_manifest
from airbundle.deploy.objects import parse_key
from airbundle.errors import SiteError
from airbundle.installer.site.apply import Applier
from airbundle.installer.site.deployment import DeployedRelease
from airbundle.installer.site.release_apply import apply_again, apply_definitions, apply_manifests, put_back
from airbundle.installer.site.release_before import back_up
from airbundle.installer.site.release_found import Found, find_release, texts_of
from airbundle.installer.site.release_lasting import lasting_marks, tell_lasting
from airbundle.installer.site.release_material import Material
from airbundle.installer.site.release_plan import applied_before, planned_changes
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.release_up import wait_up
from airbundle.installer.site.release_values import keep_values
from airbundle.installer.site.release_works import OfRelease, ReleaseWorks
from airbundle.installer.site.step import Change
from airbundle.installer.site.wait import why_not
from airbundle.progress import Phase


class ReleaseStep(OfRelease):
    """A release that airbundle deploys, as a step; made as `OfRelease`."""

    _restored = True
    """Whether its data belong to it once it is up."""

    def __init__(self, works: ReleaseWorks, carried: CarriedRelease, release: Release, needs: Sequence[str]) -> None:
        super().__init__(works, carried, release, needs)
        self._tracks = Tracks(works.run.site_state, release.name)
        self._done: tuple[Material, Found] | None = None

    def plan(self) -> Sequence[Change]:
        """Return what would change; nothing when it is up as it is to be."""
        run = self._works.run
        material = self._works.materials.of(self._carried, self._release)
        found = self._find(material)
        if found.done and not found.asks:
            return []
        changes = list(planned_changes(run.cluster, material, applied_before(run.site_state, found.record)))
        if found.done:
            titles = {key.title for key in found.asks}
            return [replace(each, inputs=material.inputs) for each in changes if each.what in titles]
        runs = self._release.before if found.exists and not (found.taken or found.saved or found.edited) else ()
        before = [Change(path, "run") for path in runs]
        told = [*before, *changes] or [Change(f"release {self._release.name}", "change")]
        # What is made anew has no diff, and secrets are hidden in one: a review holds for what was rendered then alone.
        return [replace(change, inputs=material.inputs) for change in told]

    def deploys(self) -> bool:
        """Tell whether the release would be deployed. A run right after it does not look again at what is done."""
        material = self._works.materials.of(self._carried, self._release)
        found = self._find(material)
        self._done = (material, found) if found.done else None
        return not found.done

    def run(self, phase: Phase) -> bool:
        """Deploy it, as far as it isn't; return whether anything changed."""
        run = self._works.run
        material, found = self._done if self._done and not self._works.changed else self._look()
        applier = Applier(run.cluster, run.journal, run.site_state, self.name, run.reporter, ask=run.ask)
        if found.done:
            return self._leave(applier, material, found)
        self._works.changed.append(self.name)
        with phase.item(self._release.name, 0):
            applier.namespace(material.namespace)
            revision = found.revision
            if not found.taken:
                revision = self._deploy(applier, material, found, self._before(applier, material, found))
            record = self._record(material, revision)
            if found.edited and material.chart:
                put_back(run, applier, record, but=found.track.lasting)
            self._come_up(record, material.timeout)
            self._prune(applier, record)
            self._prove(material)
        run.site_state.record(record)
        self._settle(applier, record)
        return True

    def _look(self) -> tuple[Material, Found]:
        material = self._works.materials.of(self._carried, self._release)
        if material.chart:
            # A helm that an earlier run started may have outlived it.
            self._works.helm.releases.wait(material.namespace, self._release.name, timeout=material.timeout)
        return material, self._find(material)

    def _come_up(self, record: DeployedRelease, timeout: float) -> None:
        """Wait until it is up."""
        wait_up(self._works.run, record, timeout)

    def _settle(self, applier: Applier, record: DeployedRelease) -> None:
        """Remember what is there, and what of it is other than it was applied all the same."""
        run = self._works.run
        left = lasting_marks(run.cluster, run.site_state, record)
        declined = map(str, applier.declined)
        self._tracks.settle(record.objects, lasting=left, declined=declined, restored=self._restored)

    def _leave(self, applier: Applier, material: Material, found: Found) -> bool:
        """Leave it as it is; what was set by hand is put back where a person agrees by now."""
        run, record = self._works.run, found.record
        tell_lasting(run, self.name, [each for each in found.lasting if each.key not in found.asks])
        if record is None or not apply_again(run, applier, material, found.asks):
            return False
        self._come_up(record, material.timeout)
        self._settle(applier, record)
        return True

    def _find(self, material: Material) -> Found:
        return find_release(self._works, material, self._tracks.read())

    def _before(self, applier: Applier, material: Material, found: Found) -> bool:
        """Run what is to be run before an upgrade, such as a backup: it must end well. Return whether it ever did.

        Never of what a failed attempt left: a backup of that would take the place of the one that a rollback restores.
        Nor for what was edited by hand alone: the same version comes up again on its data.
        """
        run, release = self._works.run, self._release
        if not release.before or not found.exists or found.edited:
            return found.saved
        if found.saved:
            names = ", ".join(release.before)
            run.reporter.event(f"{self.name}: {names} ran before the attempt that failed, and is not run again")
            return True
        objects = self._works.materials.manifests(self._carried, release, release.before)
        back_up(run, applier, objects, release=release.name, record=found.record, timeout=material.timeout)
        return True

    def _deploy(self, applier: Applier, material: Material, found: Found, saved: bool) -> int:
        """Have helm, or the API, take it; return helm's revision."""
        run = self._works.run
        if material.chart:
            run.journal.note(self.name, undo=[{"helm": f"{material.namespace}/{material.release.name}"}])
        self._tracks.begin(texts_of(material), material.inputs, found.base, saved=saved)
        apply_definitions(run, applier, material, edited=found.edited)
        revision = 0
        if material.chart:
            lacking = set(found.record.objects if found.record else ()) - set(texts_of(material))
            applier.protect(sorted(map(parse_key, lacking)))
            revision = self._upgrade(material, found)
        else:
            apply_manifests(run, applier, material, edited=found.edited)
        run.cluster.forget()
        self._tracks.taken(material.inputs, revision)
        return revision

    def _upgrade(self, material: Material, found: Found) -> int:
        """Have helm take it, and its hooks end; of those that don't, tell more than helm does."""
        works = self._works
        try:
            given = works.helm.release(material, works.materials.pins)
            return works.helm.releases.upgrade(given, ours=found.track.begun).number
        except SiteError as error:
            hooks = [each.key for each in material.objects if each.phase == "hook" and each.key.kind in ("Job", "Pod")]
            error.findings = (*error.findings, *why_not(works.run.cluster, hooks))
            raise

    def _record(self, material: Material, revision: int) -> DeployedRelease:
        """Return what is up, as helm says, or as it was applied."""
        run, works, release = self._works.run, self._works, material.release
        if material.chart:
            text = works.helm.releases.manifest(material.namespace, release.name, revision)
            objects = objects_of_manifest(text, material.namespace, works.materials.scope)
            objects += [each for each in material.running if each.apart]
        else:
            text, objects = material.text, material.running
        return DeployedRelease(
            name=release.name,
            namespace=material.namespace,
            kind="chart" if material.chart else "manifests",
            inputs=material.inputs,
            revision=revision,
            rollback=release.rollback,
            needs=release.needs,
            images=images_of(objects),
            objects=tuple(sorted({str(each.key) for each in objects})),
            manifest=run.site_state.keep_manifest(text),
            bundle=run.trusted.statement.name,
            values=keep_values(run.site_state, material.values) if material.chart else "",
        )

    def _prune(self, applier: Applier, record: DeployedRelease) -> None:
        """Delete what earlier attempts and the previous version had, and this one has not."""
        run = self._works.run
        latest = run.site_state.latest()
        others = [each for each in latest.releases if each.name != record.name] if latest else []
        kept = {*record.objects, *(text for each in others for text in each.objects)}
        before = latest.release(record.name) if latest else None
        known = self._tracks.read().objects.union(before.objects if before else ())
        applier.delete(map(parse_key, known - kept))

    def _prove(self, material: Material) -> None:
        """Run helm's tests and the declared checks: a release is up only when they say so."""
        works, release = self._works, material.release
        if release.test and material.chart:
            works.helm.releases.test(material.namespace, release.name, timeout=material.timeout)
        if works.check is not None:
            works.check(works.run, release, material.namespace)
