from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.diff import LINES, unified, without_noise

LIVE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "web",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "airbundle"}],
        "annotations": {"deployment.kubernetes.io/revision": "4", "kept": "yes"},
    },
    "spec": {
        "replicas": 1,
        "progressDeadlineSeconds": 600,
        "template": {
            "spec": {
                "restartPolicy": "Always",
                "containers": [
                    {
                        "name": "c",
                        "image": "x:1",
                        "imagePullPolicy": "IfNotPresent",
                        "env": [{"name": "A", "value": "1"}],
                    }
                ],
            }
        },
    },
    "status": {"replicas": 1},
}
WRITTEN: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "n", "annotations": {"kept": "yes"}},
    "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
}


def changed(diff: str) -> list[str]:
    """Return the lines that differ."""
    return [line for line in diff.splitlines()[2:] if line[0] in "+-"]


def test_what_the_cluster_fills_in_is_no_change() -> None:
    assert unified(LIVE, WRITTEN) == ""
    answer = copy.deepcopy(LIVE)
    answer["metadata"].update(resourceVersion="8", generation=4, managedFields=[])
    answer["status"] = {"replicas": 2}
    assert unified(LIVE, answer) == ""


def test_a_change_is_shown_with_what_is_around_it() -> None:
    desired = copy.deepcopy(WRITTEN)
    desired["spec"]["template"]["spec"]["containers"][0]["image"] = "x:2"
    assert unified(LIVE, desired) == (
        "--- Deployment web (cluster)\n"
        "+++ Deployment web (bundle)\n"
        "@@ -10,5 +10,5 @@\n"
        "   template:\n"
        "     spec:\n"
        "       containers:\n"
        "-      - image: x:1\n"
        "+      - image: x:2\n"
        "         name: c\n"
    )


def test_an_answer_of_the_cluster_shows_what_is_dropped_too() -> None:
    answer = copy.deepcopy(LIVE)
    del answer["spec"]["template"]["spec"]["containers"][0]["env"]
    assert changed(unified(LIVE, answer)) == [
        "-      - env:",
        "-        - name: A",
        "-          value: '1'",
        "-        image: x:1",
        "+      - image: x:1",
    ]


def test_items_of_lists_are_matched_by_their_names() -> None:
    live = copy.deepcopy(LIVE)
    containers = live["spec"]["template"]["spec"]["containers"]
    containers.insert(0, {"name": "sidecar", "image": "s:1", "imagePullPolicy": "Always"})
    lines = changed(unified(live, WRITTEN))
    assert all("sidecar" in line or "s:1" in line or "Always" in line for line in lines)
    assert lines


def test_objects_come_and_go_whole() -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert changed(unified(None, body)) == ["+apiVersion: v1", "+kind: ConfigMap", "+metadata:", "+  name: a"]
    assert {line[0] for line in changed(unified(body, None))} == {"-"}
    assert unified(None, None) == ""


def secret(**data: str) -> dict[str, Any]:
    coded = {name.replace("_", "."): base64.b64encode(value.encode()).decode() for name, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": coded}


def test_secrets_say_that_they_change_and_not_how() -> None:
    diff = unified(secret(a="old-one", b="same", c="goes"), secret(a="new-one", b="same", d="comes"))
    assert changed(diff) == ["-  a: …", "+  a: … (changed)", "-  c: …", "+  d: …"]
    for value in ("old-one", "new-one", "same", "goes", "comes"):
        assert value not in diff
        assert base64.b64encode(value.encode()).decode() not in diff


def test_plain_and_coded_data_of_a_secret_are_the_same() -> None:
    plain = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "x"}}
    assert unified(secret(a="x"), plain) == ""
    assert changed(unified(secret(a="y"), plain)) == ["-  a: …", "+  a: … (changed)"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"password": "geheim1"}, {"password": "geheim2"}),
        (
            {"env": [{"name": "DB_PASSWORD", "value": "geheim1"}]},
            {"env": [{"name": "DB_PASSWORD", "value": "geheim2"}]},
        ),
        ({"args": ["--password", "geheim1"]}, {"args": ["--password", "geheim2"]}),
        ({"args": ["--password=geheim1"]}, {"args": ["--password=geheim2"]}),
        ({"tokens": ["geheim1"]}, {"tokens": ["geheim2"]}),
        ({"conf": "a: 1\npassword: geheim1\n"}, {"conf": "a: 1\npassword: geheim2\n"}),
        ({"url": "https://u:geheim1@host/"}, {"url": "https://u:geheim2@host/"}),
    ],
)
def test_values_that_are_named_as_secrets_are_hidden(old: Any, new: Any) -> None:
    body = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}}
    diff = unified({**body, "spec": old}, {**body, "spec": new})
    assert "geheim" not in diff
    assert "(changed)" in diff


