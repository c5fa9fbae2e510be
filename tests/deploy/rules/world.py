"""A site where nothing stands in the way, and what a bundle would deploy there: tests change one thing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from airbundle.bundle.site import Site, SiteDns
from airbundle.deploy.facts import LISTED, ServedKind, SiteFacts
from airbundle.deploy.wanted import Wanted, WantedRelease
from airbundle.errors import Finding
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Origin, Rendering

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=timezone.utc)
COREFILE = ".:53 {\n    errors\n    kubernetes cluster.local {\n        pods insecure\n    }\n    reload\n}\n"
SITE = Site(name="berlin", domain="berlin.internal", dns=SiteDns(zone="berlin.internal"), where="site.yaml")
IMAGE = "registry.berlin.internal:5443/docker.io/library/app:1@sha256:" + "a" * 64
Body = dict[str, Any]


def node(name: str = "node1", *, arch: str = "amd64", ready: str = "True", **spec: Any) -> Body:
    """Return a node of 4 cores and 8 GiB."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": arch}},
        "spec": {"podCIDRs": ["10.244.0.0/24"], **spec},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": "kubelet is posting"}],
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
            "nodeInfo": {
                "architecture": arch,
                "operatingSystem": "linux",
                "kubeletVersion": "v1.33.1",
                "containerRuntimeVersion": "containerd://1.7.2",
            },
        },
    }


def pod(
    name: str, namespace: str = "other", *, on: str = "node1", labels: Body | None = None, **container: Any
) -> Body:
    """Return a pod that runs and is ready."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"nodeName": on, "containers": [{"name": "a", "image": "x", **container}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def named(name: str, namespace: str = "", **body: Any) -> Body:
    """Return an object of the cluster."""
    metadata: Body = {"name": name, **({"namespace": namespace} if namespace else {}), **body.pop("metadata", {})}
    return {"metadata": metadata, **body}


def storage_class(name: str = "standard", *, default: bool = True, **body: Any) -> Body:
    """Return a StorageClass."""
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "provisioner": "csi.example", **body}


SERVED: Mapping[str, Mapping[str, ServedKind]] = {
    "v1": {
        **{kind: ServedKind(kind.lower() + "s") for kind in ("Pod", "Service", "Secret", "ConfigMap")},
        "PersistentVolumeClaim": ServedKind("persistentvolumeclaims"),
        "Namespace": ServedKind("namespaces", namespaced=False),
    },
    "apps/v1": {kind: ServedKind(kind.lower() + "s") for kind in ("Deployment", "StatefulSet", "DaemonSet")},
    "batch/v1": {kind: ServedKind(kind.lower() + "s") for kind in ("Job", "CronJob")},
    "networking.k8s.io/v1": {"Ingress": ServedKind("ingresses"), "NetworkPolicy": ServedKind("networkpolicies")},
    "rbac.authorization.k8s.io/v1": {
        "Role": ServedKind("roles"),
        "ClusterRole": ServedKind("clusterroles", namespaced=False),
    },
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ServedKind("customresourcedefinitions", namespaced=False)},
}


def good(lists: Mapping[str, list[Body]] | None = None, **changes: Any) -> SiteFacts:
    """Return what is known of a good site, with other objects of some kinds, and other facts."""
    base: dict[str, list[Body]] = {kind: [] for kind in LISTED}
    base["Node"] = [node()]
    base["Namespace"] = [named(name) for name in ("default", "kube-system", "shop")]
    base["StorageClass"] = [storage_class()]
    base["Pod"] = [pod("coredns-1", "kube-system", labels={"k8s-app": "kube-dns"})]
    facts = SiteFacts(
        lists={**base, **(lists or {})},
        version="1.33",
        uid="0a1b",
        now=NOW,
        skew=0.2,
        served=SERVED,
        api_versions=frozenset(SERVED),
        existing={},
        keys={},
        denied=(),
        helm={},
        corefile=COREFILE,
        resolved=(),
        addresses=("10.0.0.5",),
    )
    return replace(facts, **changes)


def release(text: str = "", name: str = "app", namespace: str = "shop", **changes: Any) -> WantedRelease:
    """Return a release of the objects in a YAML text."""
    values = changes.pop("given", None)
    origin = Origin(f"release {name}", name, namespace, chart=changes.get("chart", ""))
    manifests, findings = read_manifests(Rendering(origin, text.encode()))
    assert not findings
    given = (Rendering(origin, b"", given=(("values/app.yaml", values),)),) if values else ()
    return WantedRelease(name, namespace, tuple(manifests), values=given, **changes)


def want(*releases: WantedRelease | str, **changes: Any) -> Wanted:
    """Return what is wanted: releases, or the objects of one."""
    found = tuple(release(each) if isinstance(each, str) else each for each in releases)
    settings: dict[str, Any] = {"site": SITE, "registry": "registry.berlin.internal:5443", "platforms": {}}
    return Wanted(releases=found, **{**settings, **changes})


def workload(
    kind: str = "Deployment", *, spec: str = "", container: str = "", replicas: int = 1, name: str = "app"
) -> str:
    """Return the text of a workload with one container; `spec` and `container` are further fields in flow style."""
    count = f"replicas: {replicas}, " if kind not in {"DaemonSet", "Job"} else ""
    return (
        f"apiVersion: {'batch' if kind == 'Job' else 'apps'}/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec: {{{count}selector: {{matchLabels: {{app: {name}}}}}, "
        f"template: {{metadata: {{labels: {{app: {name}}}}}, "
        f"spec: {{containers: [{{name: a, image: '{IMAGE}'{', ' if container else ''}{container}}}]"
        f"{', ' if spec else ''}{spec}}}}}}}\n---\n"
    )


def codes(rule: Callable[[SiteFacts, Wanted], Iterator[Finding]], facts: SiteFacts, wanted: Wanted) -> list[str]:
    """Return the codes that a rule finds."""
    return [finding.code for finding in rule(facts, wanted)]
