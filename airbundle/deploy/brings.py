"""What the releases of a run bring and use: definitions of kinds, and namespaces with the owners they must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airbundle.deploy.dig import text
from airbundle.deploy.objects import CRD, NAMESPACE
from airbundle.deploy.wanted import WantedRelease, home_of

DEFAULT_NAMESPACE = "default"


def crd_provider(releases: Sequence[WantedRelease], group: str, kind: str) -> str:
    """Return the name of the release that brings the definition of a kind; empty where none does.

    Args:
        releases: in the order of needs: the first one counts.
        group: such as `cert-manager.io`.
        kind: such as `ClusterIssuer`.
    """
    for release in releases:
        for body in (one.body for one in release.manifests if one.kind == CRD):
            if (text(body, "spec", "group"), text(body, "spec", "names", "kind")) == (group, kind):
                return release.name
    return ""


def namespaces_of(releases: Sequence[WantedRelease]) -> dict[str, Mapping[str, Any]]:
    """Return the namespaces that releases use, each with the metadata that it must have when it is made early.

    Helm refuses to install over an object that another release, or nobody, owns. So a namespace that stands in a chart
    is made as that chart's.
    """
    found: set[str] = set()
    owners: dict[str, Mapping[str, Any]] = {}
    for release in releases:
        own = release.namespace or DEFAULT_NAMESPACE
        found |= {own, *(home_of(one) for one in release.manifests)}
        for name in (one.name for one in release.manifests if one.kind == NAMESPACE):
            found.add(name)
            if release.chart:
                owners.setdefault(name, _owned_by_helm(release.name, own))
    return {name: owners.get(name, {}) for name in sorted(found - {""})}


def _owned_by_helm(release: str, namespace: str) -> Mapping[str, Any]:
    return {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace},
    }
