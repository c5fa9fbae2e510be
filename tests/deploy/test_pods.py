from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.pods import CRASHES, REVISION, blocking, new_pods, pod_trouble, selector_of, settling

NOW = 1_000_000_000.0  # 2001-09-09T01:46:40Z


def pod(*statuses: dict[str, Any], ready: bool = False, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    return {
        "metadata": {"name": "p", "namespace": "n"},
        "status": {"containerStatuses": list(statuses), "conditions": conditions, **status},
    }


def waiting(reason: str, message: str = "", restarts: int = 0, /, **last: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "c", "restartCount": restarts, "state": state, "lastState": {"terminated": last} if last else {}}


BACK_OFF = "CrashLoopBackOff"


@pytest.mark.parametrize(
    ("status", "words", "certain"),
    [
        (waiting("ContainerCreating"), "not ready: c", False),
        (waiting("InvalidImageName", "no name"), "c: InvalidImageName: no name", True),
        (waiting("ErrImageNeverPull"), "c: ErrImageNeverPull", True),
        (waiting("ErrImagePull", "x: not found"), "c: ErrImagePull: x: not found", False),
        (waiting("ImagePullBackOff", 'Back-off: "x:1": not found'), "not found", True),
        (waiting("ImagePullBackOff", "connection refused"), "connection refused", False),
        (waiting("CreateContainerConfigError", 'secret "s" not found'), 'secret "s" not found', False),
        (waiting(BACK_OFF, "", 1, reason="Error", exitCode=2), "c: Error with exit code 2, restarted 1 times", False),
        (waiting(BACK_OFF, "", CRASHES, reason="Error", exitCode=2), "restarted 5 times", True),
        (waiting(BACK_OFF, "", CRASHES, reason="Completed", exitCode=0), "Completed with exit code 0", True),
        (waiting(BACK_OFF, "", 3, reason="StartError", exitCode=128, message="no /x"), "times: no /x", True),
        (waiting(BACK_OFF, "", 2, reason="StartError", exitCode=128), "StartError", False),
        ({"name": "c", "state": {"running": {}}}, "not ready: c", False),
    ],
)
def test_a_container_tells_what_keeps_it(status: dict[str, Any], words: str, certain: bool) -> None:
    trouble = pod_trouble(pod(status))
    assert words in trouble.text
    assert trouble.certain == certain


def test_a_pod_that_is_ready_has_no_trouble() -> None:
    crashed = waiting(BACK_OFF, "", 9, exitCode=1)
    assert not pod_trouble(pod(crashed, ready=True)).text
    assert not pod_trouble(pod(crashed, phase="Succeeded")).text
    assert pod_trouble(pod(crashed)).text


def test_the_certain_trouble_is_told_first() -> None:
    trouble = pod_trouble(pod(waiting("ErrImagePull"), {**waiting("InvalidImageName"), "name": "d"}))
    assert trouble.container == "d"
    assert trouble.certain


def test_a_restarted_container_has_its_last_words_in_the_log_before() -> None:
    last = {"terminated": {"exitCode": 1}}
    running = {"name": "c", "restartCount": 1, "state": {"running": {}}, "lastState": last}
    assert pod_trouble(pod(running)).ended
    assert not pod_trouble(pod({**running, "restartCount": 99})).certain, "it may come up this time"
    assert not pod_trouble(pod(waiting(BACK_OFF, "", 1, exitCode=1))).ended


def test_an_end_is_trouble_for_what_is_meant_to_stay() -> None:
    done = {"name": "c", "restartCount": 1, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert "Completed with exit code 0" in pod_trouble({**pod(done), "spec": {"restartPolicy": "Always"}}).text
    assert "exit code" not in pod_trouble({**pod(done), "spec": {"restartPolicy": "Never"}}).text


def test_a_pod_without_node_says_why() -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no cpu"}
    assert pod_trouble(pod(conditions=[scheduled])).text == "Unschedulable: no cpu"


@pytest.mark.parametrize(
    ("restarts", "probe", "age", "expected"),
    [
        (0, {}, 0, 3),
        (0, {}, 2, 1),
        (0, {}, 3600, 0),
        (0, {"httpGet": {}}, 0, 0),
        (4, {"httpGet": {}}, 0, 10),
        (4, {}, 4, 6),
        (4, {}, 3600, 0),
        (4, {}, -3600, 10),
    ],
)
def test_a_pod_that_has_just_started_is_believed_a_little_later(
    restarts: int, probe: dict[str, Any], age: float, expected: float
) -> None:
    running = {"name": "c", "restartCount": restarts, "state": {"running": {"startedAt": "2001-09-09T01:46:40Z"}}}
    found = {**pod(running, ready=True), "spec": {"containers": [{"name": "c", "readinessProbe": probe}]}}
    assert settling([found], NOW + age) == expected


def owned(uid: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels, "ownerReferences": [{"uid": uid, "controller": True}]}}


def test_the_pods_of_a_deployment_are_those_of_its_newest_replica_set() -> None:
    deployment = {"kind": "Deployment", "metadata": {"uid": "d", "annotations": {REVISION: "2"}}}
    sets = []
    for uid, revision, owner in (("old", "1", "d"), ("new", "2", "d"), ("foreign", "2", "x")):
        each = owned(owner)
        each["metadata"].update(uid=uid, annotations={REVISION: revision})
        sets.append(each)
    pods = [owned("old"), owned("new"), owned("foreign"), {"metadata": {}}]
    assert new_pods(deployment, pods, sets) == [pods[1]]


@pytest.mark.parametrize(("policy", "expected"), [("Parallel", 1), ("OrderedReady", 2)])
def test_an_old_pod_holds_up_a_stateful_set_that_goes_in_order(policy: str, expected: int) -> None:
    body = {
        "kind": "StatefulSet",
        "metadata": {"uid": "s"},
        "spec": {"podManagementPolicy": policy},
        "status": {"updateRevision": "2"},
    }
    pods = [owned("s", **{"controller-revision-hash": revision}) for revision in ("1", "2")]
    assert len(new_pods(body, [*pods, owned("x")])) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["old"]),
        ({"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}}, ["old"]),
        ({"podManagementPolicy": "Parallel"}, []),
        ({"updateStrategy": {"type": "OnDelete"}}, []),
        ({"updateStrategy": {"rollingUpdate": {"partition": 1}}}, []),
    ],
)
def test_an_old_pod_that_never_got_ready_blocks_a_stateful_set(spec: dict[str, Any], expected: list[str]) -> None:
    def of(name: str, revision: str, ready: bool = False, **metadata: str) -> dict[str, Any]:
        labels = {"controller-revision-hash": revision}
        return {**pod(ready=ready), "metadata": {"name": name, "labels": labels, **metadata}}

    pods = [of("old", "1"), of("serves", "1", True), of("goes", "1", deletionTimestamp="x"), of("new", "2")]
    body = {"kind": "StatefulSet", "spec": spec, "status": {"updateRevision": "2"}}
    assert [each["metadata"]["name"] for each in blocking(body, pods)] == expected
    assert not blocking({**body, "kind": "Deployment"}, pods)
    assert not blocking({**body, "status": {}}, pods)


