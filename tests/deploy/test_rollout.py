from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.rollout import Rollout, state_of

DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment"}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
DAEMON_SET = {"apiVersion": "apps/v1", "kind": "DaemonSet"}
JOB = {"apiVersion": "batch/v1", "kind": "Job"}
POD = {"apiVersion": "v1", "kind": "Pod"}
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
API_SERVICE = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
ISSUER = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer"}
THING = {"apiVersion": "x.io/v1", "kind": "Thing"}


def body(kind: dict[str, str], spec: Any = None, generation: int = 2, **status: Any) -> dict[str, Any]:
    return {**kind, "metadata": {"name": "a", "generation": generation}, "spec": spec or {}, "status": status}


def told(kind: str, status: str = "True", reason: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, **more}


def replicas(updated: int, total: int, available: int, observed: int = 2, *conditions: Any) -> dict[str, Any]:
    return {
        "observedGeneration": observed,
        "replicas": total,
        "updatedReplicas": updated,
        "availableReplicas": available,
        "conditions": list(conditions),
    }


LATE = told("Progressing", "False", "ProgressDeadlineExceeded")
FORBIDDEN = told("ReplicaFailure", message='pods "a" is forbidden: violates PodSecurity "restricted"')
QUOTA = told("ReplicaFailure", message="exceeded quota")
THREE = {"replicas": 3}
READY, WAITS, FAILED = "ready", "waits", "failed"


def verdict(rollout: Rollout) -> str:
    assert not (rollout.ready and rollout.failed)
    return READY if rollout.ready else FAILED if rollout.failed else WAITS


