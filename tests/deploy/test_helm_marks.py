"""Tests for airbundle.deploy.helm_marks."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.helm_marks import KEEP, kept, owned, owner


def body(kind: str = "ConfigMap", api_version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", **metadata}, "spec": {"a": 1}}


@pytest.mark.parametrize(
    ("kind", "api_version", "stays"),
    [
        ("PersistentVolumeClaim", "v1", True),
        ("CustomResourceDefinition", "apiextensions.k8s.io/v1", True),
        ("Deployment", "apps/v1", False),
        ("Secret", "v1", False),
    ],
)
def test_what_holds_data_is_kept_by_helm(kind: str, api_version: str, stays: bool) -> None:
    found = kept(body(kind, api_version, annotations={"a": "b"}))
    assert found["metadata"]["annotations"] == ({"a": "b", KEEP: "keep"} if stays else {"a": "b"})
    assert kept(found) is found


@pytest.mark.parametrize("odd", [{}, {"kind": "X"}, {**body("PersistentVolumeClaim"), "metadata": None}])
def test_what_is_no_object_stays_as_it_is(odd: dict[str, Any]) -> None:
    assert kept(odd) is odd


def test_the_object_given_is_not_changed() -> None:
    claim = body("PersistentVolumeClaim")
    kept(claim)
    owned(claim, "r", "n")
    assert claim == body("PersistentVolumeClaim")


def test_an_object_says_whose_it_is() -> None:
    found = owned(body(labels={"a": "b"}), "app", "shop")
    assert owner(found) == ("shop", "app")
    assert found["metadata"]["labels"] == {"a": "b", "app.kubernetes.io/managed-by": "Helm"}
    assert owner(body()) is None
    assert owner(body(annotations=[])) is None
