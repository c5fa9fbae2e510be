"""Images of a cluster. The API server is a real HTTPS server: with answers in the API's form, and with recorded ones.

`recorded_cluster.json` is what a Kubernetes 1.33 API server answered, in pages of three, to a client certificate of
cluster-admin (`admin`) and to the token of an account that may not list all (`reader`; only what differs), less
`managedFields` and `last-applied-configuration`. It ran a Deployment with two replicas, an init container and, in one,
an ephemeral container; others scaled to zero, with an image out of reach, without a node; a finished Job; a CronJob.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from airbundle.builder.cluster_scan import PODS, WORKLOADS, ClusterImages, cluster_images
from airbundle.bundle.reference import parse_reference
from airbundle.errors import NotFound, Unauthorized
from airbundle.transfer import cluster as cluster_module
from airbundle.transfer.cluster import Cluster, Resource
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.wire import Url
from tests.support.tls import Authority
from tests.support.web import Web, serve
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

DIGEST = "sha256:" + "a" * 64
RESOURCES = {resource.plural: resource for resource in (PODS, *WORKLOADS)}
TOKEN = "t0ken"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def web(authority: Authority) -> Iterator[Web]:
    with serve(tls=authority) as running:
        yield running


class Api:
    """A cluster's API: what it lists."""

    def __init__(self, web: Web, authority: Authority) -> None:
        self.web = web
        self.access = ClusterAccess("test", Url.parse(web.url), ca=authority.ca_pem, token=TOKEN)
        for resource in RESOURCES.values():
            self.put(resource, [])

    def path(self, resource: Resource, namespace: str = "") -> str:
        return f"{resource.path(namespace)}?limit=100"

    def put(self, resource: Resource, items: Sequence[Any], namespace: str = "") -> None:
        body = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": {}, "items": items}
        self.web.files[self.path(resource, namespace)] = json.dumps(body).encode()

    def look(self, *namespaces: str) -> ClusterImages:
        with Cluster(self.access, settings=FAST) as cluster:
            return cluster_images(cluster, namespaces=namespaces)


@pytest.fixture
def api(web: Web, authority: Authority) -> Api:
    return Api(web, authority)


def seen(found: ClusterImages) -> dict[str, str]:
    """Return image → certainty and evidence; each image stands once."""
    images = [str(sighting.image) for sighting in found.scanned.sightings]
    assert len(images) == len(set(images))
    return {str(s.image): f"{s.certainty}: {s.evidence}" for s in found.scanned.sightings}


def obj(
    name: str, spec: Mapping[str, Any], *, namespace: str = "matrix", owner: str = "", **fields: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if owner:
        kind, _, of = owner.partition("/")
        metadata["ownerReferences"] = [{"kind": kind, "name": of, "controller": True}]
    metadata.update(fields.pop("metadata", {}))
    return {"metadata": metadata, "spec": spec, **fields}


def pod(name: str, *images: str, phase: str = "Running", **fields: Any) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    status = {"phase": phase, **fields.pop("status", {})}
    return obj(name, {"containers": containers, **fields.pop("spec", {})}, status=status, **fields)


def workload(name: str, image: str, **fields: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}, **fields.pop("spec", {})}
    return obj(name, spec, **fields)