def test_what_only_names_a_secret_is_shown() -> None:
    body = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}}
    old = {**body, "spec": {"secretName": "a", "secretKeyRef": {"name": "x", "key": "y"}}}
    diff = unified(old, {**body, "spec": {"secretName": "b", "secretKeyRef": {"name": "z", "key": "y"}}})
    assert changed(diff) == ["-    name: x", "-  secretName: a", "+    name: z", "+  secretName: b"]


def test_what_kubectl_keeps_of_an_object_is_not_shown() -> None:
    name = "kubectl.kubernetes.io/last-applied-configuration"
    live = {"kind": "ConfigMap", "metadata": {"name": "a", "annotations": {name: "geheim"}}}
    assert unified(live, None).count("geheim") == 0
    assert without_noise(live)["metadata"] == {"name": "a"}


def test_texts_of_several_lines_differ_line_by_line() -> None:
    body = {"kind": "ConfigMap", "metadata": {"name": "a"}}
    diff = unified({**body, "data": {"f": "one\ntwo\n"}}, {**body, "data": {"f": "one\nthree\n"}})
    assert changed(diff) == ["-    two", "+    three"]


def test_a_long_diff_is_cut_and_an_endless_one_is_quick() -> None:
    body = {"kind": "ConfigMap", "metadata": {"name": "a"}}
    old = {**body, "data": {f"k{number:06}": "1" for number in range(21_000)}}
    new = {**body, "data": {**old["data"], "k015000": "2"}}  # type: ignore[dict-item]
    assert changed(unified(old, new)) == ["-  k015000: '1'", "+  k015000: '2'"]
    whole = unified(None, old)
    assert whole.count("\n") == LINES + 1
    assert "more lines" in whole


@pytest.mark.parametrize("number", [500, 20_999])
def test_what_a_diff_does_not_show_is_no_other_without_a_trace(number: int) -> None:
    body = {"kind": "ConfigMap", "metadata": {"name": "a"}}
    data = {f"k{each:06}": "1" for each in range(21_000)}
    one = unified(None, {**body, "data": data})
    other = unified(None, {**body, "data": {**data, f"k{number:06}": "2"}})
    assert one != other and one.splitlines()[:LINES] == other.splitlines()[:LINES]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "value", "data", "token", "metadata", "spec", "x"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)
BODIES = st.dictionaries(st.sampled_from(["metadata", "spec", "data", "stringData"]), JSON, max_size=3).flatmap(
    lambda body: st.sampled_from(["Secret", "ConfigMap"]).map(lambda kind: {"kind": kind, **body})
)


@given(BODIES, BODIES)
def test_any_two_objects_have_a_diff(old: Any, new: Any) -> None:
    unified(old, new)
    assert unified(old, old) == ""
    unified(old, None)
    unified(None, new)


@given(st.text(min_size=6, alphabet="abcdefgh"), st.text(min_size=6, alphabet="ijklmnop"))
def test_no_value_of_a_secret_is_in_a_diff(one: str, two: str) -> None:
    for old, new in (({"a": one}, {"a": two}), ({"a": one}, {}), ({}, {"b": two})):
        diff = unified(secret(**old), secret(**new))
        for value in (one, two):
            assert base64.b64encode(value.encode()).decode() not in diff
    assert "(changed)" in unified(secret(a=one), secret(a=two))
