"""What a bundle would deploy at a site, as plain values: releases with their rendered objects, and the site file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airbundle.bundle.site import Site
from airbundle.deploy.facts import SiteFacts
from airbundle.deploy.objects import CRD, ObjectKey, key_of
from airbundle.errors import DocumentError, Finding
from airbundle.scan.model import Manifest, Rendering, Sighting
from airbundle.scan.rules.scene import Scene, mapping

_OF_CLUSTER = frozenset(
    {
        "Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
        "StorageClass", "PriorityClass", "RuntimeClass", "IngressClass", "APIService", "CSIDriver",
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "PodSecurityPolicy", "ClusterIssuer", "GatewayClass", "VolumeSnapshotClass",
    }
)  # fmt: skip
"""Kinds without a namespace, for clusters that don't say it."""


@dataclass(frozen=True)
class WantedRelease:
    """A release as it would be deployed.

    Attributes:
        manifests: its objects, tests among them.
        chart, version: of the chart; empty for plain manifests.
        kube_version: versions of Kubernetes that the chart takes, as helm writes ranges; empty for any.
        values: the renders' values that people wrote, for findings that name them.
        hooks: images of hooks and tests that helm lets nobody pin, as the chart writes them.
    """

    name: str
    namespace: str
    manifests: tuple[Manifest, ...] = ()
    needs: tuple[str, ...] = ()
    chart: str = ""
    version: str = ""
    kube_version: str = ""
    values: tuple[Rendering, ...] = ()
    hooks: tuple[Sighting, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """All that a run would deploy.

    Attributes:
        releases: in the order of needs.
        platforms: image as it is pinned → `os/architecture` of what the bundle carries.
        kubernetes: the version that the bundle was made for; empty where it says none.
        registry: host and port of the private registry.
        uid: of the cluster that this site is known as; empty where nothing is known.
        ours: `ObjectKey` texts of what airbundle deployed here before.
        releases_of_ours: (namespace, name) of releases that airbundle deployed here before.
        of_bundles: name of a release → the other bundle of this site that has it up.
        unrestored: name of a release that went back, and whose data did not yet → whether the bundle can have them.
        made: (kind, namespace, name) of what airbundle itself makes beside the releases.
        findings: what rendering found.
        there: namespaces that are known to be there, also to a user who may not list them.
        serves: whether the run changes the cluster's DNS.
        unmirrored: why nodes don't get the private registry as the mirror of all others; empty where they do.
        untried: why that can't be found out yet; empty where it was.
    """

    site: Site
    releases: tuple[WantedRelease, ...] = ()
    platforms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kubernetes: str = ""
    registry: str = ""
    uid: str = ""
    ours: frozenset[str] = frozenset()
    releases_of_ours: frozenset[tuple[str, str]] = frozenset()
    of_bundles: Mapping[str, str] = field(default_factory=dict)
    unrestored: Mapping[str, bool] = field(default_factory=dict)
    made: frozenset[tuple[str, str, str]] = frozenset()
    findings: tuple[Finding, ...] = ()
    there: frozenset[str] = frozenset()
    serves: bool = True
    unmirrored: str = ""
    untried: str = ""

    @cached_property
    def acting(self) -> Sequence[tuple[WantedRelease, Manifest]]:
        """Objects with their releases; those of tests are left out."""
        return [(each, one) for each in self.releases for one in each.manifests if one.phase != "test"]

    @cached_property
    def scene(self) -> Scene:
        """The objects as the rules of scanning see them."""
        site = self.site
        return Scene(
            [manifest for release in self.releases for manifest in release.manifests],
            [rendering for release in self.releases for rendering in release.values],
            secrets=[(secret.namespace, secret.name) for secret in site.secrets],
            domains=[name for name in (site.domain, site.dns.zone) if name],
            storage_classes=[site.storage_class] if site.storage_class else [],
        )

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        """Yield the objects of some kinds."""
        return (manifest for _, manifest in self.acting if manifest.kind in kinds)

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that something goes into."""
        found = {home_of(one) for _, one in self.acting} | {each.namespace for each in self.releases}
        return frozenset(found - {""})

    @cached_property
    def made_namespaces(self) -> frozenset[str]:
        """Namespaces that this run makes: those of releases and of site secrets, and rendered ones."""
        rendered = {manifest.name for manifest in self.of_kind("Namespace")}
        return frozenset(
            rendered | {each.namespace for each in self.releases} | {s.namespace for s in self.site.secrets}
        )

    def before(self, release: WantedRelease) -> frozenset[str]:
        """Return the names of the releases that are up before a release begins, and its own."""
        by_name = {each.name: each for each in self.releases}
        found: set[str] = set()
        left = [release.name]
        while left:
            name = left.pop()
            if name in by_name and name not in found:
                found.add(name)
                left += by_name[name].needs
        return frozenset(found)

    @cached_property
    def crds(self) -> Mapping[tuple[str, str], tuple[str, bool, str]]:
        """(apiVersion, kind) that the releases bring → name of the release, whether namespaced, plural."""
        found: dict[tuple[str, str], tuple[str, bool, str]] = {}
        for release, manifest in self.acting:
            if manifest.kind == CRD:
                for version, kind, namespaced, plural in crd_kinds(manifest.body):
                    found.setdefault((version, kind), (release.name, namespaced, plural))
        return found


def crd_kinds(body: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, str]]:
    """Yield apiVersion, kind, whether namespaced, and plural of what a CustomResourceDefinition brings."""
    spec = mapping(body.get("spec"))
    names = mapping(spec.get("names"))
    listed = spec.get("versions")
    for version in listed if isinstance(listed, list) else ():
        if isinstance(version, dict) and version.get("served") is not False:
            api_version = f"{spec.get('group')}/{version.get('name')}"
            yield api_version, str(names.get("kind")), spec.get("scope") != "Cluster", str(names.get("plural"))


def is_namespaced(manifest: Manifest, wanted: Wanted, facts: SiteFacts) -> bool:
    """Tell whether an object goes into a namespace: as the cluster says, its rendered definition, or its kind."""
    served = (facts.served or {}).get(manifest.api_version, {}).get(manifest.kind)
    if served is not None:
        return served.namespaced
    brought = wanted.crds.get((manifest.api_version, manifest.kind))
    return brought[1] if brought else manifest.kind not in _OF_CLUSTER


def home_of(manifest: Manifest) -> str:
    """Return the namespace of an object; empty for well-known kinds without one."""
    return "" if manifest.kind in _OF_CLUSTER else manifest.namespace


def key_for(manifest: Manifest, wanted: Wanted, facts: SiteFacts) -> ObjectKey | None:
    """Return what names an object in the cluster; None where nothing does, as for `generateName`."""
    metadata = {"name": manifest.metadata.get("name")}
    if is_namespaced(manifest, wanted, facts):
        metadata["namespace"] = manifest.namespace or "default"
    try:
        return key_of({"apiVersion": manifest.api_version, "kind": manifest.kind, "metadata": metadata})
    except DocumentError:
        return None
