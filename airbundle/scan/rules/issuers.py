"""Issuers of cert-manager that certificates are asked of and that nobody makes."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import Scene, mapping, place

_GROUP = "cert-manager.io"
_ANNOTATIONS = {f"{_GROUP}/cluster-issuer": "ClusterIssuer", f"{_GROUP}/issuer": "Issuer"}


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the Certificates, and the annotated Ingresses and Gateways, whose issuer isn't there."""
    made = {
        (kind, "" if kind == "ClusterIssuer" else manifest.namespace, manifest.name)
        for kind in ("Issuer", "ClusterIssuer")
        for manifest in scene.by_kind.get(kind, ())
    }
    for manifest in scene.manifests:
        for kind, name, path in asked_issuers(manifest):
            if (kind, "" if kind == "ClusterIssuer" else manifest.namespace, name) not in made:
                yield Finding(
                    f"the {kind} {name} is asked for a certificate, and nobody makes it",
                    str(place(manifest, path)),
                    "missing-issuer",
                    hint="name an issuer of the site's own CA, or add one",
                )


def asked_issuers(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """Yield the issuers that an object names: kind, name, field path."""
    if manifest.kind == "Certificate" and manifest.api_version.startswith(f"{_GROUP}/"):
        reference = mapping(mapping(manifest.body.get("spec")).get("issuerRef"))
        kind, name = str(reference.get("kind", "Issuer")), reference.get("name")
        if reference.get("group", _GROUP) == _GROUP and kind in {"Issuer", "ClusterIssuer"} and name:
            yield kind, str(name), "spec.issuerRef"
    elif manifest.kind in {"Ingress", "Gateway"}:
        annotations = mapping(manifest.metadata.get("annotations"))
        if f"{_GROUP}/issuer-group" in annotations:
            return
        for annotation, kind in _ANNOTATIONS.items():
            if annotations.get(annotation):
                yield kind, str(annotations[annotation]), f"metadata.annotations.{annotation}"
