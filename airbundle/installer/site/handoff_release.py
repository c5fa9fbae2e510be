"""The files of a handed-over release: what kubectl applies in the place of helm, in parts that go by when they act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airbundle.deploy.desired import Desired
from airbundle.deploy.dig import text
from airbundle.deploy.handover import stamped
from airbundle.deploy.objects import CRD, holds_data
from airbundle.deploy.write_yaml import write_documents
from airbundle.installer.site.handoff_scripts import AFTER, BEFORE, CRDS, DATA, MANIFESTS, ReleaseFiles
from airbundle.installer.site.release_material import Material

_HOOK, _WEIGHT = "helm.sh/hook", "helm.sh/hook-weight"
_BEFORE = frozenset({"pre-install", "pre-upgrade"})
_AFTER = frozenset({"post-install", "post-upgrade"})
_WAITED = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


@dataclass(frozen=True)
class HandedRelease:
    """A release that is handed over.

    Attributes:
        why: it is the administrator's.
        parts: file → its objects, in the order in which they are applied.
    """

    material: Material
    why: str
    parts: Mapping[str, Sequence[Desired]] = field(repr=False)

    @property
    def name(self) -> str:
        """The release's name."""
        return self.material.release.name

    @property
    def objects(self) -> list[Desired]:
        """All that is applied."""
        return [each for part in self.parts.values() for each in part]

    @property
    def secret(self) -> frozenset[str]:
        """Files that hold Secrets."""
        return frozenset(file for file, part in self.parts.items() if any(each.key.kind == "Secret" for each in part))

    def text(self, file: str) -> bytes:
        """Return a file's bytes."""
        return write_documents(stamped(each, self.material.inputs) for each in self.parts[file])

    def files(self) -> ReleaseFiles:
        """Return what the scripts must know of it."""
        waits = [each.key for each in self.parts.get(MANIFESTS, ()) if each.key.kind in _WAITED]
        jobs = [
            (file, each.key.namespace, each.key.name)
            for file, part in self.parts.items()
            for each in part
            if each.key.kind == "Job"
        ]
        return ReleaseFiles(
            self.name,
            tuple(self.parts),
            tuple((key.kind, key.namespace, key.name) for key in waits),
            tuple(jobs),
            int(self.material.timeout),
        )


def hand_over(material: Material, why: str) -> HandedRelease:
    """Return a release as it is handed over; helm's tests, and hooks of other events than installs, are left out."""
    parts: dict[str, list[Desired]] = {CRDS: [], DATA: [], BEFORE: [], MANIFESTS: [], AFTER: []}
    for each in material.objects:
        file = _part(each)
        if file:
            parts[file].append(each)
    for file in (BEFORE, AFTER):
        parts[file].sort(key=_weight)
    return HandedRelease(material, why, {file: part for file, part in parts.items() if part})


def _part(each: Desired) -> str:
    if each.phase == "test":
        return ""
    if each.phase == "hook":
        events = {event.strip() for event in text(each.body, "metadata", "annotations", _HOOK).split(",")}
        return BEFORE if events & _BEFORE else AFTER if events & _AFTER else ""
    if each.key.kind == CRD:
        return CRDS
    return DATA if holds_data(each.key) else MANIFESTS


def _weight(each: Desired) -> int:
    try:
        return int(text(each.body, "metadata", "annotations", _WEIGHT) or "0")
    except ValueError:
        return 0
