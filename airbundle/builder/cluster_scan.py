"""What really runs in a cluster: the images of its pods, and of workloads that have none just now.

Pods, workloads and nothing else are listed: no Secrets, no ConfigMaps. Of each object only its spec is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airbundle.builder.cluster_objects import (
    containers,
    controller,
    is_made_by_another,
    likeness,
    mapping,
    pod_state,
    runtime_images,
    workload_state,
)
from airbundle.bundle.digest import is_digest
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import Finding, NotFound, RemoteError, Unauthorized, UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.scan.find import find_images
from airbundle.scan.model import ORDER, Certainty, Manifest, Origin, Place, Scanned, Sighting
from airbundle.transfer.cluster import OBJECT_LIMIT, Cluster, Resource

PODS = Resource("v1", "pods", "Pod")
WORKLOADS = (
    Resource("apps/v1", "deployments", "Deployment"),
    Resource("apps/v1", "statefulsets", "StatefulSet"),
    Resource("apps/v1", "daemonsets", "DaemonSet"),
    Resource("apps/v1", "replicasets", "ReplicaSet"),
    Resource("v1", "replicationcontrollers", "ReplicationController"),
    Resource("batch/v1", "cronjobs", "CronJob"),
    Resource("batch/v1", "jobs", "Job"),
)
OWN_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""What runs there comes with the cluster: certain only where the namespace was asked for by name."""


@dataclass(frozen=True)
class ClusterImages:
    """What a cluster runs.

    Attributes:
        digests: image → digests that containers of it really run as; of an index or of one platform's manifest.
    """

    scanned: Scanned
    digests: Mapping[Reference, tuple[str, ...]] = field(default_factory=dict)


def cluster_images(cluster: Cluster, *, namespaces: Sequence[str] = (), reporter: Reporter = SILENT) -> ClusterImages:
    """Return the images of a cluster's pods and workloads; a kind that may not be listed is a finding.

    Args:
        cluster: its API.
        namespaces: to look in; by default all.
        reporter: told what is listed.

    Raises:
        Unauthorized: the cluster takes the credentials for none, or lets this user list nothing at all.
        RemoteError: it does not answer, or not as a cluster does; of the site's side.
    """
    search = _Search(Origin(f"cluster {cluster.name}"), bool(namespaces))
    listed = 0
    refusals: list[RemoteError] = []
    with reporter.phase("cluster") as phase:
        for resource in (PODS, *WORKLOADS):
            for namespace in dict.fromkeys(namespaces) or ("",):
                try:
                    with phase.item(resource.plural + (f" in {namespace}" if namespace else ""), 0):
                        search.add(cluster.objects(resource, namespace), resource, namespace)
                    listed += 1
                except (Unauthorized, NotFound) as error:
                    if error.status == 401:
                        raise
                    refusals.append(error)
    if refusals and not listed:
        raise refusals[0]
    findings = [*(_refused(search.origin, error) for error in refusals), *search.findings]
    return ClusterImages(
        Scanned(tuple(search.sightings()), tuple(findings)),
        {image: tuple(sorted(digests)) for image, digests in search.digests.items()},
    )


def _refused(origin: Origin, error: RemoteError) -> Finding:
    problem = error.problem[len(origin.source) + 2 :] if error.problem.startswith(origin.source) else error.problem
    return Finding(problem, origin.source, "cluster-unlisted", hint=error.hint, severity="warning")


