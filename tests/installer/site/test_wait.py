"""Waiting for objects of a server that plays the API: what real clusters do only now and then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.errors import SiteError
from airbundle.installer.site import wait
from airbundle.installer.site.wait import begin_anew, wait_ready
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.wire import Url
from tests.support.tls import Authority
from tests.transfer.servers import FAST, Turn, fault_server

KINDS = {
    "/api/v1": ("pods", "Pod"),
    "/apis/apps/v1": ("deployments", "Deployment"),
    "/apis/batch/v1": ("jobs", "Job"),
}
WEB = ObjectKey("apps/v1", "Deployment", "n", "web")
JOB = ObjectKey("batch/v1", "Job", "n", "job")
SECRET = "open-sesame"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_POLL", 0.01)


Answers = Callable[[str, int], Any]


@pytest.fixture
def serving(authority: Authority) -> Any:
    @contextmanager
    def run(answers: Answers) -> Iterator[ClusterWriter]:
        """Run a server that answers a path, the n-th time, with an object, a text, a status or nothing (404)."""
        seen: dict[str, int] = {}

        def answer(turn: Turn, _: int) -> None:
            path = urlsplit(turn.seen.path).path
            seen[path] = seen.get(path, 0) + 1
            if path in KINDS:
                plural, kind = KINDS[path]
                found: Any = {"kind": "List", "resources": [{"name": plural, "kind": kind, "namespaced": True}]}
            else:
                found = answers(path, seen[path])
            if isinstance(found, (int, type(None))):
                turn.reply(found or 404, b"{}")
            else:
                turn.reply(200, found.encode() if isinstance(found, str) else json.dumps(found).encode())

        with fault_server(answer, tls=authority) as server:
            access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem)
            with ClusterWriter(access, settings=FAST) as cluster:
                yield cluster

    return run


def deployment(available: int, observed: int = 1) -> dict[str, Any]:
    status = {"observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
    metadata = {"name": "web", "namespace": "n", "uid": "d", "generation": 1, "annotations": {REVISION: "1"}}
    spec = {"selector": {"matchLabels": {"app": "web"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": status}


REVISION = "deployment.kubernetes.io/revision"


def listed(*items: Any) -> dict[str, Any]:
    return {"kind": "List", "items": list(items)}


def owned(owner: str, **fields: Any) -> dict[str, Any]:
    return {"namespace": "n", "ownerReferences": [{"uid": owner, "controller": True}], **fields}


SETS = listed({"metadata": owned("d", uid="s", name="web-1", annotations={REVISION: "1"})})


def pod(reason: str, message: str = "", restarts: int = 0) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    last = {"terminated": {"exitCode": 1, "reason": "Error"}} if restarts else {}
    status = {"name": "c", "restartCount": restarts, "state": state, "lastState": last}
    return {"metadata": owned("s", name="web-1-x", uid="p"), "status": {"containerStatuses": [status]}}


def web(*pods: Any, log: Any = "", events: Any = None) -> Answers:
    """Answer as a cluster with a Deployment whose pods are those."""

    def answers(path: str, number: int) -> Any:
        return {
            "web": deployment(0),
            "pods": listed(*pods),
            "replicasets": SETS,
            "events": events or listed(),
            "log": log,
        }.get(path.rpartition("/")[2])

    return answers


def test_it_ends_when_all_are_up(serving: Any) -> None:

    def answers(path: str, number: int) -> Any:
        if path.endswith("jobs/job"):  # gone once it has ended, as ttlSecondsAfterFinished asks for
            done = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "status": {"conditions": [{"type": "Complete", "status": "True"}]},
            }
            return done if number == 1 else None
        if path.endswith("deployments/web"):
            return None if number < 3 else deployment(0) if number < 6 else deployment(1)
        return SETS if path.endswith("replicasets") else listed()

    with serving(answers) as cluster:
        wait_ready(cluster, [WEB, JOB, WEB], 60)


def test_a_job_that_takes_itself_away_may_be_gone_before_anybody_looks(serving: Any) -> None:
    with serving(
        lambda path, number: deployment(1) if path.endswith("web") else SETS if "sets" in path else None
    ) as cluster:
        wait_ready(cluster, [JOB], 60, leaving=[JOB])
        with pytest.raises(SiteError, match="Job n/job: it is not there"):
            wait_ready(cluster, [JOB], 0.05, leaving=[WEB])


def test_what_is_certain_is_told_at_once(serving: Any) -> None:
    with serving(web(pod("InvalidImageName", "no name"))) as cluster:
        with pytest.raises(SiteError) as caught:
            wait_ready(cluster, [WEB], 3600, what="release x")
    problem = "release x: 1 of 1 objects are not up: Pod n/web-1-x: c: InvalidImageName: no name"
    assert caught.value.problem == problem
    assert [finding.where for finding in caught.value.findings] == ["Deployment n/web", "Pod n/web-1-x"]


def test_a_crash_loop_is_not_given_up_while_something_else_comes_up(serving: Any) -> None:
    crashing = web(pod("CrashLoopBackOff", restarts=9))
    looked: list[int] = []

    def answers(path: str, number: int) -> Any:
        if path.endswith("jobs/job"):
            looked.append(number)
            ended = [{"type": "Failed", "status": "True", "reason": "TooLate"}]
            return {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {},
                "status": {"conditions": ended if number > 4 else []},
            }
        return crashing(path, number)

    with serving(answers) as cluster:
        with pytest.raises(SiteError, match="2 of 2 objects are not up"):
            wait_ready(cluster, [WEB, JOB], 3600)
    assert len(looked) == 5


def test_secrets_of_logs_and_events_are_not_told(serving: Any) -> None:
    told = {"type": "Warning", "reason": "Failed", "message": f"url https://me:{SECRET}@host/ refused"}
    events = listed(told, {**told, "message": told["message"]}, {"type": "Normal", "message": "well"})
    log = f"starting\npassword={SECRET}\nAuthorization: Bearer {SECRET}\n\x1b[31mno database\n"
    with serving(web(pod("CrashLoopBackOff", f"token={SECRET}", 9), log=log, events=events)) as cluster:
        with pytest.raises(SiteError) as caught:
            wait_ready(cluster, [WEB], 3600)
    text = caught.value.problem + " ".join(map(str, caught.value.findings))
    assert SECRET not in text
    assert "\x1b" not in text
    assert "starting / " in text
    assert "no database" in text
    assert text.count("refused") == 2, "once for the Deployment, once for its pod"
    assert "well" not in text


@pytest.mark.parametrize("broken", [403, 404, 500, "unable to retrieve container logs for containerd://x"])
def test_what_cannot_be_asked_is_left_out(serving: Any, broken: Any) -> None:
    with serving(web(pod("InvalidImageName"), log=broken)) as cluster:
        with pytest.raises(SiteError, match="InvalidImageName") as caught:
            wait_ready(cluster, [WEB], 3600)
    assert "log" not in str(caught.value.findings[1])


def test_who_may_not_see_pods_still_hears_the_controller(serving: Any) -> None:
    def answers(path: str, number: int) -> Any:
        return deployment(int(number > 3)) if path.endswith("deployments/web") else 403

    with serving(answers) as cluster:
        wait_ready(cluster, [WEB], 60)


def test_it_ends_in_time(serving: Any) -> None:
    with serving(web(pod("ContainerCreating"))) as cluster:
        with pytest.raises(SiteError, match=r"not up after 0 s: Pod n/web-1-x: not ready: c"):
            wait_ready(cluster, [WEB], 0.05)
        with pytest.raises(SiteError, match="it is not there"):
            wait_ready(cluster, [ObjectKey("x.io/v1", "Thing", "n", "a")], 0.05)


def test_only_what_has_crashed_is_begun_anew(serving: Any) -> None:
    deleted: list[str] = []
    crashed, young = pod("CrashLoopBackOff", restarts=2), pod("ContainerCreating")
    young["metadata"]["name"] = "web-1-y"
    well = pod("CrashLoopBackOff", restarts=7)
    well["metadata"]["name"] = "web-1-z"
    well["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    cluster_of = web(crashed, young, well)

    def answers(path: str, number: int) -> Any:
        if "/pods/" in path:
            deleted.append(path.rpartition("/")[2])
            return {"kind": "Status"}
        return cluster_of(path, number)

    with serving(answers) as cluster:
        begin_anew(cluster, [WEB, JOB])
    assert set(deleted) == {"web-1-x"}
