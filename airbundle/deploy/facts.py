"""What a preflight knows of a site: the cluster's objects and answers, and this host, as plain values.

What could not be read is no empty answer: who asks for it gets `UnknownFact`, so that no rule takes silence for a fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional, TypeVar

from airbundle.deploy.objects import ObjectKey

Body = Mapping[str, Any]
T = TypeVar("T")

LISTED = (
    "Node", "Namespace", "Pod", "Service", "Ingress", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
    "ResourceQuota", "LimitRange", "APIService", "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration", "EndpointSlice", "NetworkPolicy", "IngressClass", "PriorityClass", "RuntimeClass",
    "CSIStorageCapacity", "Lease",
)  # fmt: skip
"""Kinds of which all objects are read."""
DISCOVERY, VERSION, UID, CLOCK, EXISTING, KEYS, DENIED, HELM, COREDNS, RESOLVED = (
    "the kinds that the API serves",
    "the cluster's version",
    "the uid of kube-system",
    "the API server's clock",
    "what is there of the objects to be deployed",
    "Secrets and ConfigMaps that are referred to",
    "what this user may do",
    "Helm's releases",
    "CoreDNS's configuration",
    "the registry's name on this host",
)


class UnknownFact(Exception):
    """A rule asked for a fact that could not be read; its argument names it."""


@dataclass(frozen=True)
class Unread:
    """Why a fact is not known; `forbidden` when this user may not read it."""

    why: str
    forbidden: bool = False


@dataclass(frozen=True)
class ServedKind:
    """A kind that the API serves."""

    plural: str
    namespaced: bool = True


@dataclass(frozen=True, order=True)
class Access:
    """Something a user may or may not do; an empty namespace means all of them, or a kind without."""

    namespace: str
    group: str
    resource: str
    verb: str

    @property
    def target(self) -> str:
        """The resource as kubectl names it: `deployments.apps`, `pods/log`."""
        name, slash, part = self.resource.partition("/")
        return f"{name}{'.' if self.group else ''}{self.group}{slash}{part}"


@dataclass(frozen=True)
class HelmFound:
    """The newest revision of a release that Helm keeps in the cluster."""

    chart: str
    version: str
    status: str
    revision: int


@dataclass(frozen=True)
class SiteFacts:
    """What is known. None, and a kind that `lists` lacks: it could not be read, and `unread` may say why.

    Attributes:
        lists: kind → all objects of it, of those in `LISTED`; Secrets are never among them.
        unreachable: why the API does not answer at all; empty where it does.
        version: of the API server, such as `1.33`.
        uid: of the namespace kube-system.
        now: the API server's clock.
        skew: seconds that this host's clock is ahead of it.
        served: apiVersion → kind → how it is asked for; at least those that the plan names.
        api_versions: all that are served.
        existing: what is there of the objects to be deployed; a Secret without its data.
        keys: (kind, namespace, name) → keys of the Secrets and ConfigMaps that are referred to and there.
        denied: what the plan needs and this user may not do.
        helm: (namespace, name) → release that Helm knows.
        corefile: of CoreDNS; empty where there is no ConfigMap of it.
        resolved: addresses of the registry's name on this host.
        addresses: of this host.
        unread: fact → why it is not known.
    """

    lists: Mapping[str, Sequence[Body]] = field(default_factory=dict)
    unreachable: str = ""
    version: Optional[str] = None
    uid: Optional[str] = None
    now: Optional[datetime] = None
    skew: Optional[float] = None
    served: Optional[Mapping[str, Mapping[str, ServedKind]]] = None
    api_versions: frozenset[str] = frozenset()
    existing: Optional[Mapping[ObjectKey, Body]] = None
    keys: Optional[Mapping[tuple[str, str, str], frozenset[str]]] = None
    denied: Optional[Sequence[Access]] = None
    helm: Optional[Mapping[tuple[str, str], HelmFound]] = None
    corefile: Optional[str] = None
    resolved: Optional[Sequence[str]] = None
    addresses: Sequence[str] = ()
    unread: Mapping[str, Unread] = field(default_factory=dict)

    def all(self, kind: str) -> Sequence[Body]:
        """Return all objects of a kind.

        Raises:
            UnknownFact: they could not be read.
        """
        return known(self.lists.get(kind), kind)


def known(value: Optional[T], fact: str) -> T:
    """Return a fact.

    Raises:
        UnknownFact: it is None.
    """
    if value is None:
        raise UnknownFact(fact)
    return value
