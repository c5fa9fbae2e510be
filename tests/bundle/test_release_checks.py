"""Checks of releases: each kind is read, and what can't be meant is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.release_checks import Check, PodCheck
from airbundle.errors import DocumentError
from tests.bundle.documents import minimal


def _inventory(check: dict[str, Any]) -> bytes:
    return minimal(manifests=[{"path": "m.yaml", "release": {"name": "base", "checks": [check]}}])


def _refused(check: dict[str, Any]) -> str:
    with pytest.raises(DocumentError) as refused:
        parse_inventory(_inventory(check))
    return "\n".join(map(str, refused.value.findings))


@pytest.mark.parametrize(
    ("written", "kind", "read"),
    [
        ({"http": "http://a/"}, "http", Check(http="http://a/")),
        (
            {"http": "https://{{ site.domain }}/", "status": 404, "body": "no {{x}}"},
            "http",
            Check(http="https://{{ site.domain }}/", status=404, body="no {{x}}"),
        ),
        ({"tcp": "a.b.svc:1", "timeout": "1m"}, "tcp", Check(tcp="a.b.svc:1", timeout="1m")),
        ({"tls": "[fd00::1]:65535", "days": 30}, "tls", Check(tls="[fd00::1]:65535", days=30)),
        (
            {"exec": {"pod": "app.kubernetes.io/name=x,a=", "command": ["sh", "-c", "a\nb"]}},
            "exec",
            Check(exec=PodCheck("app.kubernetes.io/name=x,a=", command=("sh", "-c", "a\nb"))),
        ),
        (
            {"sql": {"pod": "StatefulSet/db", "container": "pg", "user": "u", "database": "d", "query": "select 2"}},
            "sql",
            Check(sql=PodCheck("StatefulSet/db", "pg", (), "d", "u", "select 2")),
        ),
        ({"redis": {"pod": "Pod/redis-0"}}, "redis", Check(redis=PodCheck("Pod/redis-0"))),
    ],
)
def test_each_kind_is_read(written: dict[str, Any], kind: str, read: Check) -> None:
    (release,) = parse_inventory(_inventory(written)).releases
    assert release.checks == (read,)
    assert read.kind == kind
    (again,) = parse_inventory(_inventory(read.meaning())).releases
    assert again.checks == (read,)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "a check takes exactly one of http, tcp, tls, exec, sql, redis; found none of them"),
        ({"http": "http://a/", "tcp": "a:1"}, "found http and tcp"),
        ({"tcp": "a:1", "status": 200}, "a check lacks 'http': 'status' needs it"),
        ({"http": "http://a/", "days": 2}, "a check lacks 'tls': 'days' needs it"),
        ({"tcp": "a"}, "expected HOST:PORT"),
        ({"tcp": "a:0"}, "expected HOST:PORT"),
        ({"tcp": "http://a:1"}, "expected HOST:PORT"),
        ({"tls": "{{ site.domian }}:443"}, "did you mean site.domain?"),
        ({"http": "https://{{ site.nothing }}/"}, "is no name of the site"),
        ({"exec": {"pod": "app=x", "command": []}}, "at least 1 in the list"),
        ({"exec": {"pod": "app=x", "command": "id"}}, "a list"),
        ({"exec": {"pod": "app=x", "command": ["echo", "{{ site.x }}"]}}, "is no name of the site"),
        ({"exec": {"pod": "ReplicaSet/x", "command": ["id"]}}, "expected KIND/NAME"),
        ({"exec": {"pod": "nonsense", "command": ["id"]}}, "expected KIND/NAME"),
        ({"sql": {"pod": "a=b", "database": "-x"}}, "expected a database's name"),
        ({"sql": {"pod": "a=b", "database": "host=elsewhere"}}, "expected a database's name"),
        ({"redis": {}}, "redis lacks 'pod'"),
        ({"redis": {"pod": "a=b"}, "timeout": "soon"}, "a duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(written: dict[str, Any], words: str) -> None:
    found = _refused(written)
    assert words in found
    assert "manifests[0].release.checks[0]" in found
