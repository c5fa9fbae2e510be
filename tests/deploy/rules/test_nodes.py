"""deploy.rules.nodes and placement: nodes that are there, fit, and have room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airbundle.bundle.site import NodeAccess
from airbundle.deploy.rules import nodes, placement
from tests.deploy.rules.world import IMAGE, SITE, Body, codes, good, node, pod, want, workload

TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


def under(kind: str) -> Body:
    found = node()
    found["status"]["conditions"].append({"type": kind, "status": "True", "message": "low"})
    return found


def kubelet(**info: str) -> Body:
    found = node()
    found["status"]["nodeInfo"].update(info)
    return found


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([node()], []),
        ([], ["node-none"]),
        ([node(ready="Unknown")], ["node-none", "node-not-ready"]),
        ([node(), node("node2", ready="False")], ["node-not-ready"]),
        ([node(), node("node2", unschedulable=True)], ["node-cordoned"]),
        ([under("DiskPressure")], ["node-pressure"]),
    ],
)
def test_nodes_that_are_not_as_they_should_be(there: list[Body], found: list[str]) -> None:
    assert codes(nodes.ready, good({"Node": there}), want()) == found


@pytest.mark.parametrize(
    ("info", "runtime", "found"),
    [
        ({}, "containerd", []),
        ({"kubeletVersion": "v1.30.9"}, "containerd", []),
        ({"kubeletVersion": "v1.29.9"}, "containerd", ["node-version"]),
        ({"kubeletVersion": "v1.34.0"}, "containerd", ["node-version"]),
        ({}, "crio", ["node-runtime"]),
        ({}, "k3s", []),
        (
            {"kubeletVersion": "v1.33.1+k3s1", "containerRuntimeVersion": "containerd://2.0-k3s1"},
            "containerd",
            ["node-runtime"],
        ),
        ({"kubeletVersion": "v1.33.1+k3s1", "containerRuntimeVersion": "containerd://2.0-k3s1"}, "k3s", []),
        ({"containerRuntimeVersion": "cri-o://1.33.0"}, "crio", []),
    ],
)
def test_kubelets_and_runtimes(info: dict[str, str], runtime: str, found: list[str]) -> None:
    site = replace(SITE, nodes=NodeAccess(runtime=runtime))
    assert codes(nodes.kubelets, good({"Node": [kubelet(**info)]}), want(site=site)) == found


def test_access_to_this_host_alone_is_told_where_there_are_more_nodes() -> None:
    assert codes(nodes.access, good({"Node": [node(), node("node2")]}), want()) == ["node-access"]
    assert codes(nodes.access, good(), want()) == []
    manual = want(site=replace(SITE, nodes=NodeAccess(access="manual")))
    assert codes(nodes.access, good({"Node": [node(), node("node2")]}), manual) == []


@pytest.mark.parametrize(
    ("spec", "carried", "found"),
    [
        ("", {"linux/amd64", "linux/arm64"}, []),
        ("", set(), []),  # nothing is known of it
        ("", {"linux/amd64"}, ["node-architecture"]),
        ("nodeSelector: {kubernetes.io/arch: amd64}", {"linux/amd64"}, []),
    ],
)
def test_platforms_of_nodes_that_the_bundle_lacks(spec: str, carried: set[str], found: list[str]) -> None:
    facts = good({"Node": [node(), node("node2", arch="arm64")]})
    wanted = want(workload(spec=spec), platforms={IMAGE: frozenset(carried)})
    assert codes(nodes.architectures, facts, wanted) == found


@pytest.mark.parametrize(
    ("there", "kind", "spec", "found"),
    [
        ([node(taints=[TAINT])], "Deployment", "", 1),
        ([node(taints=[TAINT]), node("node2")], "Deployment", "", 0),
        ([node(taints=[TAINT])], "Deployment", "tolerations: [{key: dedicated, value: db, effect: NoSchedule}]", 0),
        ([node(taints=[TAINT])], "Deployment", "tolerations: [{operator: Exists}]", 0),
        ([node(taints=[TAINT])], "Deployment", "tolerations: [{key: dedicated, value: web}]", 1),
        ([node(taints=[{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}])], "DaemonSet", "", 0),
        ([node()], "Deployment", "nodeSelector: {disk: ssd}", 1),
        ([node()], "DaemonSet", "nodeSelector: {disk: ssd}", 0),
        ([node(unschedulable=True)], "Deployment", "", 1),
        ([node(unschedulable=True)], "DaemonSet", "", 0),
        ([node()], "Deployment", "nodeName: node7", 1),
    ],
)
def test_pods_that_no_node_takes(there: list[Body], kind: str, spec: str, found: int) -> None:
    assert (
        codes(placement.schedulable, good({"Node": there}), want(workload(kind, spec=spec)))
        == ["unschedulable"] * found
    )


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("{key: kubernetes.io/arch, operator: In, values: [amd64]}", 0),
        ("{key: kubernetes.io/arch, operator: NotIn, values: [amd64]}", 1),
        ("{key: gpu, operator: Exists}", 1),
        ("{key: gpu, operator: DoesNotExist}", 0),
        ("{key: cores, operator: Gt, values: ['8']}", 0),
        ("{key: cores, operator: Lt, values: ['8']}", 1),
    ],
)
def test_node_affinity(expression: str, found: int) -> None:
    one = node()
    one["metadata"]["labels"]["cores"] = "16"
    terms = f"{{nodeSelectorTerms: [{{matchExpressions: [{expression}]}}]}}"
    affinity = f"{{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {terms}}}}}"
    wanted = want(workload(spec=f"affinity: {affinity}"))
    assert codes(placement.schedulable, good({"Node": [one]}), wanted) == ["unschedulable"] * found


def resources(**requests: str) -> str:
    inner = ", ".join(f"{name}: '{value}'" for name, value in requests.items())
    return f"resources: {{requests: {{{inner}}}}}"


@pytest.mark.parametrize(
    ("text", "running", "found"),
    [
        (workload(container=resources(cpu="2")), [], []),
        (workload(container=resources(cpu="5")), [], ["pod-too-large"]),
        (workload(container=resources(memory="9Gi")), [], ["pod-too-large"]),
        (workload(container="resources: {limits: {memory: 9Gi}}"), [], ["pod-too-large"]),
        (workload(container=resources(cpu="2")), [{"requests": {"cpu": "2500m"}}], ["pod-too-large"]),
        (workload(container=resources(**{"nvidia.com/gpu": "1"})), [], ["pod-too-large"]),
        (
            workload(spec="initContainers: [{name: i, image: i, resources: {requests: {cpu: 6}}}]"),
            [],
            ["pod-too-large"],
        ),
        (workload(spec="overhead: {cpu: 5}"), [], ["pod-too-large"]),
    ],
)
def test_pods_larger_than_any_node(text: str, running: list[Any], found: list[str]) -> None:
    pods = [pod(f"p{number}", resources=each) for number, each in enumerate(running)]
    assert codes(placement.large, good({"Pod": pods}), want(text)) == found


def test_what_all_pods_request_together() -> None:
    many = want(workload(container=resources(cpu="1", memory="1Gi"), replicas=5))
    (finding,) = placement.together(good(), many)
    assert (finding.code, finding.found, finding.expected) == ("capacity", "4 cores left on 1 node", "5 cores")
    assert codes(placement.together, good(), want(workload(container=resources(cpu="1"), replicas=4))) == []
    assert codes(placement.together, good(), want(workload(replicas=120))) == ["pods-full"]
    daemons = want(workload("DaemonSet", container=resources(cpu="3")))
    assert codes(placement.together, good({"Node": [node(), node("node2")]}), daemons) == []


def test_what_is_scaled_to_nothing_needs_no_node() -> None:
    idle = want(workload(spec="nodeSelector: {disk: ssd}", container=resources(cpu="99"), replicas=0))
    assert codes(placement.schedulable, good(), idle) == []
    assert codes(placement.large, good(), idle) == []


def test_pods_that_an_upgrade_replaces_count_as_gone() -> None:
    own = pod("app-1", "shop", labels={"app": "app"}, resources={"requests": {"cpu": "3"}})
    ended = pod("old", resources={"requests": {"cpu": "3"}})
    ended["status"]["phase"] = "Succeeded"
    wanted = want(workload(container=resources(cpu="3")))
    assert codes(placement.together, good({"Pod": [own, ended]}), wanted) == []
    assert codes(placement.large, good({"Pod": [own, ended]}), wanted) == []
