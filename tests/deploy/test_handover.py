"""Which releases are an administrator's, and how their objects say which version they are of."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.handover import handed_over, stamp_of, stamped, why_administrators
from airbundle.deploy.objects import key_of


def thing(kind: str, name: str, namespace: str = "", api: str = "v1", **more: Any) -> Desired:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    body = {"apiVersion": api, "kind": kind, "metadata": metadata, **more}
    return Desired(key_of(body), body)


MAP = thing("ConfigMap", "a", "shop")
CLUSTER_ROLE = thing("ClusterRole", "x", api="rbac.authorization.k8s.io/v1")
SYSTEM = thing("Role", "leader", "kube-system", api="rbac.authorization.k8s.io/v1")


WHOLE = "has objects of the whole cluster: ClusterRole x"


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], ""),
        ([MAP], ""),
        ([MAP, CLUSTER_ROLE], WHOLE),
        ([CLUSTER_ROLE, thing("Namespace", "n")], f"{WHOLE} and 1 more"),
        ([MAP, SYSTEM], "has objects of Kubernetes' own: Role kube-system/leader"),
    ],
)
def test_what_no_right_in_a_namespace_covers(objects: list[Desired], expected: str) -> None:
    assert why_administrators(objects) == expected


@pytest.mark.parametrize(
    ("releases", "needs", "marked", "expected"),
    [
        ({"a": [MAP], "b": [MAP]}, {}, (), {}),
        ({"a": [MAP], "b": [MAP]}, {}, ("b",), {"b": "the site file says so"}),
        ({"a": [MAP], "b": [CLUSTER_ROLE]}, {"a": ("gone",)}, (), {"b": WHOLE}),
        (
            {"a": [MAP], "b": [MAP], "c": [MAP], "d": [MAP]},
            {"b": ("a",), "c": ("b",), "d": ("c",)},
            ("c",),
            {"a": "b needs it", "b": "c needs it", "c": "the site file says so"},
        ),
    ],
)  # fmt: skip
def test_what_a_handed_over_release_needs_is_handed_over(
    releases: dict[str, list[Desired]],
    needs: dict[str, tuple[str, ...]],
    marked: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    assert handed_over(releases, needs, marked) == expected


def test_objects_say_which_version_they_are_of() -> None:
    given = thing("ConfigMap", "a", "shop", data={"x": "y"})
    given.body["metadata"]["annotations"] = {"theirs": "1"}
    body = stamped(given, "sha256:1")
    assert stamp_of(body) == "sha256:1"
    assert body["metadata"] == {
        "name": "a",
        "namespace": "shop",
        "annotations": {"theirs": "1", "airbundle.dev/inputs": "sha256:1"},
    }
    assert stamp_of(given.body) == ""
    for odd in ({}, {"metadata": 1}, {"metadata": {"annotations": [1]}}):
        assert stamp_of(odd) == ""
