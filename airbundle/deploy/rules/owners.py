"""Who owns what is there under the same name: another chart, another release, another tool."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.deploy.facts import EXISTING, HELM, Body, SiteFacts, known
from airbundle.deploy.objects import CRD, NAMESPACE
from airbundle.deploy.rules.catalogue import told
from airbundle.deploy.wanted import Wanted, WantedRelease, key_for
from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping

_NAME, _NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_TOOLS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "fleet.cattle.io/bundle-id": "Fleet",
    "olm.owner": "the Operator Lifecycle Manager",
}
"""Labels and annotations by which tools know what is theirs."""
_SERVED = frozenset({"airbundle"})


def helm(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the releases of Helm that have a wanted one's name and are somebody else's, or stuck."""
    there = known(facts.helm, HELM)
    for release in wanted.releases:
        found = there.get((release.namespace, release.name))
        if found is None or found.status == "uninstalled":
            continue
        where = f"release {release.namespace}/{release.name}"
        if release.chart != found.chart:
            yield told(
                "helm-chart",
                "Helm has a release of this name, of another chart",
                where=where,
                found=f"{found.chart} {found.version}",
                expected=f"{release.chart} {release.version}" if release.chart else "none: ours is of plain manifests",
                hint="it is somebody else's: name another namespace for ours (`releases` of the site file)",
            )
        elif (release.namespace, release.name) not in wanted.releases_of_ours:
            yield told(
                "helm-adopt",
                "Helm has this release already, made by somebody else; it would be upgraded and be ours",
                where=where,
                found=f"{found.chart} {found.version}, revision {found.revision}",
                hint="uninstall will take it away; name another namespace for ours if it is not meant",
            )
        if found.status.startswith("pending"):
            yield told(
                "helm-pending",
                "an earlier run of Helm was cut off, or is under way",
                where=where,
                found=f"revision {found.revision} is {found.status}",
                hint="see to it that nobody runs helm now",
            )


def bundles(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the releases that another bundle of the site has up under the same name."""
    del facts
    for release in wanted.releases:
        if release.name in wanted.of_bundles:
            yield told(
                "bundle-adopt",
                "another bundle has this release up at this site; it would be changed, and be this one's",
                where=f"release {release.namespace}/{release.name}",
                found=f"of the bundle {wanted.of_bundles[release.name]}",
                hint="if it is not meant, give ours another name, or switch it off (`releases` of the site file)",
            )


def data(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the releases that went back, and whose data are yet to be restored."""
    del facts
    for release in wanted.releases:
        takes = wanted.unrestored.get(release.name)
        if takes is None:
            continue
        yield told(
            "data-unrestored",
            "it went back, and its data are yet to be restored: "
            + ("this version goes on with them as they are" if takes else "they may be those of a newer version"),
            where=f"release {release.namespace}/{release.name}",
            hint=f"`airbundle rollback --site {wanted.site.name}` restores them; or go on with the newer version",
            severity="warning" if takes else "error",
        )


def objects(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the objects that are there and belong to others."""
    existing = known(facts.existing, EXISTING)
    for release, manifest in wanted.acting:
        key = key_for(manifest, wanted, facts)
        live = existing.get(key) if key is not None else None
        if key is None or live is None or str(key) in wanted.ours or key.kind == NAMESPACE:
            continue
        owner = owner_of(live, release)
        if owner:
            yield told(
                "crd-owner" if key.kind == CRD else "object-owner",
                "it is there and belongs to another",
                where=f"release {release.name}: {key.title}",
                found=owner,
                hint="switch it off in the values where the other keeps it, or give ours another name or namespace",
            )
        elif key.kind != CRD and manifest.phase == "run" and not _is_of(live, release):
            yield _exists(release, manifest, live, key.title)


def _exists(release: WantedRelease, manifest: Manifest, live: Body, title: str) -> Finding:
    managers = {str(each.get("manager")) for each in entries(mapping(live.get("metadata")).get("managedFields"))}
    found = f"made by {', '.join(sorted(managers)[:3])[:120]}" if managers else ""
    del manifest
    if release.chart:
        return told(
            "object-owner",
            "it is there, made by nobody's release: helm refuses to take it over",
            where=f"release {release.name}: {title}",
            found=found,
            hint=f"delete it, or give it the annotations {_NAME}: {release.name}, {_NAMESPACE}: {release.namespace} "
            "and the label app.kubernetes.io/managed-by: Helm",
        )
    return told(
        "object-exists",
        "it is there already; it would be taken over, and fields that others set are refused",
        where=f"release {release.name}: {title}",
        found=found,
        hint="uninstall will take it away; give ours another name if it is not meant",
    )


def owner_of(live: Body, release: WantedRelease) -> str:
    """Return who else owns an object of the cluster; empty where it is nobody's, or the release's."""
    metadata = mapping(live.get("metadata"))
    labels, annotations = mapping(metadata.get("labels")), mapping(metadata.get("annotations"))
    if annotations.get(_NAME):
        mine = (annotations.get(_NAME), annotations.get(_NAMESPACE)) == (release.name, release.namespace)
        return (
            "" if mine and release.chart else f"Helm's release {annotations.get(_NAMESPACE)}/{annotations.get(_NAME)}"
        )
    tool = next((name for mark, name in _TOOLS.items() if mark in labels or mark in annotations), "")
    if tool:
        return tool
    controller = next((each for each in entries(metadata.get("ownerReferences")) if each.get("controller")), None)
    return f"{controller.get('kind')} {controller.get('name')}" if controller else ""


def _is_of(live: Body, release: WantedRelease) -> bool:
    """Whether an object carries the marks of this very release, or is airbundle's own."""
    metadata = mapping(live.get("metadata"))
    if release.chart:
        return bool(mapping(metadata.get("annotations")).get(_NAME))
    managers = {str(each.get("manager")) for each in entries(metadata.get("managedFields"))}
    return bool(managers & _SERVED)