def test_every_container_of_a_pod_is_seen_with_what_it_runs_as(api: Api) -> None:
    spec = {
        "initContainers": [{"name": "i", "image": "reg.test/init:1"}],
        "ephemeralContainers": [{"name": "e", "image": "reg.test/debug:1"}],
        "volumes": [{"name": "v", "image": {"reference": "reg.test/volume:1"}}],
    }
    status = {
        "containerStatuses": [
            {"name": "c0", "image": "x", "imageID": f"docker-pullable://docker.io/library/redis@{DIGEST}"}
        ],
        "initContainerStatuses": [{"name": "i", "imageID": f"reg.test/init@{DIGEST}"}],
        "ephemeralContainerStatuses": [{"name": "e", "imageID": DIGEST}],
    }
    api.put(PODS, [pod("p", "redis:7", spec=spec, status=status)])
    found = api.look()
    assert seen(found) == {
        "docker.io/library/redis:7": "certain: container of a running pod",
        "reg.test/init:1": "certain: init container of a running pod",
        "reg.test/debug:1": "certain: ephemeral container of a running pod",
        "reg.test/volume:1": "certain: image volume of a running pod",
    }
    assert found.digests == {
        parse_reference("redis:7"): (DIGEST,),
        parse_reference("reg.test/init:1"): (DIGEST,),
    }
    place = found.scanned.sightings[0].place
    assert str(place) == "cluster test: Pod matrix/p: spec.containers[0].image"
    assert found.scanned.findings == ()
    assert {sent for _, _, sent in api.web.asked} == {f"Bearer {TOKEN}"}
    assert not [path for path in api.web.paths() if "secret" in path or "configmap" in path]


def test_replicas_count_once(api: Api) -> None:
    replicas = [pod(f"p-{number}", "reg.test/a:1", owner="ReplicaSet/p") for number in range(5)]
    api.put(PODS, [*replicas, pod("q", "reg.test/b:1")])
    api.put(RESOURCES["replicasets"], [workload("p", "reg.test/a:0", owner="Deployment/p")])
    api.put(RESOURCES["deployments"], [workload("p", "reg.test/a:1", spec={"replicas": 5})])
    assert set(seen(api.look())) == {"reg.test/a:1", "reg.test/b:1"}


def test_replicas_that_differ_are_looked_at_each(api: Api) -> None:
    def replica(name: str, **labels: str) -> dict[str, Any]:
        made = pod(name, "reg.test/a:1", owner="DaemonSet/a", metadata={"labels": labels})
        made["spec"]["containers"][0]["env"] = [{"name": "WORKER_IMAGE", "value": f"reg.test/{name}:1"}]
        return made

    api.put(PODS, [replica("old"), replica("same"), replica("new", **{"controller-revision-hash": "2"})])
    assert set(seen(api.look())) == {"reg.test/a:1", "reg.test/old:1", "reg.test/new:1"}


def test_how_sure_it_is_depends_on_the_state(api: Api) -> None:
    api.put(
        PODS,
        [
            pod("done", "reg.test/job:1", phase="Succeeded", owner="Job/j"),
            pod("evicted", "reg.test/old:1", phase="Failed", owner="ReplicaSet/r"),
            pod("pulling", "reg.test/pulling:1", phase="Pending"),
            pod("static", "reg.test/etcd:1", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}),
            pod("dns", "reg.test/coredns:1", namespace="kube-system"),
        ],
    )
    api.put(
        RESOURCES["deployments"],
        [workload("zero", "reg.test/zero:1", spec={"replicas": 0}), workload("new", "reg.test/new:1")],
    )
    api.put(RESOURCES["statefulsets"], [workload("s", "reg.test/stateful:1", owner="Keycloak/k", spec={"replicas": 0})])
    api.put(
        RESOURCES["daemonsets"],
        [
            workload("none", "reg.test/nowhere:1", status={"desiredNumberScheduled": 0}),
            workload("some", "reg.test/somewhere:1", status={"desiredNumberScheduled": 1}),
        ],
    )
    template = {"template": {"spec": {"containers": [{"name": "c", "image": "reg.test/cron:1"}]}}}
    api.put(RESOURCES["cronjobs"], [obj("c", {"jobTemplate": {"spec": template}})])
    api.put(RESOURCES["jobs"], [workload("j", "reg.test/job:1"), workload("c-1", "reg.test/cron:0", owner="CronJob/c")])
    assert seen(api.look()) == {
        "reg.test/job:1": "certain: container of a pod that ended (Succeeded)",
        "reg.test/old:1": "likely: container of a pod that ended (Failed)",
        "reg.test/pulling:1": "certain: container of a pod (Pending)",
        "reg.test/etcd:1": "likely: container of a static pod, which comes with its node",
        "reg.test/coredns:1": "likely: container of a running pod; it comes with the cluster",
        "reg.test/zero:1": "likely: container of a Deployment without pods",
        "reg.test/new:1": "certain: container of a Deployment whose pods don't run it yet",
        "reg.test/stateful:1": "likely: container of a StatefulSet without pods",
        "reg.test/nowhere:1": "likely: container of a DaemonSet without pods",
        "reg.test/somewhere:1": "certain: container of a DaemonSet whose pods don't run it yet",
        "reg.test/cron:1": "likely: container of a CronJob without pods",
    }


