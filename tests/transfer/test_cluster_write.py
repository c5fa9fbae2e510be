from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.errors import Conflict, NotFound, Refused, RemoteError, SiteError, Unauthorized
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.kubeconfig import ClusterAccess, Plugin
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Url
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
        {"name": "namespaces", "kind": "Namespace", "namespaced": False},
        {"name": "namespaces/status", "kind": "Namespace", "namespaced": False},
        {"name": "../secrets", "kind": "Secret", "namespaced": True},
        "nonsense",
    ],
}
BODY: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "n"},
    "data": {"x": "1"},
}
KEY = ObjectKey("v1", "ConfigMap", "n", "a")
PATH = "/api/v1/namespaces/n/configmaps/a"


def status(code: int, message: str = "", **fields: Any) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "message": message, "code": code, **fields}).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serving(authority: Authority) -> Any:
    @contextmanager
    def run(
        script: Callable[[Turn, int], None], settings: HttpSettings = FAST
    ) -> Iterator[tuple[FaultServer, ClusterWriter]]:
        counted = iter(range(1, 1000))

        def answer(turn: Turn, _: int) -> None:
            if turn.seen.path == "/api/v1":
                turn.reply(200, json.dumps(RESOURCES).encode())
            elif turn.seen.path.startswith("/apis/gone.io"):
                turn.reply(404, status(404, "the server could not find the requested resource"))
            else:
                script(turn, next(counted))

        with fault_server(answer, tls=authority) as server:
            access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem, token="t")
            with ClusterWriter(access, settings=settings) as cluster:
                yield server, cluster

    return run


def asked(server: FaultServer) -> list[tuple[str, str]]:
    return [(seen.method, seen.path) for seen in server.requests if seen.path != "/api/v1"]


def test_an_object_is_applied_by_the_server_in_our_name(serving: Any) -> None:
    with serving(lambda turn, _: turn.reply(201, json.dumps(BODY).encode())) as (server, cluster):
        assert cluster.apply(BODY) == BODY
        cluster.apply(BODY, force=True, dry_run=True)
    query = "fieldManager=airbundle&force={}&fieldValidation=Strict"
    assert asked(server) == [
        ("PATCH", f"{PATH}?{query.format('false')}"),
        ("PATCH", f"{PATH}?{query.format('true')}&dryRun=All"),
    ]
    patch = next(seen for seen in server.requests if seen.method == "PATCH")
    assert patch.header("Content-Type") == "application/apply-patch+yaml"
    assert json.loads(patch.body) == BODY
    assert [seen.path for seen in server.requests].count("/api/v1") == 1, "the kinds are asked for once"


@pytest.mark.parametrize(
    ("kind", "namespace", "path", "sent"),
    [
        ("ConfigMap", "", "/api/v1/namespaces/default/configmaps/a", "default"),
        ("Namespace", "n", "/api/v1/namespaces/a", None),
    ],
)
def test_an_object_goes_where_its_kind_belongs(
    serving: Any, kind: str, namespace: str, path: str, sent: str | None
) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": namespace}}
    with serving(lambda turn, _: turn.reply(200, json.dumps(body).encode())) as (server, cluster):
        cluster.apply(body)
    assert asked(server)[0][1].partition("?")[0] == path
    assert json.loads(server.requests[-1].body)["metadata"].get("namespace") == sent


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_an_api_server_in_trouble_is_asked_again(serving: Any, code: int) -> None:
    def script(turn: Turn, number: int) -> None:
        if number < 4:
            turn.reply(code, status(code, "etcdserver: request timed out"))
        else:
            turn.reply(200, json.dumps(BODY).encode())

    with serving(script) as (server, cluster):
        assert cluster.apply(BODY) == BODY
    assert len(asked(server)) == 4


def test_a_lost_connection_is_no_end(serving: Any) -> None:
    def script(turn: Turn, number: int) -> None:
        if number == 1:
            turn.reset()
        else:
            turn.reply(200, json.dumps(BODY).encode())

    with serving(script) as (server, cluster):
        assert cluster.apply(BODY) == BODY
    assert len(asked(server)) == 2


