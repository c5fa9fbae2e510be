"""What a way back leaves alone: objects that hold data, objects whose end would take volumes along, and others' own.

Deleting an object deletes what it owns: a database operator's `Cluster`, the volume claims that are made for it. So not
only kinds that hold data by themselves (`objects.holds_data`) are kept, but all owners of a claim, up to the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from airbundle.deploy.objects import NAMESPACE, ObjectKey, holds_data, key_of
from airbundle.errors import DocumentError

HELM_KEEP = "helm.sh/resource-policy"
MANAGER = "airbundle"
CLAIM = "PersistentVolumeClaim"
WORKLOADS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
)

_DEEPEST = 16  # owners above owners that are followed
_HOOK = "helm.sh/hook"
_OF_THE_CLUSTER = frozenset(
    {"resourceVersion", "uid", "creationTimestamp", "managedFields", "generation", "deletionTimestamp", "selfLink"}
)

Look = Callable[[ObjectKey], "Mapping[str, Any] | None"]


def metadata_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object's metadata; nothing where it has none to speak of."""
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def title_of(body: Mapping[str, Any]) -> str:
    """Return `NAMESPACE/NAME` of an object, or its name alone."""
    metadata = metadata_of(body)
    return "/".join(str(metadata[name]) for name in ("namespace", "name") if metadata.get(name))


def owners_of(body: Mapping[str, Any]) -> Iterator[tuple[ObjectKey, str]]:
    """Yield key and uid of what owns an object; references that name nothing are left out."""
    metadata = metadata_of(body)
    listed = metadata.get("ownerReferences")
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, Mapping) or not isinstance(each.get("uid"), str):
            continue
        described = {**each, "metadata": {"name": each.get("name"), "namespace": metadata.get("namespace")}}
        try:
            yield key_of(described), each["uid"]
        except DocumentError:
            continue


def volume_owners(claims: Iterable[Mapping[str, Any]], look: Look) -> dict[str, list[str]]:
    """Return what owns volume claims, itself or by what it owns.

    Args:
        claims: PersistentVolumeClaims as the cluster has them.
        look: gives an object as the cluster has it; None where it isn't there. Owners lie in the same namespace or in
            none; which of both is told by who has the uid.

    Returns:
        uid → `NAMESPACE/NAME` of each claim that goes with it.
    """
    found: dict[str, list[str]] = {}
    for claim in claims:
        title = title_of(claim)
        left = [(key, uid, 1) for key, uid in owners_of(claim)]
        seen: set[str] = set()
        while left:
            key, uid, depth = left.pop()
            if uid in seen or depth > _DEEPEST:
                continue
            seen.add(uid)
            found.setdefault(uid, []).append(title)
            owner = look(key)
            if owner is not None and metadata_of(owner).get("uid") == uid:
                left += [(above, uid_above, depth + 1) for above, uid_above in owners_of(owner)]
    return found


def why_kept(key: ObjectKey, body: Mapping[str, Any], owners: Mapping[str, list[str]]) -> str:
    """Return why an object is not deleted by a way back that keeps data; empty when it may go.

    Args:
        key: names it.
        body: as the cluster has it.
        owners: see `volume_owners`.
    """
    if key.kind != NAMESPACE and holds_data(key):
        return "it holds data" if key.kind != "StorageClass" else "volumes are made by it"
    claims = owners.get(str(metadata_of(body).get("uid")), ())
    return f"deleting it deletes {', '.join(claims)}" if claims else ""


def is_ours(body: Mapping[str, Any]) -> bool:
    """Tell whether airbundle has set a field of an object, as the cluster notes it; or nobody has: it is but a name."""
    entries = _fields(body)
    return not entries or any(each.get("manager") == MANAGER for each in entries)


def changed_by_others(before: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Return who else changed an object since `before` was read: managers, sorted; status does not count."""
    known = {_entry(each) for each in _fields(before)}
    news = [each for each in _fields(live) if _entry(each) not in known and not each.get("subresource")]
    return sorted({str(each.get("manager")) for each in news} - {MANAGER})


def _fields(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = metadata_of(body).get("managedFields")
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _entry(field: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(field.get("manager")), str(field.get("operation")), str(field.get("time"))


def runs_of_others(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return workloads that are neither on their way out, nor owned by another object, nor left by a helm hook."""
    found = []
    for body in bodies:
        metadata = metadata_of(body)
        annotations = metadata.get("annotations")
        hook = isinstance(annotations, Mapping) and _HOOK in annotations
        if not metadata.get("deletionTimestamp") and not metadata.get("ownerReferences") and not hook:
            found.append(f"{body.get('kind')} {metadata.get('name')}")
    return sorted(found)


def claims_made_by(body: Mapping[str, Any]) -> re.Pattern[str] | None:
    """Return a pattern for the names of claims that a StatefulSet makes for its pods; None where it makes none.

    They are no part of any manifest, and nothing owns them: `<template>-<name>-<number>`.
    """
    spec = body.get("spec")
    templates = spec.get("volumeClaimTemplates") if isinstance(spec, Mapping) else None
    listed = [each for each in templates if isinstance(each, Mapping)] if isinstance(templates, list) else []
    names = [re.escape(str(metadata_of(each).get("name"))) for each in listed]
    if body.get("kind") != "StatefulSet" or not names:
        return None
    return re.compile(rf"(?:{'|'.join(names)})-{re.escape(str(metadata_of(body).get('name')))}-[0-9]+")


def as_made_anew(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what the cluster itself sets: to create it again, or to put it back."""
    metadata = {name: value for name, value in metadata_of(body).items() if name not in _OF_THE_CLUSTER}
    return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}