CASES = [
    ("up", body(DEPLOYMENT, THREE, **replicas(3, 3, 3)), READY, ""),
    ("one replica by default", body(DEPLOYMENT, **replicas(0, 0, 0)), WAITS, "0 of 1 pods are of the new"),
    ("none wanted", body(DEPLOYMENT, {"replicas": 0}, **replicas(0, 0, 0)), READY, ""),
    ("not seen", body(DEPLOYMENT, THREE, **replicas(3, 3, 3, 1)), WAITS, "has not looked"),
    ("no status", body(DEPLOYMENT, THREE), WAITS, "has not looked"),
    ("being updated", body(DEPLOYMENT, THREE, **replicas(1, 4, 3)), WAITS, "1 of 3 pods are of the new version"),
    ("old ones left", body(DEPLOYMENT, THREE, **replicas(3, 4, 4)), WAITS, "1 pods of the old version"),
    ("not available", body(DEPLOYMENT, THREE, **replicas(3, 3, 1)), WAITS, "1 of 3 pods are available"),
    ("late", body(DEPLOYMENT, THREE, **replicas(3, 3, 1, 2, LATE)), FAILED, "deadline is over"),
    ("late, and up in the end", body(DEPLOYMENT, THREE, **replicas(3, 3, 3, 2, LATE)), READY, ""),
    ("late with the version before", body(DEPLOYMENT, THREE, **replicas(3, 3, 1, 1, LATE)), WAITS, "has not looked"),
    ("forbidden", body(DEPLOYMENT, THREE, **replicas(0, 0, 0, 2, FORBIDDEN)), FAILED, "violates PodSecurity"),
    ("over quota", body(DEPLOYMENT, THREE, **replicas(0, 0, 0, 2, QUOTA)), WAITS, "exceeded quota"),
    ("paused", body(DEPLOYMENT, {"paused": True}), READY, "paused"),
]
STATEFUL: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("up", THREE, {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "1"}, READY, ""),
    ("not ready", THREE, {"readyReplicas": 2}, WAITS, "2 of 3 pods are ready"),
    ("too many", THREE, {"readyReplicas": 3, "replicas": 4}, WAITS, "1 pods are too many"),
    (
        "being updated",
        THREE,
        {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2", "updatedReplicas": 1},
        WAITS,
        "1 of 3 pods are of the new",
    ),
    (
        "all updated, not told yet",
        THREE,
        {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2", "updatedReplicas": 3},
        WAITS,
        "3 of 3",
    ),
    (
        "partition",
        {**THREE, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
        {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2", "updatedReplicas": 1},
        READY,
        "",
    ),
    (
        "partition not reached",
        {**THREE, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2", "updatedReplicas": 1},
        WAITS,
        "1 of 2",
    ),
    (
        "on delete",
        {**THREE, "updateStrategy": {"type": "OnDelete"}},
        {"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2"},
        READY,
        "once they are deleted",
    ),
]
CASES += [
    (f"stateful: {name}", body(STATEFUL_SET, spec, observedGeneration=2, **status), expected, why)
    for name, spec, status, expected, why in STATEFUL
]
NODES = {"observedGeneration": 2, "desiredNumberScheduled": 3}
CASES += [
    ("daemons up", body(DAEMON_SET, **NODES, updatedNumberScheduled=3, numberAvailable=3), READY, ""),
    ("daemons old", body(DAEMON_SET, **NODES, updatedNumberScheduled=1, numberAvailable=3), WAITS, "1 of 3 nodes"),
    ("daemons down", body(DAEMON_SET, **NODES, updatedNumberScheduled=3, numberAvailable=2), WAITS, "2 of 3 nodes"),
    ("daemons unseen", body(DAEMON_SET, observedGeneration=1), WAITS, "has not looked"),
    ("no nodes", body(DAEMON_SET, observedGeneration=2), READY, "no node"),
    (
        "daemons on delete",
        body(DAEMON_SET, {"updateStrategy": {"type": "OnDelete"}}, **NODES, numberAvailable=3),
        READY,
        "",
    ),
    ("job runs", body(JOB, {"completions": 2}, succeeded=1, failed=1), WAITS, "1 of 2 pods ended well, 1 failed"),
    ("job done", body(JOB, conditions=[told("Complete")]), READY, ""),
    ("job failed", body(JOB, conditions=[told("Failed", reason="BackoffLimitExceeded")]), FAILED, "BackoffLimit"),
    ("job suspended", body(JOB, {"suspend": True}), READY, "suspended"),
    ("pod up", body(POD, phase="Running", conditions=[told("Ready")]), READY, ""),
    ("pod done", body(POD, phase="Succeeded"), READY, ""),
    ("pod failed", body(POD, phase="Failed", reason="Evicted", message="no disk"), FAILED, "Evicted: no disk"),
    ("pod waits", body(POD, phase="Pending"), WAITS, "Pending"),
    ("bound", body(CLAIM, phase="Bound"), READY, ""),
    ("lost", body(CLAIM, {"volumeName": "v"}, phase="Lost"), FAILED, "v is gone"),
    ("no class", body(CLAIM, {"storageClassName": "fast"}, phase="Pending"), WAITS, "no StorageClass fast"),
    ("established", body(CRD, conditions=[told("NamesAccepted"), told("Established")]), READY, ""),
    ("not established", body(CRD), WAITS, "not established"),
    ("names taken", body(CRD, conditions=[told("NamesAccepted", "False", message="taken")]), FAILED, "taken"),
    ("api served", body(API_SERVICE, conditions=[told("Available")]), READY, ""),
    ("api not served", body(API_SERVICE, conditions=[told("Available", "False", message="no pods")]), WAITS, "no pods"),
    ("issuer unseen", body(ISSUER), WAITS, "has not looked"),
    ("issuer ready", body(ISSUER, conditions=[told("Ready")]), READY, ""),
    ("issuer not ready", body(ISSUER, conditions=[told("Ready", "False", "NoSecret", "x")]), WAITS, "NoSecret: x"),
    ("thing without conditions", body(THING), READY, ""),
    ("thing ready", body(THING, conditions=[told("Ready")]), READY, ""),
    ("thing ready before", body(THING, conditions=[told("Ready", observedGeneration=1)]), WAITS, "has not looked"),
    ("thing seen before", body(THING, observedGeneration=1, conditions=[told("Ready")]), WAITS, "has not looked"),
    ("thing stalled", body(THING, conditions=[told("Stalled", reason="Bad")]), FAILED, "Bad"),
    ("thing at work", body(THING, conditions=[told("Ready"), told("Reconciling", reason="Busy")]), WAITS, "Busy"),
    ("config map", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, READY, ""),
    ("namespace", body({"apiVersion": "v1", "kind": "Namespace"}, phase="Active"), READY, ""),
    ("namespace ends", body({"apiVersion": "v1", "kind": "Namespace"}, phase="Terminating"), WAITS, "not active"),
]


@pytest.mark.parametrize(("live", "expected", "why"), [pytest.param(*rest, id=name) for name, *rest in CASES])
def test_an_object_is_up_when_its_controller_says_so(live: dict[str, Any], expected: str, why: str) -> None:
    rollout = state_of(live)
    assert verdict(rollout) == expected
    assert why in rollout.why
    assert rollout.ready or rollout.why, "what isn't up says why"


@pytest.mark.parametrize("live", [live for _, live, *_ in CASES])
def test_what_is_being_deleted_is_not_up(live: dict[str, Any]) -> None:
    gone = {**live, "metadata": {**live["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert verdict(state_of(gone)) == WAITS


@pytest.mark.parametrize(("mode", "expected"), [("WaitForFirstConsumer", READY), ("Immediate", WAITS)])
def test_a_claim_may_wait_for_its_first_pod(mode: str, expected: str) -> None:
    storage = {"kind": "StorageClass", "provisioner": "x.io/disk", "volumeBindingMode": mode}
    assert verdict(state_of(body(CLAIM, phase="Pending"), [storage])) == expected


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "conditions",
                    "type",
                    "status",
                    "replicas",
                    "observedGeneration",
                    "updateStrategy",
                    "phase",
                    "generation",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.sampled_from([DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, POD, CLAIM, CRD, API_SERVICE, ISSUER, THING]),
    JUNK,
    JUNK,
    JUNK,
)
def test_no_object_is_too_odd(kind: dict[str, str], metadata: Any, spec: Any, status: Any) -> None:
    verdict(state_of({**kind, "metadata": metadata, "spec": spec, "status": status}))


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_a_deployment_is_up_only_with_all_pods_new_and_available(
    wanted: int, updated: int, old: int, ready: int
) -> None:
    available = min(ready, updated + old)
    live = body(DEPLOYMENT, {"replicas": wanted}, **replicas(updated, updated + old, available))
    if state_of(live).ready:
        assert updated >= wanted
        assert not old
        assert available >= wanted
