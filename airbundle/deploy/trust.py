"""The objects by which a cluster learns of the site's CA: for pods, and for cert-manager. Bodies in, bodies out."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from airbundle.deploy.dig import items, mapping, text
from airbundle.deploy.objects import NAMESPACE, ObjectKey

CA_NAME = "airbundle-ca"
"""Name of the Bundle, and of the ConfigMap in each namespace."""
CA_KEY = "ca.crt"
BUNDLE = ("trust.cert-manager.io/v1alpha1", "Bundle")
ISSUER = ("cert-manager.io/v1", "ClusterIssuer")
ISSUER_GROUP = "cert-manager.io"
CERT_MANAGER = "cert-manager"
MANAGED = "app.kubernetes.io/managed-by"
MANAGER = "airbundle"

_NAME, _COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
_NAMESPACE_FLAG = re.compile(r"--cluster-resource-namespace=([a-z0-9-]{1,63})")


def config_map(namespace: str, pem: bytes) -> dict[str, Any]:
    """Return the ConfigMap that pods mount."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_NAME, "namespace": namespace, "labels": {MANAGED: MANAGER}},
        "data": {CA_KEY: pem.decode()},
    }


def trust_bundle(pem: bytes) -> dict[str, Any]:
    """Return trust-manager's Bundle: it writes the same ConfigMap into every namespace."""
    return {
        "apiVersion": BUNDLE[0],
        "kind": BUNDLE[1],
        "metadata": {"name": CA_NAME, "labels": {MANAGED: MANAGER}},
        "spec": {"sources": [{"inLine": pem.decode()}], "target": {"configMap": {"key": CA_KEY}}},
    }


def namespace_body(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a namespace; `metadata` has labels and annotations that it must have."""
    labels = {MANAGED: MANAGER, **metadata.get("labels", {})}
    return {"apiVersion": "v1", "kind": NAMESPACE, "metadata": {**metadata, "name": name, "labels": labels}}


def issuer_secret(name: str, namespace: str, chain: bytes, key: bytes) -> dict[str, Any]:
    """Return the Secret that a ClusterIssuer of kind `ca` issues with."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace, "labels": {MANAGED: MANAGER}},
        "data": {"tls.crt": _coded(chain), "tls.key": _coded(key)},
    }


def cluster_issuer(name: str) -> dict[str, Any]:
    """Return the ClusterIssuer; its Secret has the same name."""
    return {
        "apiVersion": ISSUER[0],
        "kind": ISSUER[1],
        "metadata": {"name": name, "labels": {MANAGED: MANAGER}},
        "spec": {"ca": {"secretName": name}},
    }


def issuer_key(name: str) -> ObjectKey:
    """Return the key of a ClusterIssuer."""
    return ObjectKey(*ISSUER, "", name)


def secret_bytes(secret: Mapping[str, Any] | None, name: str) -> bytes:
    """Return what a Secret of the cluster holds at a key; empty when nothing, or nothing that can be."""
    try:
        return base64.b64decode(text(secret, "data", name), validate=True)
    except ValueError:
        return b""


def issuer_namespace(deployments: Iterable[Mapping[str, Any]]) -> str:
    """Return where the cert-manager of a cluster looks for the Secrets of ClusterIssuers; empty where there is none.

    That is the namespace of its controller, unless `--cluster-resource-namespace` says another.
    """
    for body in deployments:
        labels = mapping(body, "metadata", "labels")
        if text(labels, _NAME) != CERT_MANAGER or labels.get(_COMPONENT, "controller") != "controller":
            continue
        for container in items(body, "spec", "template", "spec", "containers"):
            arguments = container.get("args")
            for argument in arguments if isinstance(arguments, list) else ():
                named = _NAMESPACE_FLAG.fullmatch(argument) if isinstance(argument, str) else None
                if named:
                    return named[1]
        return text(body, "metadata", "namespace")
    return ""


def holds(live: Any, desired: Any) -> bool:
    """Tell whether an object of the cluster has all that is desired; what it has besides is others'."""
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and all(holds(live.get(name), value) for name, value in desired.items())
    return bool(live == desired)


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()