def test_the_pods_of_a_daemon_set_are_those_of_its_generation() -> None:
    annotations = {"deprecated.daemonset.template.generation": "3"}
    body = {"kind": "DaemonSet", "metadata": {"uid": "s", "annotations": annotations}}
    pods = [owned("s", **{"pod-template-generation": generation}) for generation in ("2", "3")]
    assert new_pods(body, pods) == [pods[1]]


def test_selectors_are_as_the_api_takes_them() -> None:
    selector = {
        "matchLabels": {"b": "1", "a": "2"},
        "matchExpressions": [
            {"key": "t", "operator": "In", "values": ["x", "y"]},
            {"key": "u", "operator": "NotIn", "values": ["z"]},
            {"key": "v", "operator": "Exists"},
            {"key": "w", "operator": "DoesNotExist"},
        ],
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": selector}}
    assert selector_of(body) == "a=2,b=1,t in (x,y),u notin (z),v,!w"
    assert selector_of({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": "u"}}).endswith("uid=u")
    assert not selector_of({"apiVersion": "v1", "kind": "ConfigMap"})


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["waiting", "running", "reason", "name", "restartCount", "state", "startedAt", "terminated"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JUNK, max_size=3), JUNK)
def test_no_pod_is_too_odd(statuses: list[Any], metadata: Any) -> None:
    odd = {"metadata": metadata, "status": {"containerStatuses": statuses}}
    pod_trouble(odd)
    assert 0 <= settling([odd], NOW) <= 10
    new_pods({"kind": "Deployment", "metadata": metadata}, [odd], [odd])
