"""deploy.running: what runs in pods against what was signed."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.running import Runs, belongs, runs_of, why_wrong

ONE, TWO, THREE = (f"sha256:{letter * 64}" for letter in "abc")


def pod(image: str, image_id: str = "", **more: Any) -> dict[str, Any]:
    statuses = [{"name": "c", "imageID": image_id}] if image_id else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "web-1", **more},
        "spec": {"containers": [{"name": "c", "image": image}]},
        "status": {"containerStatuses": statuses},
    }


@pytest.mark.parametrize(
    ("image", "image_id", "digest"),
    [
        ("reg/web:1", f"reg/web@{ONE}", ONE),
        ("reg/web:1", f"docker-pullable://reg/web@{ONE}", ONE),
        (f"reg/web:1@{TWO}", "", TWO),
        (f"reg/web:1@{TWO}", f"reg/web@{ONE}", ONE),  # what was pulled counts
        ("reg/web:1", "", ""),
    ],
)
def test_the_digest_that_runs(image: str, image_id: str, digest: str) -> None:
    assert list(runs_of(pod(image, image_id))) == [Runs("shop/web-1", "c", image, digest)]


@pytest.mark.parametrize("status", [None, [], {"containerStatuses": "?"}, {"containerStatuses": [None, {"name": 1}]}])
def test_odd_pods(status: object) -> None:
    body = {**pod("x"), "status": status}
    assert [each.digest for each in runs_of(body)] == [""]
    assert list(runs_of({**body, "spec": None})) == []


def test_what_is_wrong_with_it() -> None:
    def why(digest: str) -> str:
        return why_wrong(Runs("p", "c", "x", digest), {ONE}, {ONE, TWO})

    assert why(ONE) == ""
    assert why(TWO) == "an image of another version"
    assert why(THREE) == "an image that is in no bundle"
    assert why("") == ""


def test_whose_a_pod_is() -> None:
    deployment = ObjectKey("apps/v1", "Deployment", "shop", "web")
    replicas = ObjectKey("apps/v1", "ReplicaSet", "shop", "web-1")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r"}
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d"}
    body = {"metadata": {"namespace": "shop", "name": "web-1", "ownerReferences": [above]}}
    made = pod("x", ownerReferences=[owner])
    assert belongs(made, {deployment}, {replicas: body}.get)
    assert not belongs(made, {deployment}, {}.get)
    assert not belongs(pod("x"), {deployment}, {}.get)
    assert belongs(pod("x"), {ObjectKey("v1", "Pod", "shop", "web-1")}, {}.get)
