"""What runs in a cluster's pods against what was signed: another version's image, or nobody's. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airbundle.deploy.keeping import owners_of, title_of
from airbundle.deploy.objects import ObjectKey

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_SPECS = ("containers", "initContainers", "ephemeralContainers")
_MOST = 1000


@dataclass(frozen=True)
class Runs:
    """An image that a container of a pod runs.

    Attributes:
        pod: `NAMESPACE/NAME`.
        container: its name.
        image: as the pod writes it.
        digest: of what was pulled for it; empty where nothing was yet and none is written.
    """

    pod: str
    container: str
    image: str
    digest: str


def runs_of(pod: Mapping[str, Any]) -> Iterator[Runs]:
    """Yield what the containers of a pod run."""
    spec, status = (pod.get(name) if isinstance(pod.get(name), Mapping) else {} for name in ("spec", "status"))
    pulled = {
        str(each.get("name")): str(each.get("imageID") or "") for name in _LISTS for each in _listed(status, name)
    }
    for name in _SPECS:
        for each in _listed(spec, name):
            container, image = str(each.get("name")), str(each.get("image") or "")
            found = _DIGEST.findall(pulled.get(container, "")) or _DIGEST.findall(image)
            yield Runs(title_of(pod), container, image, found[-1] if found else "")


def _listed(body: Any, name: str) -> list[Mapping[str, Any]]:
    value = body.get(name) if isinstance(body, Mapping) else None
    return [each for each in value[:_MOST] if isinstance(each, Mapping)] if isinstance(value, list) else []


def belongs(pod: Mapping[str, Any], objects: Collection[ObjectKey], look: Any) -> bool:
    """Tell whether a pod is one of some objects, or made by one: by a ReplicaSet of a Deployment, by a Job, and so on.

    Args:
        pod: as the cluster has it.
        objects: what a deployment has.
        look: gives an object by its key; None where it isn't there.
    """
    metadata = pod.get("metadata") or {}
    if ObjectKey("v1", "Pod", str(metadata.get("namespace") or ""), str(metadata.get("name"))) in objects:
        return True
    for key, _ in owners_of(pod):
        if key in objects:
            return True
        owner = look(key)
        if owner is not None and any(above in objects for above, _ in owners_of(owner)):
            return True
    return False


def why_wrong(runs: Runs, now: Collection[str], known: Collection[str]) -> str:
    """Return what is wrong with an image that runs; empty when it is of the version that is deployed.

    Args:
        runs: it.
        now: digests of the images of that version, with all their platforms.
        known: those of all versions that are installed here.
    """
    if not runs.digest:
        return ""  # nothing was pulled yet; whether that will be right is told by the object's own check
    if runs.digest in now:
        return ""
    return "an image of another version" if runs.digest in known else "an image that is in no bundle"
