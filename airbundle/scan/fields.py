"""What is known of kinds: which hold no images, which only speak of them, and fields that are images for certain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.scan.model import Certainty
from airbundle.scan.pairs import is_off

_SILENT_GROUPS = frozenset(
    {
        "rbac.authorization.k8s.io",
        "admissionregistration.k8s.io",
        "apiregistration.k8s.io",
        "networking.k8s.io",
        "policy",
        "storage.k8s.io",
        "autoscaling",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "scheduling.k8s.io",
        "certificates.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "node.k8s.io",
        "gateway.networking.k8s.io",
        "snapshot.storage.k8s.io",
    }
)
_KINDS = """
Service ServiceAccount Namespace PersistentVolumeClaim PersistentVolume Endpoints LimitRange ResourceQuota Event
Node Binding ComponentStatus ServiceMonitor PodMonitor Probe PrometheusRule
"""
_SILENT_KINDS = frozenset(_KINDS.split())
# Objects that speak of images which others run, or that are values for charts: (group, kind); empty kind: all.
_SPEAKING: Mapping[tuple[str, str], Certainty] = {
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "likely",
    ("helm.cattle.io", ""): "likely",
    ("argoproj.io", "Application"): "likely",
    ("argoproj.io", "ApplicationSet"): "likely",
    ("kustomize.toolkit.fluxcd.io", ""): "likely",
    ("kustomize.config.k8s.io", ""): "likely",
    ("image.toolkit.fluxcd.io", ""): "decoy",
    ("source.toolkit.fluxcd.io", ""): "decoy",
    ("kyverno.io", ""): "likely",
    ("policies.kyverno.io", ""): "likely",
    ("constraints.gatekeeper.sh", ""): "likely",
    ("templates.gatekeeper.sh", ""): "likely",
    ("policy.sigstore.dev", ""): "decoy",
    ("config.openshift.io", ""): "decoy",
    ("operator.openshift.io", ""): "decoy",
    ("packages.operators.coreos.com", ""): "decoy",
    ("aquasecurity.github.io", ""): "decoy",
    ("wgpolicyk8s.io", ""): "decoy",
    ("reports.kyverno.io", ""): "decoy",
    ("openreports.io", ""): "decoy",
}
# Fields whose value is an image whatever it looks like; `*` stands for each item of a list.
_KNOWN: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("postgresql.cnpg.io", "Cluster"): ("spec.imageName", "spec.postgresql.extensions.*.image.reference"),
    ("postgresql.cnpg.io", "ImageCatalog"): ("spec.images.*.image",),
    ("postgresql.cnpg.io", "ClusterImageCatalog"): ("spec.images.*.image",),
    ("monitoring.coreos.com", "Prometheus"): ("spec.image", "spec.thanos.image"),
    ("monitoring.coreos.com", "PrometheusAgent"): ("spec.image",),
    ("monitoring.coreos.com", "Alertmanager"): ("spec.image",),
    ("monitoring.coreos.com", "ThanosRuler"): ("spec.image",),
    ("minio.min.io", "Tenant"): ("spec.image", "spec.kes.image"),
    ("redis.redis.opstreelabs.in", ""): (
        "spec.kubernetesConfig.image",
        "spec.redisExporter.image",
        "spec.initContainer.image",
    ),
    ("databases.spotahome.com", "RedisFailover"): (
        "spec.redis.image",
        "spec.sentinel.image",
        "spec.redis.exporter.image",
        "spec.sentinel.exporter.image",
    ),
    ("acid.zalan.do", "postgresql"): ("spec.dockerImage",),
    ("k8s.keycloak.org", "Keycloak"): ("spec.image",),
    ("kafka.strimzi.io", "Kafka"): ("spec.kafka.image", "spec.zookeeper.image"),
    ("ceph.rook.io", "CephCluster"): ("spec.cephVersion.image",),
    ("operators.coreos.com", "CatalogSource"): ("spec.image",),
    ("pkg.crossplane.io", ""): ("spec.package",),
    ("opentelemetry.io", "OpenTelemetryCollector"): ("spec.image",),
}
_OFF_SWITCHES: Mapping[str, bool] = {"enabled": False, "enable": False, "disabled": True, "disable": True}


def group_of(api_version: str) -> str:
    """Return the API group of an apiVersion; empty for the core group."""
    return api_version.partition("/")[0] if "/" in api_version else ""


def is_silent(api_version: str, kind: str) -> bool:
    """Tell whether objects of a kind hold no images but in annotations."""
    group = group_of(api_version)
    return group in _SILENT_GROUPS or (group in {"", "monitoring.coreos.com"} and kind in _SILENT_KINDS)


def surest(api_version: str, kind: str) -> Certainty:
    """Return how sure an image can be at most that an object of this kind names."""
    if not kind:
        return "likely"
    group = group_of(api_version)
    return _SPEAKING.get((group, kind)) or _SPEAKING.get((group, "")) or "certain"


def known_fields(api_version: str, kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the fields of an object that are known to be images."""
    group = group_of(api_version)
    for pattern in (*_KNOWN.get((group, kind), ()), *_KNOWN.get((group, ""), ())):
        yield from _follow(body, pattern.split("."), "")


def is_switched_off(mapping: Mapping[str, Any]) -> bool:
    """Tell whether a mapping says of itself that it is off: `enabled: false`."""
    return any(key in mapping and is_off(mapping[key], off) for key, off in _OFF_SWITCHES.items())


def _follow(node: Any, steps: list[str], path: str) -> Iterator[tuple[str, str]]:
    if not steps:
        if isinstance(node, str):
            yield path, node
    elif steps[0] == "*":
        for index, item in enumerate(node if isinstance(node, list) else ()):
            yield from _follow(item, steps[1:], f"{path}[{index}]")
    elif isinstance(node, dict) and steps[0] in node:
        yield from _follow(node[steps[0]], steps[1:], f"{path}.{steps[0]}" if path else steps[0])
