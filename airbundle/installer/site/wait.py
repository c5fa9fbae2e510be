"""Waiting until objects of a cluster are up, or telling why they are not: as soon as it is certain, else in the end.

Time in which the API server does not answer is not counted: what is waited for can't be seen, but goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.deploy.dig import items, number, text
from airbundle.deploy.objects import CRD, ObjectKey
from airbundle.deploy.pods import Trouble, blocking, new_pods, pod_trouble, selector_of, settling
from airbundle.deploy.rollout import Rollout, is_seen, state_of
from airbundle.errors import Finding, RemoteError, SiteError, Unauthorized
from airbundle.installer.site.why import findings_of
from airbundle.transfer.cluster_api import Resource
from airbundle.transfer.cluster_write import ClusterWriter

_log = logging.getLogger(__name__)

_POLL = 1.0
_COUNTED = 10.0
"""Most seconds that one look at the objects counts for; when it takes longer, the API server was away."""
_RECOVERY, _OUTAGES = 60.0, 5
"""Seconds that are left at least after that, so many times: controllers, too, must find back to work."""
_PODS = Resource("v1", "pods", "Pod")
_REPLICA_SETS = Resource("apps/v1", "replicasets", "ReplicaSet")
_BLOCKED = 30.0
"""Seconds for which a pod of the version before may keep the new one from coming up; it may only be restarting."""
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_STORAGE = "storage.k8s.io/v1"


@dataclass
class Awaited:
    """An object that is waited for, as it was last seen.

    Attributes:
        key: names it.
        body: as the cluster has it; None where it isn't there.
        pods: those of the version that comes up, with what keeps them from being ready.
        blocked: since when which pods of the version before, by uid, have kept it from bringing up the new one.
        since: when it was ready the first time without a break, on the monotonic clock; 0 for not ready.
    """

    key: ObjectKey
    body: Mapping[str, Any] | None = None
    rollout: Rollout = field(default_factory=lambda: Rollout(False))
    pods: Sequence[tuple[Mapping[str, Any], Trouble]] = ()
    blocked: dict[str, float] = field(default_factory=dict)
    since: float = 0.0

    @property
    def stuck(self) -> bool:
        """Whether it, or one of its pods, can't get ready as it is."""
        return self.rollout.failed or any(trouble.certain for _, trouble in self.pods)


def wait_ready(
    cluster: ClusterWriter,
    keys: Collection[ObjectKey],
    timeout: float,
    *,
    what: str = "",
    leaving: Collection[ObjectKey] = (),
) -> None:
    """Wait until objects are up, all at once.

    Pods of a version before that never got ready are deleted where a StatefulSet would wait for them without end.

    Args:
        cluster: where they are.
        keys: name them.
        timeout: seconds.
        what: whose objects they are, for errors, such as `release synapse`.
        leaving: those that take themselves away when they have ended: where one isn't there, it has, well or not.

    Raises:
        SiteError: one is not up in time, or can't be any more; its findings say of each what its controller, its pods,
            its events and its last log lines tell, without secrets.
        Unauthorized, Unreachable, RemoteError: the cluster gives no good answer.
    """
    left, outages = timeout, 0
    waiting = [Awaited(key) for key in sorted(set(keys))]
    while True:
        begun = time.monotonic()
        for each in waiting:
            _look(cluster, each, leaves=each.key in leaving)
        pending = [each for each in waiting if not each.rollout.ready]
        if not pending:
            return
        hopeless = any(each.rollout.failed for each in pending) or all(each.stuck for each in pending)
        if hopeless or left <= 0:
            raise _error(cluster, pending, len(waiting), "" if hopeless else f" after {timeout:.0f} s", what)
        time.sleep(_POLL)
        took = time.monotonic() - begun
        left -= min(took, _COUNTED)
        if took > _COUNTED + _POLL and outages < _OUTAGES:
            outages, left = outages + 1, max(left, _RECOVERY)


def why_not(cluster: ClusterWriter, keys: Collection[ObjectKey]) -> list[Finding]:
    """Return why objects are not up that somebody else has waited for; nothing of those that are, or aren't there.

    What can't be asked is left out: it is an error that is being told.
    """
    found: list[Finding] = []
    for each in map(Awaited, sorted(set(keys))):
        try:
            _look(cluster, each)
        except RemoteError as error:
            _log.info("%s: %s", each.key.title, error)
            continue
        if each.body is not None and not each.rollout.ready:
            found += findings_of(cluster, each.key, each.body, each.rollout, each.pods)
    return found


