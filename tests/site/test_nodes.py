"""Nodes of a real cluster: reached by pods, found out about by pods without rights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.deploy.nodes import node_of
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site.errands import maker_at, owner_of, sweep_errands
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.transfer import borrowing_pod
from airbundle.transfer.borrowing_pod import Errand, run_errand
from airbundle.transfer.cluster_write import ClusterWriter, open_cluster_writer
from airbundle.transfer.node_access_pod import PodNodes
from airbundle.transfer.pods import Maker
from airbundle.transfer.pull_probe import PullProbe
from tests.support.node_contract import Way, check_contract
from tests.support.sealed import CHECKOUT, Site

PAUSE = "registry.k8s.io/pause:3.10"


@pytest.fixture
def cluster(site: Site) -> Iterator[ClusterWriter]:
    with open_cluster_writer(site.kubeconfig) as writer:
        yield writer


def images(site: Site) -> dict[str, tuple[str, ...]]:
    nodes = [node_of(body) for body in site.get("nodes")["items"]]
    return {node.name: node.images for node in nodes}


def test_pods_keep_the_contract(site: Site, cluster: ClusterWriter) -> None:
    made: list[ObjectKey] = []
    second = site.nodes[1]
    found = images(site)
    assert found[second][0] == PAUSE or not site.sealed

    def read(path: str) -> str | None:
        done = site.node(2, "cat", path, check=False)
        return done.stdout if done.returncode == 0 else None

    site.node(2, "mkdir", "-p", "/etc/airbundle-test")
    way = Way(PodNodes(cluster, found, Maker(made.append)), second, "/etc/airbundle-test", read)
    check_contract(way)
    site.node(2, "rm", "-r", "/etc/airbundle-test")
    # What only looks can't change the node's own files.
    code, said = way.run("touch /airbundle-was-here; echo $?", "check")
    assert (code, said.splitlines()[-1]) == (0, "1")
    # It is the node itself: its names, its processes.
    assert way.run("hostname; ls -d /etc/kubernetes", "plan") == (0, f"{second}\n/etc/kubernetes\n")
    assert {key.kind for key in made} == {"ConfigMap", "Pod"}
    assert [key for key in made if cluster.get(key) is not None] == []


def test_an_image_that_the_node_lacks_gives_way_to_the_next(site: Site, cluster: ClusterWriter) -> None:
    made: list[ObjectKey] = []
    node = site.nodes[0]
    own = images(site)[node][0]
    access = PodNodes(cluster, {node: ("localhost/airbundle-none:1", own)}, Maker(made.append))
    assert access.run(node, b"echo here", "plan").text == "here\n"
    with pytest.raises(SiteError, match="no pod can run there: ErrImageNeverPull") as caught:
        PodNodes(cluster, {node: ("localhost/airbundle-none:1",)}, Maker(made.append)).run(node, b"true", "plan")
    assert caught.value.outcome == "unchanged"
    with pytest.raises(SiteError, match="no image that it has"):
        PodNodes(cluster, {}, Maker(made.append)).run(node, b"true", "plan")
    assert [key for key in made if cluster.get(key) is not None] == []


def test_pod_security_refuses(site: Site, cluster: ClusterWriter) -> None:
    site.apply(
        "{apiVersion: v1, kind: Namespace, metadata: {name: nodes-strict, "
        "labels: {pod-security.kubernetes.io/enforce: restricted}}}"
    )
    site.kubectl("-n", "nodes-strict", "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    access = PodNodes(cluster, images(site), Maker(lambda _key: None), namespace="nodes-strict")
    with pytest.raises(SiteError, match="violates PodSecurity") as caught:
        access.run(site.nodes[0], b"true", "apply")
    assert "ssh" in caught.value.hint
    assert site.get("configmaps", "-n", "nodes-strict", "-l", "airbundle.dev/part=errand")["items"] == []
    # The probe needs no rights at all.
    probe = PullProbe(cluster, Maker(lambda _key: None), namespace="nodes-strict")
    assert "ErrImagePull" in probe.problem(site.nodes[0], "registry.example/none:1")
    site.kubectl("delete", "namespace", "nodes-strict", "--wait=false")


def test_a_node_without_a_directory_of_libraries(
    site: Site, cluster: ClusterWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowing_pod, "_TOOLS", ("/usr", "/bin", "/lib", "/lib64", "/airbundle-none"))
    errand = Errand(site.nodes[1], images(site)[site.nodes[1]], "echo $(uname -n) $0", {})
    end = run_errand(cluster, errand, Maker(lambda _key: None), timeout=60)
    assert (end.code, end.text.split()[-1]) == (0, "/bin/sh")
    assert site.node(2, "ls", "-d", "/airbundle-none", check=False).returncode != 0


def test_what_a_dead_process_left_is_swept_and_nothing_else(site: Site, cluster: ClusterWriter, tmp_path: Path) -> None:
    ours, others = (SiteState(StateDirectory(tmp_path / name), "berlin-1") for name in ("ours", "others"))
    dead = subprocess.run(
        [sys.executable, "-c", "from airbundle.installer.process_mark import own_mark; print(own_mark())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    ).stdout.strip()
    own = maker_at(ours, Journal(ours.journal))
    makers = {
        "left": replace(own, process=dead),
        "under-way": own,
        "of-others": replace(own, process=dead, owner=owner_of(others)),
    }
    keys = {name: ObjectKey("v1", "ConfigMap", "kube-system", f"airbundle-errand-{name}") for name in makers}
    for name, maker in makers.items():
        metadata = {"name": keys[name].name, "namespace": "kube-system", "labels": maker.labels}
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    pod = {"metadata": {"name": "airbundle-errand-pod", "namespace": "kube-system", "labels": makers["left"].labels}}
    containers = [{"name": "it", "image": PAUSE}]
    spec = {"nodeName": site.nodes[1], "containers": containers, "terminationGracePeriodSeconds": 0}
    cluster.create({"apiVersion": "v1", "kind": "Pod", **pod, "spec": spec})
    sweep_errands(cluster, ours)
    gone = ("pod/airbundle-errand-pod", "configmap/airbundle-errand-left")
    site.kubectl("-n", "kube-system", "wait", "--for=delete", *gone, "--timeout=30s")
    assert [name for name, key in keys.items() if cluster.get(key) is not None] == ["under-way", "of-others"]
    for name in ("under-way", "of-others"):
        assert cluster.delete(keys[name], wait=30)
    assert not tmp_path.joinpath("ours").exists()
