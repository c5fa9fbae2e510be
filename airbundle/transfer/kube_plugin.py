"""Programs that give credentials for a cluster (`client.authentication.k8s.io`, kubectl's "exec plugins")."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from airbundle.bundle.oci import parse_json
from airbundle.errors import AirbundleError, UsageError, VerificationError
from airbundle.transfer.kubeconfig import ClusterAccess, Plugin
from airbundle.transfer.programs import run_program

_GROUP = "client.authentication.k8s.io/"
_VERSIONS = ("v1", "v1beta1", "v1alpha1")
_TIMEOUT = 60.0
_OUTPUT_LIMIT = 1 << 20


def with_credentials(access: ClusterAccess) -> ClusterAccess:
    """Return an access whose plugin, if it has one, was asked; nothing that it printed gets into errors.

    Raises:
        UsageError: the plugin is not there, fails, or answers something else.
    """
    plugin = access.plugin
    if plugin is None:
        return access
    what = f"context {access.context!r}: credentials from {plugin.command[0]}"
    if plugin.api_version not in {_GROUP + version for version in _VERSIONS}:
        raise UsageError(f"{what}: the apiVersion is not supported", hint=f"expected {_GROUP}v1")
    status = _status(_run(plugin, access, what), what)
    token, certificate, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
    if not all(isinstance(text, str) and text.isascii() for text in (token, certificate, key)):
        raise UsageError(f"{what}: what it gave is no text")
    if not token.isprintable() or not (token or (certificate and key)):
        raise UsageError(f"{what}: it gave neither a token nor a client certificate")
    return replace(
        access,
        plugin=None,
        token=token or access.token,
        certificate=certificate.encode() or access.certificate,
        key=key.encode() or access.key,
    )


def _run(plugin: Plugin, access: ClusterAccess, what: str) -> bytes:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.with_cluster:
        spec["cluster"] = {"server": str(access.server), "insecure-skip-tls-verify": access.insecure}
    asked = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environ = {**os.environ, **plugin.environ, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        done = run_program(plugin.command, what=what, env=environ, timeout=_TIMEOUT, output_limit=_OUTPUT_LIMIT)
    except AirbundleError as error:
        raise UsageError(error.problem, hint=plugin.install_hint[:500]) from None
    if done.code:
        raise UsageError(f"{what}: it ended with {done.code}", hint="run `kubectl get pods` to see what it says")
    return done.output


def _status(raw: bytes, what: str) -> dict[str, Any]:
    try:
        body = parse_json(raw, what=what)
    except VerificationError:
        body = None
    status = body.get("status") if isinstance(body, dict) and body.get("kind") == "ExecCredential" else None
    if not isinstance(status, dict):
        raise UsageError(f"{what}: its answer is no ExecCredential with a status")
    return status
