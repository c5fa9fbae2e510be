"""What the objects of a live cluster say of themselves: which containers they have, and in what state they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import UsageError
from airbundle.scan.model import Certainty

_MIRROR = "kubernetes.io/config.mirror"
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_REVISIONS = ("pod-template-hash", "controller-revision-hash")


def containers(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the containers of a pod, each with the path of its image."""
    spec = mapping(body.get("spec"))
    for key in ("containers", "initContainers", "ephemeralContainers"):
        listed = spec.get(key)
        for index, container in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(container, dict):
                yield f"spec.{key}[{index}].image", container


def runtime_images(body: Mapping[str, Any]) -> dict[str, Reference]:
    """Return container → what its runtime says it runs: name and digest of a registry (CRI, `imageID`)."""
    found = {}
    status = mapping(body.get("status"))
    for key in _STATUSES:
        listed = status.get(key)
        for each in listed if isinstance(listed, list) else ():
            text = str(mapping(each).get("imageID") or "").rpartition("://")[2]
            if "@" in text:  # else it is the ID that the node gave it
                try:
                    found[str(each.get("name"))] = parse_reference(text)
                except UsageError:
                    continue
    return found


def controller(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return kind and name of what makes such objects; empty when nothing does."""
    owners = mapping(body.get("metadata")).get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if mapping(owner).get("controller") is True:
            return str(owner.get("kind")), str(owner.get("name"))
    return ()


def is_made_by_another(body: Mapping[str, Any]) -> bool:
    """Whether a workload that is listed, too, makes this one: ReplicaSets are what Deployments were, one by one."""
    return (body["kind"], *controller(body)[:1]) in {("ReplicaSet", "Deployment"), ("Job", "CronJob")}


def pod_state(body: Mapping[str, Any]) -> tuple[Certainty, str]:
    """Return how surely a pod's images are needed, and why."""
    phase = str(mapping(body.get("status")).get("phase") or "")
    if _MIRROR in mapping(mapping(body.get("metadata")).get("annotations")):
        return "likely", "of a static pod, which comes with its node"
    if phase in {"Succeeded", "Failed"}:
        # What a Job ran is needed again; what was evicted may be of a release long gone.
        return "certain" if controller(body)[:1] == ("Job",) else "likely", f"of a pod that ended ({phase})"
    return "certain", "of a running pod" if phase == "Running" else f"of a pod ({phase or 'of no phase'})"


def likeness(body: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what pods that one controller made have alike when they are of one template and in one state."""
    labels = mapping(mapping(body.get("metadata")).get("labels"))
    images = tuple(str(container.get("image")) for _, container in containers(body))
    return (*(str(labels.get(name)) for name in _REVISIONS), images, pod_state(body))


def workload_state(body: Mapping[str, Any]) -> tuple[Certainty, str]:
    """Return how surely a workload runs its template by itself, and why."""
    kind, spec, status = body["kind"], mapping(body.get("spec")), mapping(body.get("status"))
    if kind in {"CronJob", "Job"}:
        return "likely", f"of a {kind} without pods"
    wanted = status.get("desiredNumberScheduled", 0) if kind == "DaemonSet" else spec.get("replicas", 1)
    if wanted:
        return "certain", f"of a {kind} whose pods don't run it yet"
    return "likely", f"of a {kind} without pods"


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and for anything else an empty one."""
    return value if isinstance(value, dict) else {}
