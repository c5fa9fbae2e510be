"""Who asks a Service at a port it doesn't listen on: URLs, Ingresses, routes, webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import Scene, entries, mapping, place, tell
from airbundle.scan.rules.services import Service, Services
from airbundle.scan.rules.texts import Text

_DEFAULTS: Mapping[str, int] = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "grpc": 443, "redis": 6379, "rediss": 6379, "valkey": 6379,
    "postgres": 5432, "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mongodb": 27017, "amqp": 5672, "amqps": 5671,
    "nats": 4222, "ldap": 389, "ldaps": 636, "smtp": 25, "memcached": 11211,
}  # fmt: skip
_URL = re.compile(
    r"\b([a-z][a-z0-9+]{1,20})://(?:[^\s/@\"'<>]*@)?([A-Za-z0-9][A-Za-z0-9.-]*)(?::(\d{1,5}))?(?![\w.:$({-])"
)
_HOST_PORT = re.compile(
    r"(?<![\w./:@-])([a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+){0,10}\.svc(?:\.[a-z0-9.-]{0,200}[a-z0-9])?):(\d{1,5})(?!\d)"
)
_BARE = re.compile(r"([a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)?):(\d{2,5})")
_VARIABLE = re.compile(r"\$?\b([A-Za-z_]\w*)\s*[=:\s]\s*[\"']?$")
_SOURCES = frozenset({"environment", "argument", "config", "secret", "field"})


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the mismatches; Services that nobody renders are told only of Ingresses, routes and webhooks."""
    services = Services(scene)
    for text in scene.texts:
        if text.source in _SOURCES and (":" in text.value):
            yield from _in_text(scene, services, text)
    for manifest in scene.manifests:
        for backend in _backends(manifest):
            yield from _faults_of(services, manifest, backend)


def _in_text(scene: Scene, services: Services, text: Text) -> Iterator[Finding]:
    if not ("://" in text.value or ".svc" in text.value or _BARE.fullmatch(text.value)):
        return
    home = text.manifest.namespace
    for line in text.lines():
        for token, host, port in _addresses(line.value):
            service = services.by_host(host, home)
            if not service or not port or service.listens_on(port, services.pods_behind(service)):
                continue
            if not _port_follows(line.value, token, text.value):
                yield tell(scene, line, token, _mismatch(service, token, port))


def _addresses(line: str) -> Iterator[tuple[str, str, int]]:
    """Addresses in a line: as they stand, host, port; the scheme's own port where none is written."""
    for match in _URL.finditer(line):
        scheme = match[1].rpartition("+")[2]
        yield _without_user(match[0]), match[2], int(match[3]) if match[3] else _DEFAULTS.get(scheme, 0)
    for match in _HOST_PORT.finditer(line):
        yield match[0], match[1], int(match[2])
    bare = _BARE.fullmatch(line.strip())
    if bare and ".svc" not in line:
        yield bare[0], bare[1], int(bare[2])


def _port_follows(line: str, token: str, text: str) -> bool:
    """Whether the port is written behind a variable that keeps the URL: `set $backend http://x;` `$backend:80`."""
    before = line[: line.find(token)] if token in line else ""
    named = _VARIABLE.search(before)
    return named is not None and re.search(rf"\$\{{?{re.escape(named[1])}\}}?:\d", text) is not None


def _without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _mismatch(service: Service, token: str, port: int) -> Finding:
    return Finding(
        f"the Service {service.name} does not listen on port {port}",
        code="port-mismatch",
        found=token,
        expected=f"port {service.shown_ports}",
        hint="write the port that the Service has into the URL",
    )


Backend = tuple[str, str, object, str]


def _backends(manifest: Manifest) -> Iterator[Backend]:
    """Services that objects hand requests to: namespace, name, port (number or name; None: any), field path."""
    home, spec = manifest.namespace, mapping(manifest.body.get("spec"))
    if manifest.kind == "Ingress":
        for path, backend in _ingress_backends(spec):
            service = mapping(backend.get("service"))
            port = mapping(service.get("port"))
            if service:
                yield home, str(service.get("name", "")), port.get("number", port.get("name")), path
    elif manifest.kind in {"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"}:
        for number, rule in enumerate(entries(spec.get("rules"))):
            for backend in entries(rule.get("backendRefs")):
                if backend.get("kind", "Service") == "Service":
                    where = f"spec.rules[{number}].backendRefs"
                    yield (
                        str(backend.get("namespace") or home),
                        str(backend.get("name", "")),
                        backend.get("port"),
                        where,
                    )
    elif manifest.kind.endswith("WebhookConfiguration"):
        for number, hook in enumerate(entries(manifest.body.get("webhooks"))):
            service = mapping(mapping(hook.get("clientConfig")).get("service"))
            if service:
                where = f"webhooks[{number}].clientConfig.service"
                yield str(service.get("namespace", "")), str(service.get("name", "")), service.get("port", 443), where
    elif manifest.kind == "APIService":
        service = mapping(spec.get("service"))
        if service:
            yield (
                str(service.get("namespace", "")),
                str(service.get("name", "")),
                service.get("port", 443),
                "spec.service",
            )


def _ingress_backends(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "spec.defaultBackend", mapping(spec.get("defaultBackend"))
    for number, rule in enumerate(entries(spec.get("rules"))):
        for index, path in enumerate(entries(mapping(rule.get("http")).get("paths"))):
            yield f"spec.rules[{number}].http.paths[{index}].backend", mapping(path.get("backend"))


def _faults_of(services: Services, manifest: Manifest, backend: Backend) -> Iterator[Finding]:
    namespace, name, port, path = backend
    service = services.get(namespace, name)
    where = str(place(manifest, path))
    if service is None:
        yield Finding(
            f"the Service {namespace}/{name} is needed, and nobody makes it",
            where,
            "missing-service",
            hint="name a Service that is there, or add it",
        )
    elif port is not None and not service.external and not _has_port(service, port):
        yield Finding(
            f"the Service {service.name} has no port {port}",
            where,
            "port-mismatch",
            expected=f"port {service.shown_ports}",
            hint="name a port that the Service has",
        )


def _has_port(service: Service, port: object) -> bool:
    return any(
        port in (entry.get("port"), entry.get("name")) or str(entry.get("port")) == str(port) for entry in service.ports
    )
