"""Lists of a cluster's objects for the preflight, without what its rules don't look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from airbundle.deploy.facts import Body
from airbundle.errors import NotFound, Unauthorized
from airbundle.scan.rules.scene import mapping
from airbundle.transfer.cluster import Cluster
from airbundle.transfer.cluster_api import Resource

_RESOURCES = """
v1 nodes Node
v1 namespaces Namespace
v1 pods Pod +
v1 services Service +
v1 persistentvolumes PersistentVolume
v1 persistentvolumeclaims PersistentVolumeClaim +
v1 resourcequotas ResourceQuota +
v1 limitranges LimitRange +
networking.k8s.io/v1 ingresses Ingress +
networking.k8s.io/v1 networkpolicies NetworkPolicy +
networking.k8s.io/v1 ingressclasses IngressClass
storage.k8s.io/v1 storageclasses StorageClass
storage.k8s.io/v1 csistoragecapacities CSIStorageCapacity +
scheduling.k8s.io/v1 priorityclasses PriorityClass
node.k8s.io/v1 runtimeclasses RuntimeClass
discovery.k8s.io/v1 endpointslices EndpointSlice +
coordination.k8s.io/v1 leases Lease +
apiregistration.k8s.io/v1 apiservices APIService
admissionregistration.k8s.io/v1 validatingwebhookconfigurations ValidatingWebhookConfiguration
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations MutatingWebhookConfiguration
"""
RESOURCES: Mapping[str, Resource] = {
    words[2]: Resource(words[0], words[1], words[2], len(words) > 3)
    for words in (line.split() for line in _RESOURCES.strip().splitlines())
}
_LEASES = "kube-node-lease"
_SYSTEM = "kube-system"


def list_kind(cluster: Cluster, kind: str, namespaces: Iterable[str]) -> list[Body]:
    """Return all objects of a kind of `RESOURCES`; none where the cluster does not serve it.

    Who may not list them everywhere sees those of the namespaces that count, and of kube-system where it may.

    Args:
        cluster: its API.
        kind: one of `RESOURCES`.
        namespaces: that something goes into.

    Raises:
        Unauthorized: this user may not list any of them.
        Unreachable, RemoteError: no good answer.
    """
    resource = RESOURCES[kind]
    try:
        return list(_objects(cluster, resource, _LEASES if kind == "Lease" else ""))
    except Unauthorized:
        if not resource.namespaced or kind == "Lease":
            raise
    found = list(_within(cluster, resource, [*sorted(namespaces)]))
    try:
        found += _objects(cluster, resource, _SYSTEM)
    except Unauthorized:
        pass
    return found


def _within(cluster: Cluster, resource: Resource, namespaces: Iterable[str]) -> Iterator[Body]:
    for namespace in namespaces:
        if namespace != _SYSTEM:
            yield from _objects(cluster, resource, namespace)


def _objects(cluster: Cluster, resource: Resource, namespace: str) -> Iterator[Body]:
    try:
        for body in cluster.objects(resource, namespace):
            metadata = {name: value for name, value in mapping(body.get("metadata")).items() if name != "managedFields"}
            yield {**body, "metadata": metadata}
    except NotFound:
        return
