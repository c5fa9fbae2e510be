"""deploy.rules.storage: classes, room and what is stuck."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airbundle.deploy.rules import storage
from tests.deploy.rules.world import SITE, Body, codes, good, named, storage_class, want


def claim(**spec: object) -> str:
    fields = ", ".join(
        f"{name}: {value}" for name, value in {"resources": "{requests: {storage: 5Gi}}", **spec}.items()
    )
    return f"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: c}}\nspec: {{{fields}}}\n---\n"


CLUSTER = (
    "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: pg}\nspec: {storage: {storageClass: fast}}\n"
)
STATEFUL = (
    "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\nspec: {volumeClaimTemplates: "
    "[{metadata: {name: d}, spec: {storageClassName: fast, resources: {requests: {storage: 1Gi}}}}]}\n"
)


@pytest.mark.parametrize(
    ("there", "text", "found"),
    [
        ([storage_class()], claim(), []),
        ([storage_class()], claim(storageClassName="standard"), []),
        ([storage_class()], claim(storageClassName="fast"), ["storage-class"]),
        ([storage_class()], CLUSTER, ["storage-class"]),
        ([storage_class()], STATEFUL, ["storage-class"]),
        ([storage_class(), storage_class("fast", default=False)], STATEFUL + "---\n" + CLUSTER, []),
        ([storage_class(default=False)], claim(), ["storage-default"]),
        ([storage_class(default=False)], claim(storageClassName="''"), []),
        ([storage_class(default=False)], claim(volumeName="v"), []),
        ([storage_class(), storage_class("two")], "", ["storage-defaults"]),
    ],
)
def test_classes(there: list[Body], text: str, found: list[str]) -> None:
    assert codes(storage.classes, good({"StorageClass": there}), want(text)) == found


def test_the_class_that_the_site_file_names() -> None:
    (finding,) = storage.classes(good(), want(site=replace(SITE, storage_class="fast")))
    assert (finding.code, finding.where, finding.found) == ("storage-class", "site.yaml storageClass", "standard")


@pytest.mark.parametrize(
    ("provisioner", "modes", "found"),
    [
        ("rancher.io/local-path", "[ReadWriteMany]", ["storage-shared"]),
        ("rancher.io/local-path", "[ReadWriteOnce]", []),
        ("nfs.csi.k8s.io", "[ReadWriteMany]", []),
    ],
)
def test_volumes_shared_between_nodes(provisioner: str, modes: str, found: list[str]) -> None:
    there = [storage_class(provisioner=provisioner)]
    assert codes(storage.room, good({"StorageClass": there}), want(claim(accessModes=modes))) == found


def test_room_where_the_cluster_tells_it() -> None:
    small = [{"storageClassName": "standard", "capacity": size} for size in ("3Gi", "1Gi")]
    assert codes(storage.room, good({"CSIStorageCapacity": small}), want(claim())) == ["storage-capacity"]
    large = [*small, {"storageClassName": "standard", "capacity": "1Gi"}]
    assert codes(storage.room, good({"CSIStorageCapacity": large}), want(claim())) == []


def test_a_class_without_a_maker_of_volumes() -> None:
    there = [storage_class(provisioner="kubernetes.io/no-provisioner")]
    volume = named("v", spec={"storageClassName": "standard"}, status={"phase": "Available"})
    assert codes(storage.room, good({"StorageClass": there}), want(claim())) == ["storage-volumes"]
    assert codes(storage.room, good({"StorageClass": there, "PersistentVolume": [volume]}), want(claim())) == []


def test_claims_and_volumes_that_are_stuck() -> None:
    late = storage_class("late", default=False, volumeBindingMode="WaitForFirstConsumer")

    def pending(name: str, namespace: str, named_class: str) -> Body:
        return named(name, namespace, spec={"storageClassName": named_class}, status={"phase": "Pending"})

    claims = [pending("a", "shop", "standard"), pending("b", "else", "standard"), pending("c", "shop", "late")]
    failed = [named("v", status={"phase": "Failed", "message": "gone"}), named("w", status={"phase": "Bound"})]
    facts = good({"StorageClass": [storage_class(), late], "PersistentVolumeClaim": claims, "PersistentVolume": failed})
    found = [(each.code, each.severity, each.where) for each in storage.stuck(facts, want(claim()))]
    assert found == [
        ("claim-pending", "error", "PersistentVolumeClaim shop/a"),
        ("claim-pending", "warning", "PersistentVolumeClaim else/b"),
        ("volume-failed", "warning", "PersistentVolume v"),
    ]
    assert codes(storage.stuck, good(), want(claim())) == []
