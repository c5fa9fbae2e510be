"""Volumes: the classes that claims name, the cluster's default, room where the cluster tells it, what is stuck."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from airbundle.deploy.facts import Body, SiteFacts
from airbundle.deploy.quantity import parse_quantity, shown
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.rules.quotas import claims_of
from airbundle.deploy.templates import name_of, namespace_of
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping
from airbundle.scan.rules.texts import texts_of

_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_NAMES = frozenset({"storageClassName", "storageClass"})
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_OF_ONE_NODE = ("local-path", "hostpath", "host-path", "local.csi", "topolvm", "openebs.io/local", "ebs.csi", "cinder")
"""Parts of the names of provisioners whose volumes only one node can have at a time."""
_KNOWN = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "PersistentVolumeClaim"})


def classes(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the classes that are named and not there, and claims that name none where there is no default."""
    there = facts.all("StorageClass")
    names = {name_of(each) for each in there} | {manifest.name for manifest in wanted.of_kind("StorageClass")}
    defaults = [name_of(each) for each in there if is_default(each)]
    if len(defaults) > 1:
        hint = "take the annotation storageclass.kubernetes.io/is-default-class from all but one"
        yield told(
            "storage-defaults",
            "more than one StorageClass is the default",
            where="cluster",
            found=listed(defaults),
            hint=hint,
        )
    site = wanted.site
    if site.storage_class and site.storage_class not in names:
        yield _missing(site.storage_class, f"{site.where} storageClass", names)
    for _, manifest in wanted.acting:
        for where, name in _named(manifest):
            if name and name not in names:
                yield _missing(name, where, names)
            elif name is None and not defaults:
                yield told(
                    "storage-default",
                    "the claim names no StorageClass, and the cluster has no default",
                    where=where,
                    found=listed(sorted(names)) or "no StorageClass",
                    expected="a class marked as the default",
                    hint="mark one by the annotation storageclass.kubernetes.io/is-default-class: 'true', or name one "
                    "in the values by {{ site.storageClass }}",
                )


def is_default(body: Body) -> bool:
    """Tell whether a StorageClass is the cluster's default."""
    annotations = mapping(mapping(body.get("metadata")).get("annotations"))
    return any(annotations.get(name) == "true" for name in _DEFAULT)


def _missing(name: str, where: str, names: set[str]) -> Finding:
    return told(
        "storage-class",
        f"the StorageClass {name!r} is not there",
        where=where,
        found=listed(sorted(names)) or "no StorageClass",
        hint="write one that is there as `storageClass` into the site file, or have it made",
    )


def _named(manifest: Manifest) -> Iterator[tuple[str, str | None]]:
    """Yield where a claim names its class: None for the default, empty for none at all."""
    if manifest.kind not in _KNOWN:
        for text in texts_of(manifest) if manifest.kind not in {"StorageClass", "PersistentVolume"} else ():
            if text.name in _NAMES and text.source == "field" and text.value != "-":  # charts write "-" for none
                yield f"{manifest}: {text.path}", text.value
        return
    for claim, _ in claims_of(manifest):
        name = claim.get("storageClassName")
        if name is not None or not claim.get("volumeName"):
            yield f"{manifest}: storageClassName", None if name is None else str(name)


def room(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the classes that tell of too little room, have no volume to give, or can't share one among nodes."""
    by_name = {name_of(each): each for each in facts.all("StorageClass")}
    default = next((name for name, each in by_name.items() if is_default(each)), "")
    asked: dict[str, Decimal] = {}
    for _, manifest in wanted.acting:
        for claim, times in claims_of(manifest):
            name = str(claim.get("storageClassName") or default)
            size = parse_quantity(mapping(mapping(claim.get("resources")).get("requests")).get("storage")) or Decimal(0)
            asked[name] = asked.get(name, Decimal(0)) + size * times
            provisioner = str(by_name.get(name, {}).get("provisioner") or "")
            modes = claim.get("accessModes")
            shared = isinstance(modes, list) and "ReadWriteMany" in modes
            if shared and any(part in provisioner for part in _OF_ONE_NODE):
                yield told(
                    "storage-shared",
                    "the claim is to be written from several nodes, and its class gives volumes of one node",
                    where=f"{manifest}: accessModes",
                    found=f"{name} ({provisioner})",
                    expected="a class of shared volumes, such as NFS or CephFS",
                    hint="name such a class in the site's values, or ask for ReadWriteOnce",
                )
    yield from _short(facts, asked, by_name)


def _short(facts: SiteFacts, asked: Mapping[str, Decimal], by_name: Mapping[str, Body]) -> Iterator[Finding]:
    told_of: dict[str, Decimal] = {}
    for each in facts.all("CSIStorageCapacity"):
        capacity = parse_quantity(each.get("capacity"))
        name = str(each.get("storageClassName") or "")
        if capacity is not None:
            told_of[name] = told_of.get(name, Decimal(0)) + capacity
    for name, size in sorted(asked.items()):
        if name in told_of and size > told_of[name]:
            yield told(
                "storage-capacity",
                f"the StorageClass {name} has too little room for all claims",
                where="cluster",
                found=shown("storage", told_of[name]),
                expected=shown("storage", size),
                hint="add disks, or ask for less in the site's values",
            )
        if by_name.get(name, {}).get("provisioner") == _NO_PROVISIONER:
            free = [each for each in facts.all("PersistentVolume") if _is_free(each, name)]
            if not free:
                yield told(
                    "storage-volumes",
                    f"the StorageClass {name} makes no volumes, and none is free",
                    where="cluster",
                    expected=shown("storage", size),
                    hint="make PersistentVolumes of this class",
                )


def _is_free(volume: Body, name: str) -> bool:
    phase = mapping(volume.get("status")).get("phase")
    return phase == "Available" and mapping(volume.get("spec")).get("storageClassName") == name


def stuck(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield claims that wait for a volume, and volumes that failed."""
    waiting = {
        name_of(each) for each in facts.all("StorageClass") if each.get("volumeBindingMode") == "WaitForFirstConsumer"
    }
    used = {
        (namespace_of(pod), str(mapping(volume.get("persistentVolumeClaim")).get("claimName")))
        for pod in facts.all("Pod")
        for volume in entries(mapping(pod.get("spec")).get("volumes"))
        if volume.get("persistentVolumeClaim")
    }
    for claim in facts.all("PersistentVolumeClaim"):
        key = (namespace_of(claim), name_of(claim))
        named = str(mapping(claim.get("spec")).get("storageClassName") or "")
        phase = mapping(claim.get("status")).get("phase")
        if phase == "Lost" or (phase == "Pending" and (named not in waiting or key in used)):
            yield told(
                "claim-pending",
                "the claim has no volume" if phase == "Pending" else "the claim's volume is gone",
                where=f"PersistentVolumeClaim {key[0]}/{key[1]}",
                found=f"{phase}, StorageClass {named or 'none'}",
                hint="`kubectl describe pvc` says why; new claims of its class may wait, too",
                severity="error" if key[0] in wanted.namespaces else "warning",
            )
    for volume in facts.all("PersistentVolume"):
        if mapping(volume.get("status")).get("phase") == "Failed":
            found = str(mapping(volume.get("status")).get("message") or "")[:200]
            hint = "its provisioner could not give it back; look at it before new ones are asked for"
            where = f"PersistentVolume {name_of(volume)}"
            yield told("volume-failed", "the volume failed", where=where, found=found, hint=hint)
