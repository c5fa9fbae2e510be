"""deploy.keeping: what a way back leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airbundle.deploy.keeping import (
    as_made_anew,
    changed_by_others,
    claims_made_by,
    is_ours,
    runs_of_others,
    volume_owners,
    why_kept,
)
from airbundle.deploy.objects import ObjectKey, key_of

Body = dict[str, Any]


def body(kind: str, name: str, *owners: Body, uid: str = "", api: str = "v1", namespace: str = "shop") -> Body:
    metadata: Body = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"}
    if owners:
        metadata["ownerReferences"] = [
            {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **_names(owner)} for owner in owners
        ]
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _names(owner: Mapping[str, Any]) -> Body:
    return {name: owner["metadata"][name] for name in ("name", "uid")}


CLUSTER = body("Cluster", "db", api="postgresql.cnpg.io/v1")
SET = body("StatefulSet", "db-set", CLUSTER, api="apps/v1")
OWNED, OWNED_DEEPER = body("PersistentVolumeClaim", "db-1", CLUSTER), body("PersistentVolumeClaim", "db-2", SET)
FREE = body("PersistentVolumeClaim", "free")


def look(*bodies: Body) -> Any:
    return {key_of(each): each for each in bodies}.get


def test_all_owners_of_a_claim_go_with_it() -> None:
    owners = volume_owners([OWNED, OWNED_DEEPER, FREE], look(CLUSTER, SET))
    assert owners == {"uid-db": ["shop/db-1", "shop/db-2"], "uid-db-set": ["shop/db-2"]}
    assert why_kept(key_of(CLUSTER), CLUSTER, owners) == "deleting it deletes shop/db-1, shop/db-2"
    assert not why_kept(key_of(CLUSTER), {**CLUSTER, "metadata": {"uid": "another"}}, owners)


def test_owners_in_a_circle_come_to_an_end() -> None:
    one = body("A", "one", api="x.io/v1")
    two = body("B", "two", one, api="x.io/v1")
    one["metadata"]["ownerReferences"] = [{"apiVersion": "x.io/v1", "kind": "B", **_names(two)}]
    claim = body("PersistentVolumeClaim", "c", one)
    assert set(volume_owners([claim], look(one, two))) == {"uid-one", "uid-two"}


def test_an_owner_that_was_made_anew_is_another_one() -> None:
    anew = body("StatefulSet", "db-set", CLUSTER, uid="later", api="apps/v1")
    assert set(volume_owners([OWNED_DEEPER], look(anew, CLUSTER))) == {"uid-db-set"}


@pytest.mark.parametrize(
    "references", [None, "text", [None], [{"uid": 1}], [{"uid": "u", "kind": "A", "apiVersion": "v1"}]]
)
def test_references_that_name_nothing(references: object) -> None:
    claim = body("PersistentVolumeClaim", "c")
    claim["metadata"]["ownerReferences"] = references
    assert volume_owners([claim], look()) == {}


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("PersistentVolumeClaim", True),
        ("PersistentVolume", True),
        ("CustomResourceDefinition", True),
        ("StorageClass", True),
        ("Deployment", False),
        ("Secret", False),
        ("Namespace", False),  # for what lies in it, not by itself
    ],
)
def test_kinds_that_hold_data(kind: str, kept: bool) -> None:
    key = ObjectKey("v1", kind, "", "x")
    assert bool(why_kept(key, body(kind, "x"), {})) is kept


def _managed(*entries: tuple[str, str, str]) -> Body:
    names = ("manager", "operation", "time")
    return {"metadata": {"managedFields": [dict(zip(names, entry)) for entry in entries]}}


def test_who_has_set_something() -> None:
    assert is_ours(_managed(("kubectl", "Apply", "1"), ("airbundle", "Apply", "2")))
    assert not is_ours(_managed(("airbundle-2", "Apply", "1")))
    assert is_ours({"metadata": {"name": "x"}})  # applied with nothing but a name


def test_who_changed_it_since() -> None:
    before = _managed(("kubeadm", "Update", "1"), ("kubectl", "Update", "2"))
    assert changed_by_others(before, _managed(("kubeadm", "Update", "1"), ("airbundle", "Apply", "3"))) == []
    again = _managed(("kubeadm", "Update", "1"), ("kubectl", "Update", "4"), ("airbundle", "Apply", "3"))
    assert changed_by_others(before, again) == ["kubectl"]
    status = _managed(("kubeadm", "Update", "1"), ("kubelet", "Update", "5"))
    status["metadata"]["managedFields"][1]["subresource"] = "status"
    assert changed_by_others(before, status) == []


def test_what_others_run() -> None:
    leaving = body("Pod", "leaving")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    hook = body("Job", "hook", api="batch/v1")
    hook["metadata"]["annotations"] = {"helm.sh/hook": "post-install"}
    owned = body("Pod", "owned", SET)
    assert runs_of_others([leaving, hook, owned, body("Deployment", "theirs", api="apps/v1")]) == ["Deployment theirs"]


def test_claims_of_a_stateful_set() -> None:
    made = body("StatefulSet", "db.x", api="apps/v1")
    made["spec"] = {"volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "wal"}}]}
    pattern = claims_made_by(made)
    assert pattern is not None
    assert pattern.fullmatch("data-db.x-0") and pattern.fullmatch("wal-db.x-12")
    for name in ("data-dbxx-0", "data-db.x-0-more", "data-db.x-", "other-db.x-0"):
        assert not pattern.fullmatch(name)
    assert claims_made_by(body("StatefulSet", "none")) is None
    assert claims_made_by({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": "?"}}) is None


def test_an_object_without_what_the_cluster_sets() -> None:
    live = {**body("ConfigMap", "x"), "status": {"a": 1}, "data": {"a": "b"}}
    live["metadata"].update(resourceVersion="12", managedFields=[], labels={"a": "b"})
    assert as_made_anew(live) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "shop", "labels": {"a": "b"}},
        "data": {"a": "b"},
    }