def test_a_pod_hides_only_what_it_really_runs(api: Api) -> None:
    env = [{"name": "TOOL", "value": "reg.test/tool:1"}]
    mentions = pod("p", "reg.test/a:1")
    mentions["spec"]["containers"][0]["env"] = env
    api.put(PODS, [mentions, pod("evicted", "reg.test/b:1", phase="Failed", owner="ReplicaSet/b")])
    api.put(RESOURCES["deployments"], [workload("tool", "reg.test/tool:1"), workload("b", "reg.test/b:1")])
    found = {(str(s.image), s.certainty) for s in api.look().scanned.sightings}
    assert {("reg.test/tool:1", "certain"), ("reg.test/b:1", "certain"), ("reg.test/b:1", "likely")} <= found


def test_only_the_namespaces_that_are_named(api: Api) -> None:
    for namespace in ("kube-system", "matrix"):
        for resource in RESOURCES.values():
            api.put(resource, [], namespace)
    api.put(PODS, [pod("dns", "reg.test/coredns:1", namespace="kube-system")], "kube-system")
    api.put(PODS, [pod("other", "reg.test/other:1")])
    found = api.look("kube-system", "matrix", "matrix")
    assert seen(found) == {"reg.test/coredns:1": "certain: container of a running pod"}
    (finding,) = found.scanned.findings
    assert "no pods in the namespace 'matrix'" in str(finding)
    assert finding.severity == "warning"


def test_a_kind_that_may_not_be_listed_is_a_finding_and_the_rest_goes_on(api: Api) -> None:
    api.put(PODS, [pod("p", "reg.test/a:1")])
    api.web.faults[api.path(RESOURCES["cronjobs"])] = [403]
    del api.web.files[api.path(RESOURCES["jobs"])]
    found = api.look()
    assert set(seen(found)) == {"reg.test/a:1"}
    assert [(each.code, each.where, each.severity) for each in found.scanned.findings] == [
        ("cluster-unlisted", "cluster test", "warning")
    ] * 2
    forbidden, unknown = found.scanned.findings
    assert "list cronjobs: 127.0.0.1" in forbidden.message
    assert "403" in forbidden.message
    assert "404" in unknown.message


def test_who_may_list_nothing_is_told_so(api: Api) -> None:
    for resource in RESOURCES.values():
        api.web.faults[api.path(resource)] = [403]
    with pytest.raises(Unauthorized, match="list pods") as caught:
        api.look()
    assert caught.value.exit_code == 6
    api.web.files.clear()
    with pytest.raises(NotFound):
        api.look()
    api.web.faults[api.path(PODS)] = [401]
    api.web.asked.clear()
    with pytest.raises(Unauthorized, match="401"):
        api.look()
    assert len(api.web.asked) == 1


def test_an_image_by_its_id_is_what_the_runtime_says(api: Api) -> None:
    status = {
        "containerStatuses": [
            {"name": "c0", "imageID": f"reg.test/a@{DIGEST}"},
            {"name": "c1", "imageID": DIGEST},
            {"name": "c2", "imageID": "://@not one"},
        ]
    }
    api.put(PODS, [pod("p", DIGEST, DIGEST, "reg.test/b:1", status=status)])
    assert seen(api.look()) == {
        f"reg.test/a@{DIGEST}": "certain: container's status of a running pod",
        "reg.test/b:1": "certain: container of a running pod",
    }


RECORDED = json.loads((Path(__file__).parent / "recorded_cluster.json").read_text())
APP = "sha256:f86ddcfce5fb2743a20dc7d4cd3a34c23e1521ddb00aaa36a5b3d3f1fca64206"