class _Search:
    def __init__(self, origin: Origin, named: bool) -> None:
        self.origin = origin
        self.findings: list[Finding] = []
        self.digests: dict[Reference, set[str]] = {}
        self._named = named
        self._running: dict[tuple[object, ...], Sighting] = {}
        self._templates: dict[tuple[object, ...], Sighting] = {}
        self._run_in: set[tuple[str, Reference]] = set()
        self._twins: set[tuple[object, ...]] = set()

    def add(self, objects: Iterator[Mapping[str, Any]], resource: Resource, namespace: str = "") -> None:
        """Take the images of objects of one kind; `namespace` is the one that was looked in."""
        count = 0
        for body in objects:
            count += 1
            if resource is PODS:
                self._pod(body)
            elif not is_made_by_another(body):
                self._workload(body)
        if not count and namespace and resource is PODS:
            self._find("cluster-empty", f"no pods in the namespace {namespace!r}", "check its name")
        if count >= OBJECT_LIMIT:
            message = f"more than {OBJECT_LIMIT} {resource.plural}; the rest was not looked at"
            self._find("cluster-too-large", message, "name namespaces with -n")

    def _find(self, code: str, message: str, hint: str) -> None:
        self.findings.append(Finding(message, self.origin.source, code, hint=hint, severity="warning"))

    def sightings(self) -> Iterator[Sighting]:
        """Yield pods' images, and those that only workloads without pods have."""
        yield from self._running.values()
        for (namespace, *_), seen in self._templates.items():
            if (namespace, seen.image) not in self._run_in:
                yield seen

    def _pod(self, body: Mapping[str, Any]) -> None:
        manifest = self._manifest(body)
        ran = runtime_images(body)
        self._note_digests(body, ran)
        owner = controller(body)
        twin = (manifest.namespace, owner, likeness(body), frozenset(ran.items()))
        if owner and twin in self._twins:
            return
        self._twins.add(twin)
        certainty, note = pod_state(body)
        found = [seen for seen in find_images([manifest]) if not is_digest(seen.written)]
        found += self._by_status(manifest, ran, {seen.place.path for seen in found})
        for seen in found:
            if seen.certainty == "certain" and mapping(body.get("status")).get("phase") != "Failed":
                self._run_in.add((manifest.namespace, seen.image))
            seen = self._capped(seen, certainty, note, manifest)
            key = (manifest.namespace, seen.image, owner or manifest.name, seen.place.path)
            if key not in self._running or ORDER[seen.certainty] < ORDER[self._running[key].certainty]:
                self._running[key] = seen

    def _workload(self, body: Mapping[str, Any]) -> None:
        manifest = self._manifest(body)
        certainty, note = workload_state(body)
        for seen in find_images([manifest]):
            key = (manifest.namespace, seen.image, manifest.kind, manifest.name, seen.place.path)
            self._templates.setdefault(key, self._capped(seen, certainty, note, manifest))

    def _manifest(self, body: Mapping[str, Any]) -> Manifest:
        metadata = mapping(body.get("metadata"))
        names = {key: str(metadata.get(key) or "") for key in ("name", "namespace")}
        kept = {key: body.get(key) for key in ("apiVersion", "kind", "spec")}
        return Manifest(replace(self.origin, namespace=names["namespace"]), {**kept, "metadata": names})

    def _capped(self, seen: Sighting, most: Certainty, note: str, manifest: Manifest) -> Sighting:
        if manifest.namespace in OWN_NAMESPACES and not self._named:
            most, note = "likely", f"{note}; it comes with the cluster"
        certainty = seen.certainty if ORDER[seen.certainty] >= ORDER[most] else most
        return replace(seen, certainty=certainty, evidence=f"{seen.evidence} {note}")

    def _by_status(self, manifest: Manifest, ran: Mapping[str, Reference], paths: set[str]) -> Iterator[Sighting]:
        """Yield what containers run whose spec names no reference, but the ID of an image that the node has."""
        for path, container in containers(manifest.body):
            image = ran.get(str(container.get("name")))
            if image is not None and path not in paths and is_digest(container.get("image")):
                place = Place(manifest.origin, object=str(manifest), path=path)
                yield Sighting(image, str(container.get("image")), "certain", "container's status", place)

    def _note_digests(self, body: Mapping[str, Any], ran: Mapping[str, Reference]) -> None:
        for _, container in containers(body):
            image = ran.get(str(container.get("name")))
            try:
                wanted = parse_reference(str(container.get("image")).strip())
            except UsageError:
                continue
            if image is not None:
                self.digests.setdefault(wanted, set()).add(image.digest)
