from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from airbundle.errors import NotFound, RemoteError, Unauthorized, Unreachable, UsageError
from airbundle.transfer import cluster as module
from airbundle.transfer import tls
from airbundle.transfer.cluster import Cluster, Resource, open_cluster
from airbundle.transfer.kubeconfig import ClusterAccess, Plugin
from airbundle.transfer.wire import Url
from tests.support.process import free_port
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

PODS = Resource("v1", "pods", "Pod")
DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
TOKEN = "t0ken-of-mine"


def pods(*names: str, following: str = "") -> bytes:
    items = [{"metadata": {"name": name}} for name in names]
    return json.dumps(
        {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": following}, "items": items}
    ).encode()


def status(code: int, message: str) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "message": message, "code": code}).encode()


def names(cluster: Cluster, resource: Resource = PODS, namespace: str = "") -> list[str]:
    return [str(body["metadata"]["name"]) for body in cluster.objects(resource, namespace)]


@contextmanager
def serving(script: Callable[[Turn, dict[str, str]], None], tls: Authority) -> Iterator[tuple[FaultServer, Cluster]]:
    def answer(turn: Turn, number: int) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(turn.seen.path).query).items()}
        script(turn, query)

    with fault_server(answer, tls=tls) as server:
        access = ClusterAccess("here", Url.parse(server.url + "/base"), ca=tls.ca_pem, token=TOKEN)
        with Cluster(access, settings=FAST) as cluster:
            yield server, cluster


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_lists_are_read_page_by_page(authority: Authority) -> None:
    def script(turn: Turn, query: dict[str, str]) -> None:
        pages = {"": pods("a", "b", following="1&/ ="), "1&/ =": pods("c")}
        turn.reply(200, pages[query.get("continue", "")])

    with serving(script, authority) as (server, cluster):
        found = list(cluster.objects(PODS))
        assert [body["metadata"]["name"] for body in found] == ["a", "b", "c"]
        assert (found[0]["apiVersion"], found[0]["kind"]) == ("v1", "Pod")
        names(cluster, DEPLOYMENTS, "matrix")
    assert {seen.header("Authorization") for seen in server.requests} == {f"Bearer {TOKEN}"}
    assert [seen.path.partition("?")[0] for seen in server.requests] == [
        "/base/api/v1/pods",
        "/base/api/v1/pods",
        "/base/apis/apps/v1/namespaces/matrix/deployments",
        "/base/apis/apps/v1/namespaces/matrix/deployments",
    ]


def test_a_list_that_took_too_long_begins_again(authority: Authority) -> None:
    gone: list[str] = []

    def script(turn: Turn, query: dict[str, str]) -> None:
        token = query.get("continue", "")
        if not token:
            turn.reply(200, pods("a", following="new" if gone else "old"))
        elif token == "old":
            gone.append(token)
            turn.reply(410, status(410, "too old"))
        else:
            turn.reply(200, pods("b"))

    with serving(script, authority) as (_, cluster):
        assert names(cluster) == ["a", "a", "b"]


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE_LIMIT", 5000)

    def script(turn: Turn, query: dict[str, str]) -> None:
        turn.reply(200, pods(*(f"pod-{number}" for number in range(int(query["limit"]) * most))))

    most = 10
    with serving(script, authority) as (server, cluster):
        assert len(names(cluster)) == 50
        assert [seen.path.rpartition("=")[2] for seen in server.requests] == ["100", "5"]
        most = 1000
        with pytest.raises(RemoteError, match="more than 5000 bytes"):
            names(cluster)


def test_a_plugin_is_asked_for_the_token(authority: Authority, tmp_path: Path) -> None:
    answer = {"kind": "ExecCredential", "status": {"token": "of-the-plugin"}}
    script = tmp_path / "plugin"
    script.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(answer)}\nE\n")
    script.chmod(0o755)
    plugin = Plugin((str(script),), {}, "client.authentication.k8s.io/v1")
    with serving(lambda turn, _: turn.reply(200, pods("a")), authority) as (server, _):
        access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem, plugin=plugin)
        with Cluster(access, settings=FAST) as cluster:
            assert names(cluster) == ["a"]
        assert server.requests[0].header("Authorization") == "Bearer of-the-plugin"