def test_what_the_server_said_last_is_told(serving: Any) -> None:
    impatient = replace(FAST, retry_time=0.01)
    with serving(lambda turn, _: turn.reply(500, status(500, "etcdserver: leader changed")), impatient) as (_, cluster):
        with pytest.raises(RemoteError, match="answered 500: etcdserver: leader changed") as caught:
            cluster.resource_of("apps/v1", "Deployment")
    assert type(caught.value) is RemoteError
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("code", "message", "error", "hint"),
    [
        (400, "no", Refused, "does not take the object"),
        (401, "no", Unauthorized, "check the user"),
        (403, 'configmaps is forbidden: User "x" cannot', Unauthorized, "ask for a role"),
        (403, "forbidden: namespace n because it is being terminated", Refused, "wait until"),
        (404, 'namespaces "n" not found', NotFound, ""),
        (422, 'ConfigMap "a" is invalid', Refused, "does not take the object"),
        (500, "failed to create typed patch object (n/a): .spek: field not declared", Refused, "does not take"),
    ],
)
def test_a_refusal_is_told_at_once(serving: Any, code: int, message: str, error: type[RemoteError], hint: str) -> None:
    with serving(lambda turn, _: turn.reply(code, status(code, message))) as (server, cluster):
        with pytest.raises(error, match="cluster here: apply ConfigMap n/a: ") as caught:
            cluster.apply(BODY)
    assert type(caught.value) is error
    assert message in caught.value.problem
    assert hint in caught.value.hint
    assert len(asked(server)) == 1


def test_a_conflict_names_manager_and_field(serving: Any) -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using v1', "field": field}
        for manager, field in (("kubectl-edit", ".data.x"), ("helm", ".data.y"))
    ]
    refusal = status(409, "Apply failed with 2 conflicts", reason="Conflict", details={"causes": causes})
    with serving(lambda turn, _: turn.reply(409, refusal)) as (server, cluster):
        with pytest.raises(Conflict) as caught:
            cluster.apply(BODY)
    assert caught.value.fields == (("kubectl-edit", ".data.x"), ("helm", ".data.y"))
    assert "kubectl-edit sets .data.x, helm sets .data.y" in caught.value.hint
    assert len(asked(server)) == 1


def test_an_apply_that_lost_a_race_is_run_again(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.cluster_write._POLL", 0.0)
    modified = status(409, "the object has been modified", reason="Conflict")

    def script(turn: Turn, number: int) -> None:
        turn.reply(*((409, modified) if number < 3 else (200, json.dumps(BODY).encode())))

    with serving(script) as (_, cluster):
        assert cluster.apply(BODY) == BODY
    with serving(lambda turn, _: turn.reply(409, modified)) as (server, cluster):
        with pytest.raises(Conflict, match="has been modified"):
            cluster.apply(BODY)
        assert len(asked(server)) == 5
        with pytest.raises(Conflict, match="has been modified"):
            cluster.replace(BODY)
        assert len(asked(server)) == 6


def test_what_is_not_there_is_none(serving: Any) -> None:
    with serving(lambda turn, _: turn.reply(404, status(404, "not found"))) as (server, cluster):
        assert cluster.get(KEY) is None
        assert cluster.get(ObjectKey("gone.io/v1", "Thing", "n", "a")) is None
        assert cluster.get(ObjectKey("../v1", "Thing", "n", "a")) is None
        assert cluster.get(ObjectKey("v1", "Secret", "n", "a")) is None, "a plural that is a path is no plural"
        assert not cluster.delete(KEY)
        with pytest.raises(NotFound, match=r"no kind Thing in gone\.io/v1"):
            cluster.apply({**BODY, "apiVersion": "gone.io/v1", "kind": "Thing"})
    assert {method for method, _ in asked(server)} == {"GET"}


def test_a_kind_that_was_missing_is_asked_for_anew(serving: Any) -> None:
    served: dict[str, Any] = {"kind": "APIResourceList", "resources": []}
    with serving(lambda turn, _: turn.reply(200, json.dumps(served).encode())) as (_, cluster):
        assert cluster.resource_of("new.io/v1", "Thing") is None
        served["resources"] = [{"name": "things", "kind": "Thing", "namespaced": False}]
        thing = cluster.resource_of("new.io/v1", "Thing")
        assert thing is not None
        assert not thing.namespaced
        served["resources"] = []
        assert cluster.resource_of("new.io/v1", "Thing") == thing
        cluster.forget()
        assert cluster.resource_of("new.io/v1", "Thing") is None


def test_a_deletion_names_the_very_object_and_waits(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.cluster_write._POLL", 0.0)
    live = {**BODY, "metadata": {**BODY["metadata"], "uid": "u1", "finalizers": ["x.io/y"]}}
    anew = {**BODY, "metadata": {**BODY["metadata"], "uid": "u2"}}

    def script(turn: Turn, number: int) -> None:
        turn.reply(200, json.dumps(anew if number == 5 else live).encode())

    with serving(script) as (server, cluster):
        assert cluster.delete(KEY, wait=60)
        deletion = next(seen for seen in server.requests if seen.method == "DELETE")
        assert json.loads(deletion.body)["preconditions"] == {"uid": "u1"}
        assert json.loads(deletion.body)["propagationPolicy"] == "Foreground"
        assert len(asked(server)) == 5
        with pytest.raises(SiteError, match=r"still there after 0 s; found finalizers: x\.io/y"):
            cluster.delete(KEY, wait=0.01)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"kind": 1}', b"<html>", b'{"kind": "a", "kind": "b"}', b"\xff", b'{"kind":' + b"[" * 99999],
)
def test_an_answer_that_is_no_object_is_refused(serving: Any, answer: bytes) -> None:
    with serving(lambda turn, _: turn.reply(200, answer)) as (_, cluster):
        with pytest.raises(RemoteError, match="get ConfigMap n/a"):
            cluster.get(KEY)


def test_reviews_are_created(serving: Any) -> None:
    with serving(lambda turn, _: turn.reply(201, json.dumps(BODY).encode())) as (server, cluster):
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "spec": {}})
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}})
    assert [path.partition("?")[0] for _, path in asked(server)] == [
        "/api/v1/namespaces",
        "/api/v1/namespaces/default/configmaps",
    ]


