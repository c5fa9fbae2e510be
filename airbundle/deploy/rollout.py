"""When an object of a cluster is up: rules on what its controller says of it.

They are those of `kubectl rollout status` for workloads and of kstatus for custom resources, with these differences:
a Deployment that is paused, and a Job that is suspended, are as they were asked to be; a claim whose volume is made for
its first pod waits for nothing. What isn't known to become ready is ready by being there.
Source: kubectl/pkg/polymorphichelpers/rollout_status.go; cli-utils/pkg/kstatus/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.deploy.dig import condition, group, mapping, number, text, value
from airbundle.deploy.pods import pod_trouble

Body = Mapping[str, Any]

WAITED_FOR = {
    ("cert-manager.io", "Certificate"): "Ready",
    ("cert-manager.io", "ClusterIssuer"): "Ready",
    ("cert-manager.io", "Issuer"): "Ready",
    ("postgresql.cnpg.io", "Cluster"): "Ready",
    ("trust.cert-manager.io", "Bundle"): "Synced",
}
"""Kinds whose controllers are known to tell a condition: without it they have not been looked at yet."""


@dataclass(frozen=True)
class Rollout:
    """How far an object is.

    Attributes:
        ready: it is up.
        failed: it can't come up any more, as it is.
        why: what it waits for, or what failed; may be said of a ready one, too.
    """

    ready: bool
    failed: bool = False
    why: str = ""


def state_of(body: Body, related: Sequence[Body] = ()) -> Rollout:
    """Return how far an object is.

    Args:
        body: the object as the cluster has it.
        related: objects that it depends on: of a PersistentVolumeClaim its StorageClass.
    """
    if text(body, "metadata", "deletionTimestamp"):
        return Rollout(False, why="it is being deleted")
    kind = text(body, "kind")
    if kind == "PersistentVolumeClaim":
        return _claim(body, related)
    rule = _RULES.get((group(body), kind))
    return rule(body) if rule is not None else _resource(body)


def is_seen(body: Body) -> bool:
    """Tell whether the controller of a workload has seen it as it is now; before, what it says is of another one."""
    return number(body, "metadata", "generation") <= number(body, "status", "observedGeneration")


_UNSEEN = Rollout(False, why="its controller has not looked at it yet")


def _deployment(body: Body) -> Rollout:
    if value(body, "spec", "paused") is True:
        return Rollout(True, why="it is paused")
    if not is_seen(body):
        return _UNSEEN
    progressing, failure = condition(body, "Progressing"), condition(body, "ReplicaFailure")
    if failure.get("status") == "True" and "violates PodSecurity" in text(failure, "message"):
        return Rollout(False, True, text(failure, "message"))
    status = mapping(body, "status")
    wanted, updated = number(body, "spec", "replicas", default=1), number(status, "updatedReplicas")
    available = number(status, "availableReplicas")
    why = ""
    if updated < wanted:
        why = f"{updated} of {wanted} pods are of the new version"
    elif number(status, "replicas") > updated:
        why = f"{number(status, 'replicas') - updated} pods of the old version are left"
    elif available < updated:
        why = f"{available} of {wanted} pods are available"
    if why and failure.get("status") == "True":
        why += f"; {text(failure, 'message')}"
    late = progressing.get("reason") == "ProgressDeadlineExceeded"
    return Rollout(not why, bool(why) and late, f"{why}, and its deadline is over" if why and late else why)


def _stateful_set(body: Body) -> Rollout:
    if not is_seen(body):
        return _UNSEEN
    spec, status = mapping(body, "spec"), mapping(body, "status")
    wanted, ready = number(spec, "replicas", default=1), number(status, "readyReplicas")
    if ready < wanted:
        return Rollout(False, why=f"{ready} of {wanted} pods are ready")
    if number(status, "replicas") > wanted:
        return Rollout(False, why=f"{number(status, 'replicas') - wanted} pods are too many yet")
    if text(spec, "updateStrategy", "type") == "OnDelete":
        old = text(status, "currentRevision") != text(status, "updateRevision")
        return Rollout(True, why="pods are of the new version once they are deleted (OnDelete)" if old else "")
    partition = number(spec, "updateStrategy", "rollingUpdate", "partition")
    updated, new = number(status, "updatedReplicas"), max(wanted - partition, 0)
    # Without a change the controller counts all as current, and none as updated in some versions.
    if text(status, "currentRevision") != text(status, "updateRevision") and (not partition or updated < new):
        return Rollout(False, why=f"{updated} of {new} pods are of the new version")
    return Rollout(True)


def _daemon_set(body: Body) -> Rollout:
    if not is_seen(body):
        return _UNSEEN
    status = mapping(body, "status")
    wanted, available = number(status, "desiredNumberScheduled"), number(status, "numberAvailable")
    updated = number(status, "updatedNumberScheduled")
    if text(body, "spec", "updateStrategy", "type") != "OnDelete" and updated < wanted:
        return Rollout(False, why=f"{updated} of {wanted} nodes have a pod of the new version")
    if available < wanted:
        return Rollout(False, why=f"the pods of {available} of {wanted} nodes are available")
    return Rollout(True, why="" if wanted else "no node is meant to have a pod")


def _replica_set(body: Body) -> Rollout:
    if not is_seen(body):
        return _UNSEEN
    wanted, available = number(body, "spec", "replicas", default=1), number(body, "status", "availableReplicas")
    return Rollout(
        available >= wanted, why="" if available >= wanted else f"{available} of {wanted} pods are available"
    )


def _job(body: Body) -> Rollout:
    failed = condition(body, "Failed")
    if failed.get("status") == "True":
        told = f"{text(failed, 'reason')}: {text(failed, 'message')}".strip(": ")
        return Rollout(False, True, f"it failed: {told}")
    if condition(body, "Complete").get("status") == "True":
        return Rollout(True)
    if value(body, "spec", "suspend") is True:
        return Rollout(True, why="it is suspended")
    done, wanted = number(body, "status", "succeeded"), number(body, "spec", "completions", default=1)
    failures = number(body, "status", "failed")
    return Rollout(False, why=f"{done} of {wanted} pods ended well" + (f", {failures} failed" if failures else ""))


def _pod(body: Body) -> Rollout:
    phase = text(body, "status", "phase")
    if phase == "Succeeded" or condition(body, "Ready").get("status") == "True":
        return Rollout(True)
    trouble = pod_trouble(body)
    return Rollout(False, phase == "Failed" or trouble.certain, trouble.text or f"its phase is {phase or 'not told'}")


def _claim(body: Body, related: Sequence[Body]) -> Rollout:
    phase = text(body, "status", "phase")
    if phase == "Bound":
        return Rollout(True)
    if phase == "Lost":
        return Rollout(False, True, f"its volume {text(body, 'spec', 'volumeName')} is gone")
    name = text(body, "spec", "storageClassName")
    found = next((each for each in related if each.get("kind") == "StorageClass"), None)
    if found is None:
        return Rollout(False, why=f"there is no StorageClass {name}" if name else "there is no volume that fits")
    if text(found, "volumeBindingMode") == "WaitForFirstConsumer":
        return Rollout(True, why="its volume is made for its first pod")
    return Rollout(False, why=f"{text(found, 'provisioner') or name} has not made its volume yet")


def _definition(body: Body) -> Rollout:
    names = condition(body, "NamesAccepted")
    if names.get("status") == "False":
        return Rollout(False, True, f"its names are not accepted: {text(names, 'message')}")
    ready = condition(body, "Established").get("status") == "True"
    return Rollout(ready, why="" if ready else "it is not established yet")


def _api_service(body: Body) -> Rollout:
    available = condition(body, "Available")
    ready = available.get("status") == "True"
    return Rollout(ready, why="" if ready else text(available, "message") or "it is not available yet")


def _namespace(body: Body) -> Rollout:
    ready = text(body, "status", "phase") == "Active"
    return Rollout(ready, why="" if ready else "it is not active")


def _resource(body: Body) -> Rollout:
    """Return how far an object is whose kind has no rule: by its conditions, where it has some (kstatus)."""
    stalled, reconciling = condition(body, "Stalled"), condition(body, "Reconciling")
    if stalled.get("status") == "True":
        return Rollout(False, True, _told(stalled))
    awaited = WAITED_FOR.get((group(body), text(body, "kind")), "")
    ready = condition(body, awaited or "Ready")
    if not ready:
        return Rollout(not awaited, why=_UNSEEN.why if awaited else "")
    generation = number(body, "metadata", "generation")
    observed = number(ready, "observedGeneration", default=number(body, "status", "observedGeneration", default=-1))
    if 0 <= observed < generation:
        return _UNSEEN
    if ready.get("status") == "True" and reconciling.get("status") != "True":
        return Rollout(True)
    return Rollout(False, why=_told(reconciling if ready.get("status") == "True" else ready))


def _told(found: Body) -> str:
    words = [text(found, "reason"), text(found, "message")]
    return ": ".join(each for each in words if each) or f"its condition {found.get('type')} is {found.get('status')}"


_RULES: Mapping[tuple[str, str], Callable[[Body], Rollout]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("", "ReplicationController"): _replica_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "Namespace"): _namespace,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
}