@pytest.fixture
def recorded(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """The recorded API server; whose token it is decides the answers."""
    monkeypatch.setattr(cluster_module, "_PAGE", 3)

    def answer(turn: Turn, _: int) -> None:
        who = (turn.seen.header("Authorization") or "").partition(" ")[2]
        answers = {**RECORDED["admin"], **RECORDED[who]}
        status, body = answers.get(turn.seen.path, (500, {}))
        turn.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    with fault_server(answer, tls=authority) as server:
        yield server


def look_recorded(server: FaultServer, authority: Authority, who: str) -> ClusterImages:
    access = ClusterAccess("site", Url.parse(server.url), ca=authority.ca_pem, token=who)
    with Cluster(access, settings=FAST) as cluster:
        return cluster_images(cluster)


def test_what_a_real_cluster_answered(recorded: FaultServer, authority: Authority) -> None:
    found = look_recorded(recorded, authority, "admin")
    assert {
        (s.certainty, str(s.image), s.evidence, s.place.object.partition("-")[0]) for s in found.scanned.sightings
    } == {
        ("certain", "reg.test/team/app:1", "container of a running pod", "Pod matrix/app"),
        ("certain", "reg.test/team/worker:2", "environment WORKER_IMAGE of a running pod", "Pod matrix/app"),
        ("certain", "reg.test/out-of-reach:15", "container of a pod (Pending)", "Pod matrix/db"),
        ("certain", "localhost/probe:1", "container of a pod that ended (Succeeded)", "Pod matrix/migrate"),
        ("certain", "localhost/probe:1", "init container of a running pod", "Pod matrix/web"),
        ("certain", "localhost/probe:1", "container of a running pod", "Pod matrix/web"),
        ("certain", "localhost/probe:1", "ephemeral container of a running pod", "Pod matrix/web"),
        ("likely", "reg.test/asleep:1", "container of a Deployment without pods", "Deployment matrix/asleep"),
        ("likely", "reg.test/agent:1", "container of a DaemonSet without pods", "DaemonSet matrix/agent"),
        ("likely", "reg.test/backup:1", "container of a CronJob without pods", "CronJob matrix/backup"),
        (
            "likely",
            "registry.k8s.io/coredns/coredns:v1.14.3",
            "container of a running pod; it comes with the cluster",
            "Pod kube",
        ),
    }
    assert len(found.scanned.sightings) == 11
    assert found.scanned.findings == ()
    assert found.digests == {parse_reference("reg.test/team/app:1"): (APP,)}  # the others have no name with a digest
    assert sorted(seen.path for seen in recorded.requests) == sorted(RECORDED["admin"])


def test_what_a_real_cluster_refused(recorded: FaultServer, authority: Authority) -> None:
    found = look_recorded(recorded, authority, "reader")
    assert len(found.scanned.sightings) == 10  # all but that of the CronJob
    assert [str(finding).partition(" answered ")[2] for finding in found.scanned.findings] == [
        f'403: {plural} is forbidden: User "system:serviceaccount:matrix:reader" cannot list resource '
        f'"{plural.partition(".")[0]}" in API group "{plural.partition(".")[2]}" at the cluster scope '
        "(ask for a role that may list it, or name namespaces with -n)"
        for plural in ("replicationcontrollers", "cronjobs.batch", "jobs.batch")
    ]
    assert all(str(finding).startswith("cluster site: list ") for finding in found.scanned.findings)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": None, "spec": None, "status": None},
        {"metadata": {"name": 5, "ownerReferences": [None, {"controller": True}]}, "spec": [], "status": "x"},
        {"spec": {"containers": [None, {"image": 5}, {"name": [], "image": "UPPER"}]}},
        {"spec": {"containers": 1}, "status": {"containerStatuses": [5, {"imageID": ["x"]}]}},
    ],
)
def test_strange_objects_break_nothing(api: Api, body: dict[str, Any]) -> None:
    for resource in RESOURCES.values():
        api.put(resource, [body, body])
    api.look()
