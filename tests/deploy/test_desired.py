"""Tests for airbundle.deploy.desired: renders as objects."""

from __future__ import annotations

import json

import pytest

from airbundle.deploy.desired import (
    Desired,
    chart_applied,
    desired_objects,
    helm_writes,
    images_of,
    objects_of_manifest,
)
from airbundle.deploy.helm_marks import owned, owner
from airbundle.deploy.objects import key_of
from airbundle.errors import DocumentError, Finding
from airbundle.scan.model import Origin, Rendering
from airbundle.scan.pin import pin_images

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"kind": "Thing", "plural": "things"},
        "versions": [{"name": "v1"}],
    },
}


def scope(api_version: str, kind: str) -> bool | None:
    return {"ConfigMap": True, "Pod": True, "Namespace": False, "CustomResourceDefinition": False}.get(kind)


def desired(text: str) -> tuple[list[Desired], list[Finding]]:
    pinned = pin_images(Rendering(Origin("x"), text.encode()), lambda _: None)
    return desired_objects([pinned], "here", scope, "release x")


def body(kind: str, name: str, api_version: str = "v1", **metadata: object) -> str:
    return (
        "---\n" + json.dumps({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}) + "\n"
    )


def test_objects_come_in_the_order_of_applying_with_their_namespaces() -> None:
    text = body("Pod", "p", namespace="there") + body("ConfigMap", "c") + body("Namespace", "n", namespace="wrong")
    found, findings = desired(text)
    assert [str(each.key) for each in found] == ["v1/Namespace//n", "v1/ConfigMap/here/c", "v1/Pod/there/p"]
    assert findings == []


def test_kinds_that_the_render_defines_are_known() -> None:
    found, _ = desired(body("Thing", "t", "example.com/v1") + "---\n" + json.dumps(DEFINITION))
    assert [str(each.key) for each in found] == [
        "apiextensions.k8s.io/v1/CustomResourceDefinition//things.example.com",
        "example.com/v1/Thing//t",
    ]
    assert [each.definition for each in found] == [True, False]


def test_of_a_chart_only_its_own_definitions_get_helms_marks_beforehand() -> None:
    (definition,), _ = desired("---\n# Source: x/templates/a.yaml\n" + json.dumps(DEFINITION))
    (apart,), _ = desired("---\n# Source: x/crds/a.yaml\n" + json.dumps(DEFINITION))
    (pod,), _ = desired(body("Pod", "p"))
    assert owner(chart_applied(definition, "app", "shop")) == ("shop", "app")
    assert [chart_applied(each, "app", "shop") for each in (apart, pod)] == [apart.body, pod.body]


def test_hooks_and_tests_are_told_apart() -> None:
    text = body("Pod", "a") + body("Pod", "b", annotations={"helm.sh/hook": "pre-install"})
    text += body("Pod", "c", annotations={"helm.sh/hook": "test"})
    assert {each.key.name: each.phase for each in desired(text)[0]} == {"a": "run", "b": "hook", "c": "test"}


@pytest.mark.parametrize(
    ("source", "apart"),
    [
        ("one/crds/a.yaml", True),
        ("one/charts/two/crds/sub/a.yaml", True),
        ("one/templates/crds/a.yaml", False),
        ("one/templates/a.yaml", False),
    ],
)
def test_definitions_that_helm_leaves_alone_are_told_apart(source: str, apart: bool) -> None:
    text = f"---\n# Source: {source}\n{json.dumps(DEFINITION)}\n"
    assert [each.apart for each in desired(text)[0]] == [apart]


def test_the_same_object_twice_is_one_and_a_different_one_is_told() -> None:
    twice = body("ConfigMap", "a") * 2
    assert [len(part) for part in desired(twice)] == [1, 0]
    _, findings = desired(body("ConfigMap", "a") + body("ConfigMap", "a", labels={"a": "b"}))
    assert [finding.message for finding in findings] == ["ConfigMap here/a stands there twice, and differs"]


def test_what_names_no_object_is_told_and_the_rest_is_there() -> None:
    found, findings = desired(body("ConfigMap", "../x") + body("ConfigMap", "b"))
    assert [each.key.name for each in found] == ["b"]
    assert len(findings) == 1


def test_images_are_those_that_run() -> None:
    text = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: r.test/a:1}]}\n"
    text += "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, annotations: {helm.sh/hook: test}}\n"
    text += "spec: {containers: [{name: a, image: r.test/b:1}]}\n"
    assert images_of(desired(text)[0]) == ("r.test/a:1",)


def test_helm_writes_what_is_its_releases_own() -> None:
    ours = owned(DEFINITION, "web", "shop")
    for each in (Desired(key_of(DEFINITION), {**DEFINITION}), Desired(key_of(DEFINITION), {**DEFINITION}, apart=True)):
        assert helm_writes(each, ours, "web", "shop") is not each.apart
        assert not helm_writes(each, owned(DEFINITION, "web", "elsewhere"), "web", "shop")
        assert not helm_writes(each, DEFINITION, "web", "shop")
    (config,) = desired(body("ConfigMap", "c"))[0]
    assert helm_writes(config, config.body, "web", "shop")


def test_a_manifest_that_was_kept_gives_the_same_objects() -> None:
    found, _ = desired(body("ConfigMap", "c") + body("Namespace", "n"))
    text = "".join(f"---\n{json.dumps(each.body)}\n" for each in found).encode()
    assert objects_of_manifest(text, "elsewhere", scope) == found
    with pytest.raises(DocumentError):
        objects_of_manifest(b"a: b\n", "here", scope)
