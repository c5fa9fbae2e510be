"""The Services of an inventory: which ports they listen on, and which pods are behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import Scene, entries, mapping

_IN_CLUSTER = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc(?:\.[a-z0-9-]+(?:\.[a-z0-9-]+)*)?)?\.?")
_POD_OF = re.compile(r"[a-z0-9-]+-\d+\.([a-z0-9-]+\.[a-z0-9-]+\.svc(?:\..*)?)")
_BY_CLUSTER = frozenset({"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"})
"""Labels that the cluster gives to pods: no template has them."""


@dataclass(frozen=True)
class Pods:
    """A pod template: who its pods are, and what they listen on."""

    manifest: Manifest
    labels: Mapping[str, str]
    ports: frozenset[int]
    port_names: frozenset[str]


@dataclass(frozen=True)
class Service:
    """One Service, from all renders that have it."""

    manifest: Manifest
    selector: Mapping[str, str]
    ports: tuple[Mapping[str, Any], ...]
    headless: bool
    external: bool

    @property
    def name(self) -> str:
        """Its name with the namespace."""
        return f"{self.manifest.namespace}/{self.manifest.name}"

    def listens_on(self, port: int, pods: tuple[Pods, ...]) -> bool:
        """Whether `port` answers; behind a headless Service the pods' own ports do, too."""
        if self.external or not self.ports or any(_number(entry.get("port")) == port for entry in self.ports):
            return True
        if not self.headless:
            return False
        if not pods:
            return True
        return any(_number(entry.get("targetPort")) == port for entry in self.ports) or any(
            port in each.ports for each in pods
        )

    @property
    def shown_ports(self) -> str:
        """The ports it listens on, for a finding."""
        return ", ".join(str(entry.get("port", "")) for entry in self.ports)


class Services:
    """Services and pods by namespace."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._by_name: dict[tuple[str, str], Service] = {}
        for manifest in scene.by_kind.get("Service", ()):
            self._add(manifest)
        self.namespaces = frozenset(manifest.namespace for manifest in scene.manifests)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._by_name.values())

    def get(self, namespace: str, name: str) -> Service | None:
        """Return a Service by its name."""
        return self._by_name.get((namespace, name))

    def by_host(self, host: str, home: str) -> Service | None:
        """Return the Service that a host name means to a pod in the namespace `home`; None for other hosts."""
        host = host.lower()
        pod = _POD_OF.fullmatch(host)
        host = pod[1] if pod else host
        if "." not in host:
            return self.get(home, host)
        match = _IN_CLUSTER.fullmatch(host)
        return self.get(match[2], match[1]) if match else None

    def pods_behind(self, service: Service) -> tuple[Pods, ...]:
        """Return the pods that a Service selects."""
        near = self._pods.get(service.manifest.namespace, ())
        return tuple(pods for pods in near if service.selector.items() <= pods.labels.items())

    @cached_property
    def _pods(self) -> Mapping[str, Sequence[Pods]]:
        found: dict[str, list[Pods]] = {}
        for manifest in self._scene.manifests:
            for pods in _pods_of(manifest):
                found.setdefault(manifest.namespace, []).append(pods)
        return found

    def _add(self, manifest: Manifest) -> None:
        spec = mapping(manifest.body.get("spec"))
        ports = tuple(entries(spec.get("ports")))
        known = self._by_name.get((manifest.namespace, manifest.name))
        self._by_name[manifest.namespace, manifest.name] = Service(
            manifest,
            {str(key): str(value) for key, value in mapping(spec.get("selector")).items() if key not in _BY_CLUSTER},
            (known.ports if known else ()) + ports,
            spec.get("clusterIP") == "None",
            spec.get("type") == "ExternalName",
        )


def _pods_of(manifest: Manifest) -> Iterator[Pods]:
    """The pods of a Pod, of a workload, or of whatever has a pod template."""
    if manifest.kind == "CustomResourceDefinition":
        return
    if manifest.kind == "Pod":
        yield _pods(manifest, manifest.metadata, mapping(manifest.body.get("spec")))
        return
    spec = mapping(manifest.body.get("spec"))
    template = mapping(spec.get("template")) or mapping(
        mapping(mapping(spec.get("jobTemplate")).get("spec")).get("template")
    )
    if template:
        yield _pods(manifest, mapping(template.get("metadata")), mapping(template.get("spec")))


def _pods(manifest: Manifest, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> Pods:
    labels = {str(key): str(value) for key, value in mapping(metadata.get("labels")).items()}
    containers = [*entries(spec.get("containers")), *entries(spec.get("initContainers"))]
    ports = [port for container in containers for port in entries(container.get("ports"))]
    numbers = (_number(port.get("containerPort")) for port in ports)
    names = (str(port["name"]) for port in ports if port.get("name"))
    return Pods(manifest, labels, frozenset(number for number in numbers if number), frozenset(names))


def _number(value: object) -> int:
    """A port as a number; 0 for none."""
    text = str(value)
    return int(text) if text.isdigit() and len(text) < 6 else 0