@pytest.mark.parametrize(
    ("body", "version"),
    [({"major": "1", "minor": "33"}, "1.33"), ({"major": "1", "minor": "30+"}, "1.30")],
)
def test_the_version_is_two_numbers(serving: Any, body: Any, version: str) -> None:
    with serving(lambda turn, _: turn.reply(200, json.dumps(body).encode())) as (_, cluster):
        assert cluster.version() == version


@pytest.mark.parametrize("body", [b"[]", b"{}", b"nonsense"])
def test_what_has_no_version_is_no_cluster(serving: Any, body: bytes) -> None:
    with serving(lambda turn, _: turn.reply(200, body)) as (_, cluster):
        with pytest.raises(RemoteError, match="no version"):
            cluster.version()


def test_all_api_versions_are_told(serving: Any) -> None:
    answers = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [{"versions": [{"groupVersion": "apps/v1"}, {"groupVersion": "a b"}, 1]}, {"versions": None}, 2],
        },
    }
    with serving(lambda turn, _: turn.reply(200, json.dumps(answers[turn.seen.path]).encode())) as (_, cluster):
        assert cluster.api_versions() == {"v1", "apps/v1"}


def test_credentials_of_a_plugin_that_have_ended_are_asked_for_again(authority: Authority, tmp_path: Path) -> None:
    count, script = tmp_path / "count", tmp_path / "plugin"
    script.write_text(
        f"#!/bin/sh\necho x >> {count}\n"
        f'echo "{{\\"kind\\": \\"ExecCredential\\", \\"status\\": {{\\"token\\": \\"t$(wc -l < {count})\\"}}}}"\n'
    )
    script.chmod(0o755)

    def answer(turn: Turn, _: int) -> None:
        if turn.seen.header("Authorization") == "Bearer t2":
            turn.reply(200, json.dumps(RESOURCES).encode())
        else:
            turn.reply(401, status(401, "Unauthorized"))

    plugin = Plugin((str(script),), {}, "client.authentication.k8s.io/v1")
    with fault_server(answer, tls=authority) as server:
        access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem, plugin=plugin)
        with ClusterWriter(access, settings=FAST) as cluster:
            assert cluster.resource_of("v1", "ConfigMap") is not None
            cluster.access = replace(cluster.access, token="ended")
            with pytest.raises(Unauthorized):
                cluster.resource_of("apps/v1", "Deployment")
    assert [seen.header("Authorization") for seen in server.requests] == [
        f"Bearer {t}" for t in ("t1", "t2", "ended", "t3")
    ]
