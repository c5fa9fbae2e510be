"""Pods of a cluster: which of them a workload brings up now, and what keeps one from being ready.

What is certain is told early: more waiting won't mend it. A container that ends again and again may wait for another
one that isn't up yet, so that it is certain only after several times, and whoever asks must look at the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airbundle.deploy.dig import condition, group, items, mapping, number, text, value

Body = Mapping[str, Any]

CRASHES = 5
"""Restarts after which a crash loop is one; the kubelet's pauses between them come to two and a half minutes."""
_STARTS = 3
"""The same for a program that can't even be started."""
_NEVER = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PULLS = frozenset({"ImagePullBackOff", "ErrImagePull"})
_UNSTARTED = frozenset({"StartError", "ContainerCannotRun"})
_RESTARTED = 10.0
_UNPROBED = 3.0
"""Seconds for which a container without readiness probe must run: it counts as ready as soon as it is started."""
REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE = "deprecated.daemonset.template.generation"


@dataclass(frozen=True)
class Trouble:
    """What keeps a pod from being ready.

    Attributes:
        text: empty when nothing is told.
        certain: waiting won't mend it.
        container: whose trouble it is; empty for the pod's own.
        ended: it has ended and runs again: its last words are those of the one before.
    """

    text: str = ""
    certain: bool = False
    container: str = ""
    ended: bool = False


