"""What answers to checks must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.release_checks import Check, PodCheck
from airbundle.deploy.checks import (
    Mismatch,
    Place,
    command_mismatch,
    command_of,
    filled,
    http_mismatch,
    place_of,
    ready_pod,
    shown,
    title,
    tls_mismatch,
    workload_of,
)
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import DocumentError

DB = PodCheck("StatefulSet/db", database="app", user="owner", query="select count(*) from t")


@pytest.mark.parametrize(
    ("check", "name", "place"),
    [
        (Check(http="https://a.test/x?y=1#z"), "http https://a.test/x?y=1#z", Place("a.test", 443, "https", "/x?y=1")),
        (Check(http="http://a.b.svc:8080"), "http http://a.b.svc:8080", Place("a.b.svc", 8080, "http", "/")),
        (Check(tcp="[::1]:80"), "tcp [::1]:80", Place("::1", 80)),
        (Check(tls="turn.test:5349"), "tls turn.test:5349", Place("turn.test", 5349)),
    ],
)
def test_where_checks_go(check: Check, name: str, place: Place) -> None:
    assert (title(check), place_of(check)) == (name, place)


@pytest.mark.parametrize(
    "check", [Check(http="http://"), Check(tcp="x:99999"), Check(tcp="{{ x }}:80"), Check(tls="h")]
)
def test_nobody_goes_to_what_is_no_place(check: Check) -> None:
    with pytest.raises(ValueError, match=r"."):
        place_of(check)


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("web.shop.svc", ("shop", "web")),
        ("web.shop.svc.cluster.local", ("shop", "web")),
        ("web.shop.svc.cluster.local.", ("shop", "web")),
        ("web.shop", None),
        ("a.web.shop.svc", None),
        ("svc", None),
        ("web.shop.svc.example.org", None),
    ],
)
def test_services_of_the_cluster(host: str, service: tuple[str, str] | None) -> None:
    assert Place(host, 80).service == service


def test_names_of_the_site_are_filled_in() -> None:
    names = {"domain": "a.test", "name": "berlin"}
    check = filled(Check(http="https://x.{{ site.domain }}/", body="{{ site.name }} {{x}}"), names, "x")
    assert (check.http, check.body) == ("https://x.a.test/", "berlin {{x}}")
    command = filled(Check(exec=PodCheck("a=b", command=("echo", "{{site.name}}"))), names, "x").exec
    assert command == PodCheck("a=b", command=("echo", "berlin"))
    sql = filled(Check(sql=PodCheck("a=b", query="select '{{ site.name }}'")), names, "x").sql
    assert sql is not None
    assert sql.query == "select 'berlin'"
    with pytest.raises(DocumentError):
        filled(Check(tcp="{{ site.registry }}:1"), names, "x")


@pytest.mark.parametrize(
    ("check", "command"),
    [
        (Check(exec=PodCheck("a=b", command=("id", "-u"))), ["id", "-u"]),
        (Check(redis=PodCheck("a=b")), ["redis-cli", "PING"]),
        (
            Check(sql=DB),
            [*"psql -X -w -A -t -v ON_ERROR_STOP=1 -d app -U owner -c".split(), "select count(*) from t"],
        ),
        (Check(sql=PodCheck("a=b")), [*"psql -X -w -A -t -v ON_ERROR_STOP=1 -c".split(), "select 1"]),
    ],
)
def test_commands(check: Check, command: list[str]) -> None:
    assert command_of(check) == command


@pytest.mark.parametrize(
    ("pod", "key"),
    [
        ("app=web", None),
        ("example.org/app=web,b=", None),
        ("Deployment/web", ObjectKey("apps/v1", "Deployment", "shop", "web")),
        ("Job/once", ObjectKey("batch/v1", "Job", "shop", "once")),
        ("Pod/db-0", ObjectKey("v1", "Pod", "shop", "db-0")),
    ],
)
def test_pods_are_named_or_described(pod: str, key: ObjectKey | None) -> None:
    assert workload_of(pod, "shop") == key


def pod(name: str, ready: str = "True", **metadata: str) -> dict[str, object]:
    return {"metadata": {"name": name, **metadata}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_the_first_ready_pod_that_stays() -> None:
    pods = [pod("c"), pod("b"), pod("a", "False"), pod("a0", deletionTimestamp="2026-01-01T00:00:00Z"), {}]
    assert ready_pod(pods) == "b"
    assert ready_pod(pods[2:]) == ""


@pytest.mark.parametrize(
    ("check", "status", "body", "expected"),
    [
        (Check(http="x"), 200, b"", None),
        (Check(http="x", status=404), 404, b"gone", None),
        (Check(http="x"), 503, b"no\nbackend", Mismatch("503: no backend", "200")),
        (Check(http="x"), 302, b"", Mismatch("302", "200")),
        (Check(http="x", body="fine"), 200, b"all is fine here", None),
        (
            Check(http="x", body="fine"),
            200,
            b"all \xff is bad",
            Mismatch("200: all \ufffd is bad", "200 with 'fine' in it"),
        ),
        (Check(http="x", body="fine"), 200, b"", Mismatch("200: an empty answer", "200 with 'fine' in it")),
    ],
)
def test_answers_over_http(check: Check, status: int, body: bytes, expected: Mismatch | None) -> None:
    assert http_mismatch(check, status, body) == expected


@pytest.mark.parametrize(("days", "left", "holds"), [(1, 1, True), (1, 0, False), (0, 0, True), (30, 29, False)])
def test_certificates(days: int, left: int, holds: bool) -> None:
    assert (tls_mismatch(Check(tls="x:1", days=days), left) is None) == holds


@pytest.mark.parametrize(
    ("check", "code", "output", "found"),
    [
        (Check(exec=DB), 0, b"anything", None),
        (Check(exec=DB), 3, b"first\nno such table", "exit code 3: first no such table"),
        (Check(exec=DB), 1, b"", "exit code 1"),
        (Check(sql=DB), 2, b"FATAL: role", "exit code 2: FATAL: role"),
        (Check(redis=DB), 0, b"PONG\n", None),
        (Check(redis=DB), 0, b"NOAUTH Authentication required.\n", "NOAUTH Authentication required."),
        (Check(redis=DB), 0, b"", "no answer"),
        (Check(redis=DB), 1, b"Could not connect", "exit code 1: Could not connect"),
    ],
)
def test_commands_that_ended(check: Check, code: int, output: bytes, found: str | None) -> None:
    mismatch = command_mismatch(check, code, output)
    assert (mismatch.found if mismatch else None) == found


def test_long_answers_are_cut_and_secrets_left_out() -> None:
    assert shown(b"a" * 1000) == "a" * 300 + "…"
    assert shown(b"b" + b"a" * 1000, end=True) == "…" + "a" * 300
    assert "hush-hush" not in shown(b"password=hush-hush")


@given(st.binary(max_size=400))
def test_any_answer_is_shown_on_one_line(raw: bytes) -> None:
    assert shown(raw).isprintable()
