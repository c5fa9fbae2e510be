"""The client that changes a cluster, at a real one, whose API server is gone for a while, too."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from airbundle.deploy.diff import unified
from airbundle.deploy.objects import ObjectKey, key_of
from airbundle.errors import AirbundleError, Conflict, Finding, NotFound, Refused, SiteError
from airbundle.installer.site.wait import wait_ready
from airbundle.transfer.cluster_write import ClusterWriter, open_cluster_writer
from tests.installer.proxy import stalling_proxy
from tests.support.sealed import Site

IMAGE = "localhost/probe:1"
PATIENCE = 180.0


@pytest.fixture
def cluster(site: Site) -> Iterator[ClusterWriter]:
    with open_cluster_writer(site.kubeconfig, patience=PATIENCE) as cluster:
        yield cluster


@pytest.fixture
def namespace(site: Site, cluster: ClusterWriter) -> Iterator[str]:
    if not site.sealed:
        pytest.skip(f"the image {IMAGE} is one of the sealed cluster's nodes")
    name = f"api-{secrets.token_hex(3)}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.delete(ObjectKey("v1", "Namespace", "", name))


def config(namespace: str, name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def deployment(namespace: str, name: str, *args: str, **container: Any) -> dict[str, Any]:
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": IMAGE, "args": list(args or ("serve",)), **container}],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def job(namespace: str, name: str, *args: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": IMAGE, "args": list(args)}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def up(cluster: ClusterWriter, *bodies: dict[str, Any], timeout: float = 120) -> None:
    wait_ready(cluster, [key_of(cluster.apply(body)) for body in bodies], timeout, what="release x")


def why_not(cluster: ClusterWriter, *bodies: dict[str, Any], timeout: float = 300) -> tuple[str, Sequence[Finding]]:
    with pytest.raises(SiteError) as caught:
        up(cluster, *bodies, timeout=timeout)
    return caught.value.problem, caught.value.findings


def test_it_tells_what_it_is(cluster: ClusterWriter) -> None:
    assert cluster.version().startswith("1.")
    assert {"v1", "apps/v1", "batch/v1"} <= cluster.api_versions()


def test_two_writers_of_a_field_are_told_of_each_other(cluster: ClusterWriter, site: Site, namespace: str) -> None:
    body, key = config(namespace, x="1"), ObjectKey("v1", "ConfigMap", namespace, "a")
    assert cluster.apply(body, dry_run=True)["data"] == {"x": "1"}
    assert cluster.get(key) is None
    first = cluster.apply(body)
    assert cluster.apply(body)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    site.kubectl("-n", namespace, "patch", "configmap", "a", "-p", '{"data": {"x": "2", "y": "3"}}')
    with pytest.raises(Conflict) as caught:
        cluster.apply(body)
    assert caught.value.fields == (("kubectl-patch", ".data.x"),)
    assert cluster.apply(body, force=True)["data"] == {"x": "1", "y": "3"}
    with pytest.raises(Conflict):
        cluster.replace(first)
    with pytest.raises(Conflict):
        cluster.create(body)


def test_what_the_cluster_does_not_take_is_told_at_once(cluster: ClusterWriter, namespace: str) -> None:
    with pytest.raises(Refused, match="field not declared in schema"):
        cluster.apply({**config(namespace), "spek": {}})
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        cluster.apply(config("nowhere"))
    with pytest.raises(NotFound, match="no kind Thing"):
        cluster.apply({**config(namespace), "apiVersion": "x.io/v1", "kind": "Thing"})


def test_an_object_that_is_held_says_by_what(cluster: ClusterWriter, namespace: str) -> None:
    body, key = config(namespace), ObjectKey("v1", "ConfigMap", namespace, "a")
    body["metadata"]["finalizers"] = ["x.io/held"]
    cluster.apply(body)
    with pytest.raises(SiteError, match=r"finalizers: x\.io/held"):
        cluster.delete(key, wait=1)
    body["metadata"]["finalizers"] = []
    cluster.apply(body)
    assert not cluster.delete(key, wait=60)


def test_access_is_reviewed(cluster: ClusterWriter) -> None:
    attributes = {"verb": "create", "resource": "pods", "namespace": "default"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    assert cluster.create(review)["status"]["allowed"] is True


def test_a_deployment_comes_up_and_answers(cluster: ClusterWriter, namespace: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace}}
    service["spec"] = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p", "namespace": namespace}}
    claim["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    up(cluster, deployment(namespace, "web"), service, claim)
    pods = cluster.resource_of("v1", "Pod")
    assert pods is not None
    pod = next(each["metadata"]["name"] for each in cluster.objects(pods, namespace, labels="app=web"))
    assert cluster.service_get(namespace, "web", 80, "/x?y=z") == (200, f"{pod}\n".encode())
    assert cluster.service_get(namespace, "none", 80)[0] == 404
    assert cluster.exec(namespace, pod, ["/probe", "lookup", "localhost"])[0] == 0
    code, output = cluster.exec(namespace, pod, ["/probe", "nonsense"], container="c")
    assert (code, output) == (1, b'probe: unknown command "nonsense"\n')
    assert cluster.exec(namespace, pod, ["/probe", "nonsense"], stderr=False, stdin=b"x") == (1, b"")
    with pytest.raises(Refused, match="no such file"):
        cluster.exec(namespace, pod, ["/none"])
    # The kubelet may cut the connection instead, and the answer with it: nobody has read the input.
    with pytest.raises(AirbundleError, match=r"no such file|the connection was lost"):
        cluster.exec(namespace, pod, ["/none"], stdin=b"x" * 1_000_000)
    with pytest.raises(Refused, match="not valid for pod"):
        cluster.exec(namespace, pod, ["/probe"], container="none")
    with pytest.raises(NotFound):
        cluster.exec(namespace, "none", ["/probe"])


def test_a_job_tells_its_log(cluster: ClusterWriter, namespace: str) -> None:
    up(cluster, job(namespace, "good", "lookup", "localhost"))
    pods = cluster.resource_of("v1", "Pod")
    assert pods is not None
    pod = next(each["metadata"]["name"] for each in cluster.objects(pods, namespace))
    assert "127.0.0.1" in cluster.logs(namespace, pod)
    problem, findings = why_not(cluster, job(namespace, "bad", "password=open-sesame"))
    assert "BackoffLimitExceeded" in findings[0].message
    assert "unknown command" in findings[1].found
    assert "open-sesame" not in problem + str(findings)


def test_what_cannot_come_up_is_told_before_the_time_is_over(cluster: ClusterWriter, namespace: str) -> None:
    problem, findings = why_not(
        cluster,
        deployment(namespace, "misnamed", image="localhost/Not:A:Name"),
        deployment(namespace, "program", command=["/none"]),
    )
    assert problem.startswith("release x: 2 of 2 objects are not up: ")
    told = " ".join(map(str, findings))
    assert "InvalidImageName" in told
    assert "StartError" in told
    assert "/none" in told


def test_what_is_not_up_in_time_says_what_it_waits_for(cluster: ClusterWriter, namespace: str) -> None:
    _, findings = why_not(
        cluster,
        deployment(namespace, "large", resources={"requests": {"cpu": "1000"}}),
        deployment(namespace, "secretive", envFrom=[{"secretRef": {"name": "gone"}}]),
        deployment(namespace, "unpulled", image="docker.io/library/none:1"),
        config(namespace),
        timeout=25,
    )
    told = {finding.where.partition("/")[2].partition("-")[0]: finding.message for finding in findings[1::2]}
    assert "Insufficient cpu" in told["large"]
    assert 'secret "gone" not found' in told["secretive"]
    assert "docker.io/library/none:1" in told["unpulled"]


def test_a_container_that_ends_at_once_is_never_up(cluster: ClusterWriter, namespace: str) -> None:
    problem, _ = why_not(cluster, deployment(namespace, "short", "lookup", "localhost"), timeout=30)
    assert "exit code 0" in problem or "not ready" in problem


def test_broken_pods_of_the_version_before_do_not_count(cluster: ClusterWriter, namespace: str) -> None:
    why_not(cluster, deployment(namespace, "web", image="localhost/Not:A:Name"))
    up(cluster, deployment(namespace, "web"))


def test_a_stateful_set_comes_back_from_a_version_that_never_got_ready(cluster: ClusterWriter, namespace: str) -> None:
    def stateful(image: str) -> dict[str, Any]:
        body = deployment(namespace, "db", image=image)
        return {**body, "kind": "StatefulSet", "spec": {**body["spec"], "replicas": 2, "serviceName": "db"}}

    up(cluster, stateful(IMAGE))
    why_not(cluster, stateful("localhost/Not:A:Name"))
    up(cluster, stateful(IMAGE))


def test_a_new_kind_can_be_used_when_it_is_up(cluster: ClusterWriter, namespace: str) -> None:
    name = f"x{secrets.token_hex(3)}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{name}.io"},
        "spec": {
            "group": f"{name}.io",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        },
    }
    thing = {"apiVersion": f"{name}.io/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": namespace}}
    assert cluster.get(key_of(thing)) is None
    try:
        up(cluster, definition)
        cluster.apply(thing)
        up(cluster, thing)
    finally:
        cluster.delete(key_of(definition), wait=60)
        cluster.forget()
    assert cluster.get(key_of(thing)) is None


def test_a_diff_shows_what_would_change_and_no_more(cluster: ClusterWriter, namespace: str) -> None:
    body = deployment(namespace, "web")
    live = cluster.apply(body)
    assert unified(live, body) == ""
    assert unified(live, cluster.apply(body, dry_run=True)) == ""
    body["spec"]["replicas"] = 2
    for desired in (body, cluster.apply(body, dry_run=True)):
        lines = unified(live, desired).splitlines()[2:]
        assert [line for line in lines if line[0] in "+-"] == ["-  replicas: 1", "+  replicas: 2"]


def test_connections_that_are_cut_in_the_middle_are_made_anew(site: Site, namespace: str, tmp_path: Path) -> None:
    document = yaml.safe_load(site.kubeconfig.read_text())
    server = urlsplit(document["clusters"][0]["cluster"]["server"])
    assert server.port is not None
    with stalling_proxy(server.port, 500_000) as proxy:
        document["clusters"][0]["cluster"]["server"] = f"https://{proxy.host}"
        (tmp_path / "config").write_text(yaml.safe_dump(document))

        def cut() -> None:
            proxy.stalled.wait()
            proxy.go_on()

        cutter = threading.Thread(target=cut, daemon=True)
        cutter.start()
        with open_cluster_writer(tmp_path / "config", patience=PATIENCE) as through:
            for number in range(10):
                applied = through.apply(config(namespace, f"large{number}", x="y" * 100_000))
                assert len(applied["data"]["x"]) == 100_000
        cutter.join()


def test_an_api_server_that_is_gone_for_a_while_is_waited_for(
    cluster: ClusterWriter, site: Site, namespace: str
) -> None:
    gone = threading.Event()
    # It is started again at once, and killed again before it answers.
    script = "for i in $(seq 30); do kill -9 $(cat /run/site/kube-apiserver.pid); sleep 0.5; done"

    def kill() -> None:
        gone.set()
        site.node(1, "sh", "-c", script, check=False)

    killer = threading.Thread(target=kill)
    applied = 0
    try:
        for number in range(100_000):
            cluster.apply(config(namespace, f"c{number}", x="1"))
            applied += 1
            if number == 5:
                killer.start()
                gone.wait()
            if number > 20 and not killer.is_alive():
                break
        up(cluster, deployment(namespace, "web"))
    finally:
        killer.join()
    maps = cluster.resource_of("v1", "ConfigMap")
    assert maps is not None
    names = {each["metadata"]["name"] for each in cluster.objects(maps, namespace)}
    assert {f"c{number}" for number in range(applied)} <= names


def test_a_wait_goes_on_when_the_api_server_does(cluster: ClusterWriter, site: Site, namespace: str) -> None:
    body = deployment(namespace, "web", readinessProbe={"httpGet": {"port": 8080}, "initialDelaySeconds": 10})
    key = key_of(cluster.apply(body))
    killer = threading.Thread(
        target=site.node,
        args=(1, "sh", "-c", "p=$(cat /run/site/kube-apiserver.pid); kill -STOP $p; sleep 6; kill -9 $p"),
        kwargs={"check": False},
    )
    killer.start()
    try:
        wait_ready(cluster, [key], 120)
    finally:
        killer.join()
