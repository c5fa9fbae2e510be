from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airbundle.errors import NotFound, RemoteError, Unauthorized
from airbundle.transfer import cluster_pods
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.kubeconfig import ClusterAccess
from airbundle.transfer.wire import Url
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server

REFUSAL = b'{\n  "kind": "Status", "message": "services is forbidden", "code": 403}'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serving(authority: Authority) -> Any:
    @contextmanager
    def run(script: Callable[[Turn, int], None]) -> Iterator[tuple[FaultServer, ClusterWriter]]:
        with fault_server(script, tls=authority) as server:
            access = ClusterAccess("here", Url.parse(server.url), ca=authority.ca_pem)
            with ClusterWriter(access, settings=FAST) as cluster:
                yield server, cluster

    return run


def test_the_end_of_a_log_is_read(serving: Any) -> None:
    with serving(lambda turn, _: turn.reply(200, b"one\ntw\xff\n")) as (server, cluster):
        assert cluster.logs("n", "p") == "one\ntw�\n"
        cluster.logs("n", "p", "c", lines=3, previous=True)
    assert [seen.path for seen in server.requests] == [
        "/api/v1/namespaces/n/pods/p/log?tailLines=200&limitBytes=1048576",
        "/api/v1/namespaces/n/pods/p/log?tailLines=3&limitBytes=1048576&container=c&previous=true",
    ]


def test_a_log_that_is_not_there_is_told(serving: Any) -> None:
    with serving(lambda turn, _: turn.reply(404, b'{"message": "pods \\"p\\" not found"}')) as (_, cluster):
        with pytest.raises(NotFound, match="log of n/p"):
            cluster.logs("n", "p")


@pytest.mark.parametrize(
    ("port", "path", "scheme", "asked"),
    [
        (80, "/", "http", "web:80/proxy/"),
        (80, "health", "http", "web:80/proxy/health"),
        ("metrics", "/a b?c=d&e=/f", "http", "web:metrics/proxy/a%20b?c=d&e=/f"),
        (443, "/x", "https", "https:web:443/proxy/x"),
    ],
)
def test_a_service_is_asked_by_the_api_server(serving: Any, port: Any, path: str, scheme: str, asked: str) -> None:
    with serving(lambda turn, _: turn.reply(200, b"hello")) as (server, cluster):
        assert cluster.service_get("n", "web", port, path, scheme) == (200, b"hello")
    assert server.requests[0].path == f"/api/v1/namespaces/n/services/{asked}"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_what_the_service_answers_is_no_error(serving: Any, status: int) -> None:
    with serving(lambda turn, _: turn.reply(status, b"its own words")) as (server, cluster):
        assert cluster.service_get("n", "web", 80) == (status, b"its own words")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_api_server_is_one(serving: Any, status: int) -> None:
    with serving(lambda turn, _: turn.reply(status, REFUSAL)) as (_, cluster):
        with pytest.raises(Unauthorized, match="services is forbidden"):
            cluster.service_get("n", "web", 80)


def test_a_long_answer_is_refused(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_pods, "ANSWER_LIMIT", 10)
    with serving(lambda turn, _: turn.reply(200, b"x" * 11)) as (_, cluster):
        with pytest.raises(RemoteError, match="more than 10 bytes"):
            cluster.service_get("n", "web", 80)
