"""A kubeconfig for programs that we start: the one cluster and user that we use ourselves, and nothing else."""

from __future__ import annotations

import base64
from typing import Any

from airbundle.transfer.kubeconfig import ClusterAccess


def kubeconfig_of(access: ClusterAccess) -> dict[str, Any]:
    """Return a kubeconfig that says what `access` does. It holds credentials: for a file of mode 0600.

    Args:
        access: where the cluster is; what its plugin gives must be in it already.
    """
    cluster: dict[str, Any] = {"server": str(access.server)}
    if access.insecure:
        cluster["insecure-skip-tls-verify"] = True
    elif access.ca:
        cluster["certificate-authority-data"] = _base64(access.ca)
    user: dict[str, Any] = {}
    if access.certificate and access.key:
        user = {"client-certificate-data": _base64(access.certificate), "client-key-data": _base64(access.key)}
    if access.token:
        user["token"] = access.token
    name = "site"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