def pod_trouble(pod: Body) -> Trouble:
    """Return what keeps a pod from being ready, the most telling first; nothing for one that is."""
    if text(pod, "status", "phase") == "Succeeded" or condition(pod, "Ready").get("status") == "True":
        return Trouble()
    stays = text(pod, "spec", "restartPolicy") == "Always"
    listed = [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
    found = [trouble for trouble in (_container_trouble(each, stays) for each in listed) if trouble.text]
    if found:
        return next((trouble for trouble in found if trouble.certain), found[0])
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return Trouble(f"{text(scheduled, 'reason')}: {text(scheduled, 'message')}".strip(": "))
    words = ": ".join(each for each in (text(pod, "status", "reason"), text(pod, "status", "message")) if each)
    unready = [
        text(each, "name") for each in items(pod, "status", "containerStatuses") if each.get("ready") is not True
    ]
    return Trouble(words or (f"not ready: {', '.join(unready)}" if unready else ""))


def _container_trouble(status: Body, stays: bool) -> Trouble:
    """Return what keeps a container from being ready; `stays`: it is meant never to end."""
    name, restarts = text(status, "name"), number(status, "restartCount")
    waiting, last = mapping(status, "state", "waiting"), mapping(status, "lastState", "terminated")
    reason, message = text(waiting, "reason"), text(waiting, "message")
    ended = mapping(status, "state", "terminated") or last
    if reason in _PULLS or reason in _NEVER:
        # The registry has answered, and has no such image; all else may be a registry that isn't up.
        certain = reason in _NEVER or (reason == "ImagePullBackOff" and ": not found" in message)
        return Trouble(f"{name}: {reason}: {message}".rstrip(": "), certain, name)
    too_soon = stays and status.get("ready") is not True and not value(status, "state", "waiting")
    if reason == "CrashLoopBackOff" or (ended and (number(ended, "exitCode") or too_soon)):
        how = f"{text(ended, 'reason') or 'ended'} with exit code {number(ended, 'exitCode')}"
        said = text(ended, "message")
        most = _STARTS if text(ended, "reason") in _UNSTARTED else CRASHES
        words = f"{name}: {how}, restarted {restarts} times" + (f": {said}" if said else "")
        # One that runs again may come up this time.
        certain = reason == "CrashLoopBackOff" and restarts >= most
        return Trouble(words, certain, name, ended=value(status, "state", "running") is not None)
    if reason and reason not in {"ContainerCreating", "PodInitializing"}:
        return Trouble(f"{name}: {reason}: {message}".rstrip(": "), False, name)
    return Trouble()


def settling(pods: Sequence[Body], now: float) -> float:
    """Return for how many seconds pods that are ready must stay so until they are believed; 0 for none.

    A container that ends at once is ready for a moment each time that it is started.

    Args:
        pods: as the cluster has them.
        now: seconds since 1970, on a clock that may differ from the cluster's.
    """
    left = 0.0
    for pod in pods:
        probed = {text(each, "name") for each in items(pod, "spec", "containers") if mapping(each, "readinessProbe")}
        for status in items(pod, "status", "containerStatuses"):
            needed = 0.0 if text(status, "name") in probed else _UNPROBED
            needed = _RESTARTED if number(status, "restartCount") else needed
            age = now - _seconds(text(status, "state", "running", "startedAt"), now)
            left = max(left, min(needed, needed - age))
    return left


def _seconds(stamp: str, now: float) -> float:
    """Return a time of the API in seconds since 1970; `now` for what is none."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return now


def selector_of(body: Body) -> str:
    """Return what selects a workload's pods, as the API takes it; empty for what has no pods."""
    if text(body, "kind") == "Job":
        return f"batch.kubernetes.io/controller-uid={text(body, 'metadata', 'uid')}"
    if group(body) != "apps":
        return ""
    selector = mapping(body, "spec", "selector")
    words = [f"{name}={each}" for name, each in sorted(mapping(selector, "matchLabels").items())]
    for each in items(selector, "matchExpressions"):
        key, operator = text(each, "key"), text(each, "operator")
        listed = each.get("values")
        values = ",".join(map(str, listed)) if isinstance(listed, list) else ""
        form = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        words.append(form.get(operator, f"!{key}"))
    return ",".join(words)


def new_pods(body: Body, pods: Sequence[Body], replica_sets: Sequence[Body] = ()) -> list[Body]:
    """Return those pods that a workload brings up now, and not those of the version before.

    Args:
        body: the workload.
        pods: that its selector selects.
        replica_sets: those of a Deployment.
    """
    kind, uid = text(body, "kind"), text(body, "metadata", "uid")
    if kind == "Deployment":
        revision = text(body, "metadata", "annotations", REVISION)
        owners = {
            text(each, "metadata", "uid")
            for each in replica_sets
            if _owned(each, {uid}) and text(each, "metadata", "annotations", REVISION) == revision
        }
        return [pod for pod in pods if _owned(pod, owners)]
    owned = [pod for pod in pods if _owned(pod, {uid})]
    if kind == "DaemonSet":
        generation = text(body, "metadata", "annotations", _TEMPLATE)
        return [pod for pod in owned if text(pod, "metadata", "labels", "pod-template-generation") == generation]
    if kind == "StatefulSet":
        if text(body, "spec", "podManagementPolicy") != "Parallel":
            return owned  # a pod of the version before that is not ready holds up the new one: it is told, too
        revision = text(body, "status", "updateRevision")
        return [pod for pod in owned if text(pod, "metadata", "labels", "controller-revision-hash") == revision]
    return owned


def blocking(body: Body, pods: Sequence[Body]) -> list[Body]:
    """Return pods of the version before that keep a StatefulSet from bringing up the new one, until they are deleted.

    One that goes in order waits until each pod is ready before it replaces the next, also for those of a version that
    never gets ready: going back to the version before does not help it ("StatefulSets", forced rollback).

    Args:
        body: the workload, which its controller has seen.
        pods: its own.
    """
    strategy = mapping(body, "spec", "updateStrategy")
    in_order = text(body, "spec", "podManagementPolicy") != "Parallel" and text(strategy, "type") != "OnDelete"
    if text(body, "kind") != "StatefulSet" or not in_order or number(strategy, "rollingUpdate", "partition"):
        return []
    new = text(body, "status", "updateRevision")
    old = [pod for pod in pods if text(pod, "metadata", "labels", "controller-revision-hash") != new]
    going = [pod for pod in old if not text(pod, "metadata", "deletionTimestamp")]
    return [pod for pod in going if new and condition(pod, "Ready").get("status") != "True"]


def _owned(body: Body, owners: set[str]) -> bool:
    return any(
        each.get("controller") is True and each.get("uid") in owners
        for each in items(body, "metadata", "ownerReferences")
    )
