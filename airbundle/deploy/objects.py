"""Objects of a cluster: what names one, in what order they are applied, and which hold data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airbundle.errors import DocumentError

NAMESPACE = "Namespace"
CRD = "CustomResourceDefinition"

_HOLDING = frozenset({NAMESPACE, CRD, "PersistentVolume", "PersistentVolumeClaim", "StorageClass", "VolumeSnapshot"})
# What others refer to comes before them; what can refuse others (webhooks) or hide them comes last.
_ORDER = (
    NAMESPACE,
    CRD,
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
)
_LAST = frozenset({"APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"})
_PLACE = {kind: number for number, kind in enumerate(_ORDER)}

# RFC 1123 subdomains; names of RBAC objects also have colons and upper case (API path segments).
_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?v[a-z0-9]{1,61}")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")


@dataclass(frozen=True, order=True)
class ObjectKey:
    """What names an object.

    Attributes:
        api_version: such as `v1` or `apps/v1`.
        kind: such as `Deployment`.
        namespace: empty for kinds without.
        name: of the object.
    """

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `apps/v1/Deployment/NAMESPACE/NAME`; the namespace is empty for kinds without."""
        return f"{self.api_version}/{self.kind}/{self.namespace}/{self.name}"

    @property
    def title(self) -> str:
        """What people read: `Deployment NAMESPACE/NAME`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def key_of(body: Mapping[str, Any], namespace: str = "") -> ObjectKey:
    """Return what names an object.

    Args:
        body: the object, as parsed.
        namespace: the one it goes into where it names none; empty for kinds without.

    Raises:
        DocumentError: it has no proper apiVersion, kind or name.
    """
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    parts = (body.get("apiVersion"), body.get("kind"), metadata.get("namespace") or namespace, metadata.get("name"))
    return _checked(*(part if isinstance(part, str) else "" for part in parts))


def parse_key(text: str) -> ObjectKey:
    """Return the key that `str()` made a text of.

    Raises:
        DocumentError: none did.
    """
    parts = text.rsplit("/", 3)
    return _checked(*parts) if len(parts) == 4 else _checked("", "", "", text)


def _checked(api_version: str, kind: str, namespace: str, name: str) -> ObjectKey:
    right = _VERSION.fullmatch(api_version) and _KIND.fullmatch(kind) and _NAME.fullmatch(name)
    if not right or (namespace and not _LABEL.fullmatch(namespace)):
        found = f"{api_version!r:.80} {kind!r:.80} {namespace!r:.80} {name!r:.80}"
        raise DocumentError(f"this names no object of a cluster: found apiVersion, kind, namespace and name {found}")
    return ObjectKey(api_version, kind, namespace, name)


def apply_order(kind: str) -> int:
    """Return when objects of a kind are applied: smaller is earlier; kinds that the list does not know come late."""
    return len(_ORDER) + 1 if kind in _LAST else _PLACE.get(kind, len(_ORDER))


def holds_data(key: ObjectKey) -> bool:
    """Tell whether deleting an object of this kind may delete data, itself or by what goes with it."""
    return key.kind in _HOLDING
