"""What objects need by name: Secrets, ConfigMaps, ServiceAccounts and claims, in pods and in custom resources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import entries, mapping
from airbundle.scan.rules.texts import DEPTH_LIMIT

Kind = Literal["Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim"]

_IGNORED_KINDS = frozenset(
    {
        "CustomResourceDefinition", "Secret", "ConfigMap", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
        "SealedSecret", "PrometheusRule", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
    }
)  # fmt: skip
_SECRET_NAME = re.compile(r"(?:^s|S)ecretName$")
_SECRET_OBJECT = re.compile(r"(?:^s|S)ecret(?:Key)?(?:Ref)?$")
_CONFIG_OBJECT = re.compile(r"(?:^c|C)onfigMap(?:Key)?(?:Ref|Selector)?$")
_SECRET_PAIRS = frozenset({"password", "username", "additionalScrapeConfigs", "credentials", "apiKey", "authorization"})
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Need:
    """A named object that something needs.

    Attributes:
        namespace: empty where it isn't known, as for objects of the whole cluster.
        key: of the Secret or ConfigMap; empty when all of it is needed.
        vital: nothing starts without it.
        generated: the object that names it has it made.
    """

    kind: Kind
    namespace: str
    name: str
    manifest: Manifest
    path: str
    key: str = ""
    vital: bool = True
    generated: bool = False


def needs_of(manifest: Manifest) -> Iterator[Need]:
    """Yield what an object needs; `optional: true` is none."""
    if manifest.kind in _IGNORED_KINDS:
        return
    for key, value in manifest.body.items():
        if key not in {"apiVersion", "kind", "metadata", "status"}:
            for need in _walk(manifest, {key: value}, "", 0):
                if _NAME.fullmatch(need.name):
                    yield need


def home_of(manifest: Manifest) -> str:
    """Return the namespace of what an object names; empty for objects of the whole cluster."""
    return "" if manifest.kind.startswith("Cluster") and manifest.kind != "Cluster" else manifest.namespace


def _walk(manifest: Manifest, node: Mapping[str, Any], path: str, depth: int) -> Iterator[Need]:
    if depth > DEPTH_LIMIT:
        return
    for key, value in node.items():
        below = f"{path}.{key}" if path else str(key)
        if isinstance(value, str):
            yield from _by_text(manifest, str(key), value, below)
        elif isinstance(value, dict):
            if _names_an_object(str(key), value):
                yield from _by_object(manifest, str(key), value, below)
            else:
                yield from _walk(manifest, value, below, depth + 1)
        elif isinstance(value, list):
            yield from _by_list(manifest, str(key), value, below)
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _walk(manifest, item, f"{below}[{index}]", depth + 1)


def _by_text(manifest: Manifest, key: str, value: str, path: str) -> Iterator[Need]:
    home = home_of(manifest)
    if not value or "{" in value:
        return
    if key == "serviceAccountName":
        yield Need("ServiceAccount", home, value, manifest, path)
    elif key == "claimName":
        yield Need("PersistentVolumeClaim", home, value, manifest, path)
    elif key == "configSecret" or _SECRET_NAME.search(key):
        yield Need("Secret", home, value, manifest, path)


def _kind_of(key: str, value: Mapping[str, Any]) -> Kind | None:
    if _SECRET_OBJECT.search(key) or (key in _SECRET_PAIRS and set(value) <= {"name", "key", "optional"}):
        return "Secret"
    return "ConfigMap" if _CONFIG_OBJECT.search(key) else None


def _names_an_object(key: str, value: Mapping[str, Any]) -> bool:
    return _kind_of(key, value) is not None and isinstance(value.get("secretName", value.get("name")), str)


def _by_object(manifest: Manifest, key: str, value: Mapping[str, Any], path: str) -> Iterator[Need]:
    kind = _kind_of(key, value)
    name = str(value.get("secretName", value.get("name")))
    if kind is None or not name or value.get("optional") is True or str(value.get("kind", kind)) not in {kind, ""}:
        return
    home = str(value.get("namespace") or home_of(manifest))
    inner = str(value.get("key") or "") if key.endswith(("KeyRef", "SecretRef")) else ""
    generated = value.get("generate") is True
    yield Need(kind, home, name, manifest, path, inner, generated=generated)
    for item in entries(value.get("items")):  # of a volume: a pod with a key that isn't there never starts
        yield Need(kind, home, name, manifest, f"{path}.items", str(item.get("key") or ""), generated=generated)


def _by_list(manifest: Manifest, key: str, value: list[Any], path: str) -> Iterator[Need]:
    home = home_of(manifest)
    if key == "imagePullSecrets":
        for item in value:
            name = item.get("name") if isinstance(item, dict) else item
            if isinstance(name, str) and name:
                yield Need("Secret", home, name, manifest, path, vital=False)
    elif key == "certificateRefs":
        for item in entries(value):
            if item.get("kind", "Secret") == "Secret":
                yield Need("Secret", str(item.get("namespace") or home), str(item.get("name", "")), manifest, path)
    elif key == "valuesFrom":
        for item in entries(value):
            if item.get("kind") in {"Secret", "ConfigMap"} and item.get("optional") is not True:
                kind: Kind = "Secret" if item["kind"] == "Secret" else "ConfigMap"
                yield Need(kind, home, str(item.get("name", "")), manifest, path)
    elif key in {"secrets", "configMaps"} and manifest.api_version.startswith("monitoring.coreos.com/"):
        for item in value:
            yield Need("Secret" if key == "secrets" else "ConfigMap", home, str(item), manifest, path)


def is_made_by_itself(need: Need) -> bool:
    """Whether the field means an object that a controller makes for the object that names it."""
    kind, path = need.manifest.kind, need.path
    if need.generated:
        return True
    if kind == "Certificate":
        return path == "spec.secretName"
    if kind in {"Issuer", "ClusterIssuer"}:
        return "privateKeySecretRef" in path
    return kind in {"ExternalSecret", "ClusterExternalSecret"} and path.startswith("spec.target")


def volume_claims(manifest: Manifest) -> Iterator[str]:
    """Yield the first claims that a StatefulSet makes of its templates."""
    for template in entries(mapping(manifest.body.get("spec")).get("volumeClaimTemplates")):
        for number in range(10):
            yield f"{mapping(template.get('metadata')).get('name', '')}-{manifest.name}-{number}"
