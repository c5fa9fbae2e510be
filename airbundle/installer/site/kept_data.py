"""What of a cluster a way back leaves: which objects hold data or take volumes along, and whose a namespace is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from airbundle.deploy.keeping import CLAIM, WORKLOADS, claims_made_by, runs_of_others, title_of, volume_owners, why_kept
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.secret_values import is_made
from airbundle.errors import AirbundleError, NotFound, Unauthorized
from airbundle.installer.site.site_state import SiteState
from airbundle.scan.documents import document_spans, objects_in
from airbundle.scan.loading import load_document
from airbundle.transfer.cluster_api import Resource

_CLAIMS = Resource("v1", "persistentvolumeclaims", CLAIM)


class Reads(Protocol):
    """Reads the cluster's objects."""

    def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """Return an object; None where there is none."""

    def objects(self, resource: Resource, namespace: str = "") -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a kind."""

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return how objects of a kind are asked for."""


class KeptData:
    """The volumes of a cluster, as they are when this is made, and what goes with which object.

    Args:
        cluster: what is asked.
        namespaces: asked one by one, where this user may not list all of a cluster.

    Raises:
        Unauthorized, Unreachable, RemoteError: the cluster does not tell.
    """

    def __init__(self, cluster: Reads, namespaces: Collection[str] = ()) -> None:
        self._cluster = cluster
        self._owners = volume_owners(_claims(cluster, namespaces), cluster.get)

    def why(self, key: ObjectKey, body: Mapping[str, Any]) -> str:
        """Return why an object is kept unless data may go; empty when it may go anyhow."""
        why = why_kept(key, body, self._owners)
        if why or not is_made(body):
            return why
        # A database's password is of no use without its volume; the volume is of no use without the password.
        claims = self.claims(key.namespace)
        return f"what lies in {', '.join(claims)} may need it" if claims else ""

    def claims(self, namespace: str) -> list[str]:
        """Return the volume claims that a namespace has now, as `NAMESPACE/NAME`."""
        return sorted(title_of(claim) for claim in self._cluster.objects(_CLAIMS, namespace))

    def others_in(self, namespace: str) -> list[str]:
        """Return what runs in a namespace and is nobody's part: when ours is gone, it is others'."""
        found = []
        for api_version, kind in WORKLOADS:
            resource = self._cluster.resource_of(api_version, kind)
            if resource is not None:
                found += runs_of_others(self._cluster.objects(resource, namespace))
        return found


def _claims(cluster: Reads, namespaces: Collection[str]) -> Sequence[Mapping[str, Any]]:
    try:
        return list(cluster.objects(_CLAIMS))
    except Unauthorized as error:
        if not error.forbidden or not namespaces:
            raise
    return [claim for namespace in sorted(namespaces) for claim in cluster.objects(_CLAIMS, namespace)]


def made_claims(site: SiteState, cluster: Reads, bundle: str = "") -> list[ObjectKey]:
    """Return the claims that StatefulSets of the site's releases made for their pods; with `bundle`, of its own.

    They are told by the manifests that were applied, so that they are found when the StatefulSets are gone already.
    """
    patterns: dict[str, list[re.Pattern[str]]] = {}
    for deployment in site.deployments():
        for release in deployment.releases:
            if bundle not in ("", release.bundle):
                continue
            for body in _applied(site, release.manifest):
                pattern = claims_made_by(body)
                namespace = (body.get("metadata") or {}).get("namespace") or release.namespace
                if pattern is not None:
                    patterns.setdefault(str(namespace), []).append(pattern)
    found: set[ObjectKey] = set()
    for namespace, each in patterns.items():
        try:
            names = [str(claim["metadata"]["name"]) for claim in cluster.objects(_CLAIMS, namespace)]
        except NotFound:
            continue
        found.update(
            ObjectKey("v1", CLAIM, namespace, name)
            for name in names
            if any(pattern.fullmatch(name) for pattern in each)
        )
    return sorted(found)


def _applied(site: SiteState, manifest: str) -> Iterator[Mapping[str, Any]]:
    if not manifest:
        return
    try:
        raw = site.read_manifest(manifest)
    except AirbundleError:
        return  # it is gone: what it would tell is not known, and nothing is deleted for it
    for start, end in document_spans(raw):
        yield from (body for _, body in objects_in(load_document(raw[start:end].decode(errors="replace")).value))