def begin_anew(cluster: ClusterWriter, keys: Collection[ObjectKey]) -> None:
    """Delete pods of workloads that have crashed and are not ready, so that they need not wait to be started again.

    The kubelet's pauses between crashes grow to five minutes; whoever has mended the cause need not wait for that.

    Args:
        cluster: where they are.
        keys: name the workloads; what has no pods of its own is left alone.

    Raises:
        Unreachable, RemoteError: the cluster gives no good answer.
    """
    for key in keys:
        body = cluster.get(key) if key.kind in _WORKLOADS else None
        try:
            for pod in _pods(cluster, body) if body is not None else ():
                if pod_trouble(pod).text and _restarts(pod):
                    cluster.delete(ObjectKey("v1", "Pod", key.namespace, text(pod, "metadata", "name")))
        except Unauthorized:
            return  # then it takes as long as the kubelet likes


def _restarts(pod: Mapping[str, Any]) -> int:
    listed = [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
    return sum(number(each, "restartCount") for each in listed)


def _look(cluster: ClusterWriter, each: Awaited, *, leaves: bool = False) -> None:
    """Look at an object; a Job that was seen to end well may be gone since."""
    if each.rollout.ready and each.key.kind == "Job":
        return
    each.body = body = cluster.get(each.key)
    if body is None:
        each.rollout, each.pods = Rollout(leaves, why="it is not there"), ()
        return
    each.rollout = state_of(body, _related(cluster, body))
    if each.rollout.ready and each.key.kind == CRD and not _served(cluster, body):
        each.rollout = Rollout(False, why="its kind is not served yet")
    pods = _pods(cluster, body)
    each.pods = [(pod, trouble) for pod in pods for trouble in [pod_trouble(pod)] if trouble.text]
    _unblock(cluster, each, blocking(body, pods))
    each.since = (each.since or time.monotonic()) if each.rollout.ready else 0.0
    if each.rollout.ready and time.monotonic() - each.since < settling(pods, time.time()):
        each.rollout = Rollout(False, why="its containers have only just started")


def _unblock(cluster: ClusterWriter, each: Awaited, pods: Sequence[Mapping[str, Any]]) -> None:
    """Delete pods that a StatefulSet would wait for without end; it makes them anew, of the new version."""
    now = time.monotonic()
    each.blocked = {uid: each.blocked.get(uid, now) for uid in (text(pod, "metadata", "uid") for pod in pods)}
    for pod in pods:
        name, uid = text(pod, "metadata", "name"), text(pod, "metadata", "uid")
        if not pod_trouble(pod).certain and now - each.blocked[uid] < _BLOCKED:
            continue
        try:
            cluster.delete(ObjectKey("v1", "Pod", each.key.namespace, name))
        except Unauthorized:
            return
        _log.info("%s: pod %s of the version before was never ready: deleted", each.key.title, name)
        each.pods = [known for known in each.pods if text(known[0], "metadata", "uid") != uid]


def _related(cluster: ClusterWriter, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    name = text(body, "spec", "storageClassName")
    if body.get("kind") != "PersistentVolumeClaim" or text(body, "status", "phase") == "Bound" or not name:
        return ()
    try:
        found = cluster.get(ObjectKey(_STORAGE, "StorageClass", "", name))
    except Unauthorized:
        # Who installs into namespaces alone may not see it: a pod will tell when its volume is not made.
        found = {"kind": "StorageClass", "volumeBindingMode": "WaitForFirstConsumer"}
    return () if found is None else (found,)


def _served(cluster: ClusterWriter, body: Mapping[str, Any]) -> bool:
    """Tell whether a kind that is defined can be asked for: discovery is some moments behind."""
    kind, api = text(body, "spec", "names", "kind"), text(body, "spec", "group")
    versions = [text(each, "name") for each in items(body, "spec", "versions") if each.get("served") is True]
    return all(cluster.resource_of(f"{api}/{version}", kind) is not None for version in versions)


def _pods(cluster: ClusterWriter, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the pods of the version that comes up; none until its controller has seen that there is one."""
    if body.get("kind") == "Pod":
        return [body]
    selector, namespace = selector_of(body), text(body, "metadata", "namespace")
    if not selector or not namespace or (body["kind"] != "Job" and not is_seen(body)):
        return []
    try:
        pods = list(cluster.objects(_PODS, namespace, labels=selector))
        sets = list(cluster.objects(_REPLICA_SETS, namespace, labels=selector)) if body["kind"] == "Deployment" else []
    except Unauthorized:
        return []  # its controller has the last word anyway
    return new_pods(body, pods, sets)


def _error(cluster: ClusterWriter, pending: Sequence[Awaited], count: int, late: str, what: str) -> SiteError:
    pending = sorted(pending, key=lambda each: not each.stuck)
    findings = [
        found for each in pending for found in findings_of(cluster, each.key, each.body, each.rollout, each.pods)
    ]
    telling = next((found for found in findings if found.code == "pod"), findings[0])
    subject = f"{what}: " if what else ""
    problem = f"{subject}{len(pending)} of {count} objects are not up{late}: {telling.where}: {telling.message}"
    return SiteError(problem, findings=findings, hint="mend what the findings say, then run the same command again")
