"""Pull policies, and StorageClasses that nobody makes."""

from __future__ import annotations

from tests.scan.rules.scenery import codes, findings, pod

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: a}
spec: {storageClassName: fast}
---
"""


def test_a_pod_that_always_pulls() -> None:
    (finding,) = findings(pod("containers: [{name: a, image: x, imagePullPolicy: Always}]"))
    assert (finding.code, finding.severity) == ("pull-always", "warning")
    assert findings(pod("containers: [{name: a, image: x, imagePullPolicy: IfNotPresent}]")) == []


def test_many_containers_of_a_chart_are_one_finding() -> None:
    containers = ", ".join(f"{{name: c{n}, image: x, imagePullPolicy: Always}}" for n in range(5))
    (finding,) = findings(pod(f"containers: [{containers}]"))
    assert "and 2 more" in finding.message


def test_the_value_that_sets_it_is_named() -> None:
    text = pod("containers: [{name: a, image: x, imagePullPolicy: Always}]")
    (finding,) = findings(text, {"image": {"pullPolicy": "Always"}})
    assert finding.where == "values/app.yaml: image.pullPolicy"


def test_a_storage_class_that_nobody_makes() -> None:
    (finding,) = findings(CLAIM)
    assert (finding.code, finding.severity, finding.found) == ("storage-class", "warning", "fast")
    assert findings(CLAIM, storage_classes=["fast"]) == []
    assert findings(CLAIM + "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\n") == []
    assert findings(CLAIM.replace("fast", '""')) == []
    assert findings(CLAIM.replace("fast", "site-placeholder")) == []


def test_storage_classes_of_templates_and_custom_resources() -> None:
    text = """
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: a}
        spec: {volumeClaimTemplates: [{metadata: {name: d}, spec: {storageClassName: fast}}]}
        ---
        apiVersion: postgresql.cnpg.io/v1
        kind: Cluster
        metadata: {name: db}
        spec: {storage: {storageClass: slow}}
    """
    assert codes(findings(text)) == ["storage-class", "storage-class"]
