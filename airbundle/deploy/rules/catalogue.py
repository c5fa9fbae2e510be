"""The codes of a preflight's findings: stable, and listed in docs/preflight.md with how to mend each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Optional

from airbundle.errors import Finding

Grade = Literal["error", "warning", "either"]
Severity = Literal["error", "warning"]

CODES: Mapping[str, Grade] = {
    # the cluster and this user
    "cluster-unreachable": "error",
    "fact-unread": "either",
    "cluster-uid": "error",
    "kubernetes-version": "error",
    "kubernetes-target": "warning",
    "rbac": "error",
    "rbac-escalate": "warning",
    "clock-skew": "either",
    "node-clock": "either",
    # nodes
    "node-none": "error",
    "node-not-ready": "warning",
    "node-cordoned": "warning",
    "node-pressure": "warning",
    "node-version": "warning",
    "node-runtime": "error",
    "node-access": "warning",
    "node-architecture": "error",
    "unschedulable": "error",
    # room
    "capacity": "error",
    "pod-too-large": "error",
    "pods-full": "error",
    "quota": "error",
    "quota-unset": "error",
    "limit-range": "error",
    # volumes
    "storage-class": "error",
    "storage-default": "error",
    "storage-defaults": "warning",
    "storage-capacity": "warning",
    "storage-shared": "warning",
    "storage-volumes": "warning",
    "claim-pending": "either",
    "volume-failed": "warning",
    # API
    "api-missing": "error",
    "api-removed": "error",
    "api-deprecated": "warning",
    "api-order": "error",
    "api-service-down": "either",
    "metrics-missing": "warning",
    "webhook-dead": "either",
    # what objects refer to
    "missing-secret": "either",
    "missing-configmap": "either",
    "missing-service-account": "either",
    "missing-claim": "either",
    "missing-key": "error",
    "missing-issuer": "error",
    "missing-service": "warning",
    "ingress-class": "warning",
    "priority-class": "error",
    "runtime-class": "error",
    "namespace-missing": "warning",
    "namespace-terminating": "error",
    # who owns what is there
    "helm-chart": "error",
    "helm-pending": "warning",
    "helm-adopt": "warning",
    "bundle-adopt": "warning",
    "data-unrestored": "either",
    "object-owner": "error",
    "object-exists": "warning",
    "crd-owner": "error",
    # network
    "node-port": "error",
    "host-port": "error",
    "cluster-ip": "error",
    "load-balancer": "warning",
    "ingress-host": "warning",
    "network-policy": "warning",
    "network-overlap": "error",
    "dns-missing": "either",
    "dns-record": "error",
    "dns-form": "error",
    "dns-down": "error",
    "registry-name": "error",
    # security
    "pod-security": "error",
    # images
    "hook-image": "error",
}
"""Code → grade; `either` depends on what was found."""


def told(
    code: str,
    message: str,
    *,
    where: str = "",
    found: str = "",
    expected: str = "",
    hint: str = "",
    severity: Optional[Severity] = None,
) -> Finding:
    """Return a finding of a code, graded as the catalogue says.

    Args:
        severity: needed where the catalogue says `either`.
    """
    grade = CODES[code]
    if (grade == "either") == (severity is None):
        raise ValueError(f"{code}: its grade is {grade}, given {severity}")
    graded: Severity = severity or ("error" if grade == "error" else "warning")
    return Finding(message, where, code, found, expected, hint, graded)


def listed(names: object, most: int = 5) -> str:
    """Return the first of some names for people: `a, b and 3 more`."""
    found = [str(name)[:120] for name in names] if isinstance(names, (list, tuple, set, frozenset)) else [str(names)]
    rest = len(found) - most
    return ", ".join(found[:most]) + (f" and {rest} more" if rest > 0 else "")
