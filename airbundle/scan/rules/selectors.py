"""Services that reach nothing: no pod has their labels, or no container the port that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.rules.scene import Scene, place
from airbundle.scan.rules.services import Pods, Service, Services

_BUILT_IN = frozenset(
    {
        "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "storage.k8s.io",
        "apiextensions.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io", "apiregistration.k8s.io",
        "coordination.k8s.io", "cert-manager.io", "gateway.networking.k8s.io",
    }
)  # fmt: skip
_SYSTEM = frozenset({"kube-system"})
_ROLES = frozenset({"leader", "master", "primary", "active", "main", "replica", "standby"})
"""Values of labels that programs set on their own pods while they run."""


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the Services without pods, and named target ports that no container of their pods has."""
    services = Services(scene)
    owners = _owners(scene)
    for service in services:
        if not service.selector or service.external or service.manifest.namespace in _SYSTEM:
            continue
        pods = services.pods_behind(service)
        if pods:
            yield from _named_ports(service, pods)
        elif not _is_operators(service, owners) and not _is_by_role(service):
            yield _selects_nothing(service)


def _owners(scene: Scene) -> frozenset[str]:
    """Names of custom resources: operators make pods for them, and label them with these names."""
    return frozenset(
        manifest.name
        for manifest in scene.manifests
        if "/" in manifest.api_version and manifest.api_version.partition("/")[0] not in _BUILT_IN
    )


def _is_operators(service: Service, owners: frozenset[str]) -> bool:
    values = service.selector.values()
    return any(value == owner or value.startswith(f"{owner}-") for value in values for owner in owners)


def _is_by_role(service: Service) -> bool:
    return any(_ROLES & {value, *re.split(r"[-_./]", key)} for key, value in service.selector.items())


def _named_ports(service: Service, pods: tuple[Pods, ...]) -> Iterator[Finding]:
    if service.headless:  # its ports are names in DNS; nothing is sent to them
        return
    names = frozenset().union(*(each.port_names for each in pods))
    lost = [
        (number, port["targetPort"])
        for number, port in enumerate(service.ports)
        if isinstance(port.get("targetPort"), str)
        and not port["targetPort"].isdigit()
        and port["targetPort"] not in names
    ]
    for number, target in lost:
        yield Finding(
            f"no container behind the Service {service.name} has a port named {target!r}",
            str(place(service.manifest, f"spec.ports[{number}].targetPort")),
            "port-mismatch",
            found=target,
            expected=", ".join(sorted(names)) or "a port with this name",
            hint="name a port of the container",
            severity="error" if len(lost) == len(service.ports) else "warning",
        )


def _selects_nothing(service: Service) -> Finding:
    return Finding(
        f"the Service {service.name} selects no pod of the inventory",
        str(place(service.manifest, "spec.selector")),
        "selects-nothing",
        found=", ".join(f"{key}={value}" for key, value in sorted(service.selector.items())),
        hint="put the labels right, unless an operator makes these pods",
        severity="warning",
    )