def test_there_is_an_end_to_what_is_read(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OBJECT_LIMIT", 10)
    number = iter(range(1000))
    with serving(lambda turn, _: turn.reply(200, pods("a", "b", following=str(next(number)))), authority) as (
        _,
        endless,
    ):
        assert len(names(endless)) == 10
    with serving(lambda turn, _: turn.reply(200, pods(following=str(next(number)))), authority) as (_, empty):
        assert names(empty) == []
    with serving(lambda turn, _: turn.reply(200, pods("a", following="x")), authority) as (_, circular):
        with pytest.raises(RemoteError, match="again and again"):
            names(circular)


@pytest.mark.parametrize(
    ("code", "kind"), [(401, Unauthorized), (403, Unauthorized), (404, NotFound), (400, RemoteError)]
)
def test_a_refusal_says_what_the_cluster_says(authority: Authority, code: int, kind: type[RemoteError]) -> None:
    with serving(lambda turn, _: turn.reply(code, status(code, 'pods is "forbidden"\n\x1b[2J')), authority) as (
        _,
        cluster,
    ):
        with pytest.raises(kind) as caught:
            names(cluster)
    assert caught.value.exit_code == 6
    assert caught.value.status == code
    assert 'pods is "forbidden"' in caught.value.problem
    assert "\x1b" not in caught.value.problem
    assert "docker" not in caught.value.hint
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"kind": "PodList", "items": [1]}',
        b'{"kind": "PodList", "items": {}, "metadata": 1}',
    ],
)
def test_what_is_no_list_is_refused(authority: Authority, body: bytes) -> None:
    with serving(lambda turn, _: turn.reply(200, body), authority) as (_, cluster):
        with pytest.raises(RemoteError, match="no list of objects"):
            names(cluster)


def test_an_empty_list_may_be_null(authority: Authority) -> None:
    with serving(lambda turn, _: turn.reply(200, b'{"kind": "PodList", "items": null}'), authority) as (_, cluster):
        assert names(cluster) == []


def test_redirects_and_passing_faults(authority: Authority) -> None:
    def script(turn: Turn, query: dict[str, str]) -> None:
        number = len(turn.server.state.requests)  # type: ignore[attr-defined]
        turn.reply(200, pods("a")) if number == 3 else turn.reply(503 if number == 1 else 429)

    with serving(script, authority) as (_, cluster):
        assert names(cluster) == ["a"]
    # A bearer token follows no redirect.
    with serving(lambda turn, _: turn.reply(302, b"", {"Location": "https://example.test/"}), authority) as (
        server,
        moved,
    ):
        with pytest.raises(RemoteError, match="answered 302"):
            names(moved)
        assert len(server.requests) == 1


def test_a_cluster_that_does_not_answer_is_of_the_site(authority: Authority) -> None:
    access = ClusterAccess("gone", Url.parse(f"https://127.0.0.1:{free_port()}"), token=TOKEN)
    with Cluster(access, settings=FAST) as cluster, pytest.raises(Unreachable, match="cluster gone") as caught:
        names(cluster)
    assert caught.value.exit_code == 6


def test_only_the_clusters_own_ca_is_trusted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path / "other")
    # Even where the system trusts the server's CA.
    monkeypatch.setattr(tls, "_contexts", {})
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    with serving(lambda turn, _: turn.reply(200, pods("a")), authority) as (server, _):
        for ca, insecure, works in ((other.ca_pem, False, False), (b"", False, True), (other.ca_pem, True, True)):
            access = ClusterAccess("here", Url.parse(server.url), ca=ca, insecure=insecure)
            with Cluster(access, settings=FAST) as cluster:
                if works:
                    assert names(cluster) == ["a"]
                else:
                    with pytest.raises(Unreachable, match="certificate"):
                        names(cluster)


def test_a_client_certificate_is_shown_and_its_files_go(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "server")
    people = trustme.CA()
    me = people.issue_cert("me@example.test")
    context = authority.issue().context()
    context.verify_mode = ssl.CERT_REQUIRED
    people.configure_trust(context)
    with fault_server(lambda turn, _: turn.reply(200, pods("a")), context=context) as server:
        key, chain = me.private_key_pem.bytes(), b"".join(pem.bytes() for pem in me.cert_chain_pems)
        document: dict[str, Any] = {
            "current-context": "k",
            "contexts": [{"name": "k", "context": {"cluster": "k", "user": "k"}}],
            "clusters": [{"name": "k", "cluster": {"server": server.url, "certificate-authority": "server/ca.crt"}}],
            "users": [{"name": "k", "user": {"client-certificate": "me.crt", "client-key": "me.key"}}],
        }
        (tmp_path / "me.crt").write_bytes(chain)
        (tmp_path / "me.key").write_bytes(key)
        (tmp_path / "config").write_text(json.dumps(document))
        with open_cluster(tmp_path / "config") as cluster:
            assert names(cluster) == ["a"]
            files = Path(cluster._files.name)
            assert files.stat().st_mode & 0o777 == 0o700
            assert {path.stat().st_mode & 0o777 for path in files.rglob("*") if path.is_file()} == {0o600}
        assert not files.exists()
        (tmp_path / "me.key").write_bytes(b"no key")
        with open_cluster(tmp_path / "config") as cluster, pytest.raises(UsageError, match="PEM"):
            names(cluster)
