"""What a node's container runtime must be told so that it pulls from the private registry. Pure.

Unchanged upstream names (`docker.io/library/redis:7.2`) then come from the registry, and so do names of the registry
itself; nothing asks the internet for an upstream that is mirrored. Forms: containerd `docs/hosts.md`; k3s and RKE2
"Private Registry Configuration"; containers-registries.conf(5); Docker "Verify repository client with certificates".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airbundle.bundle.reference import host_path

CONTAINERD, K3S, RKE2, CRIO, DOCKER = "containerd", "k3s", "rke2", "crio", "docker"
CERTS_D = "/etc/containerd/certs.d"
_SHARED = "/registries.yaml"
CA_FILE = "/etc/airbundle/registry-ca.crt"


@dataclass(frozen=True)
class Mirrored:
    """The registry, as nodes see it.

    Attributes:
        url: `https://host[:port]`, or `http://…`.
        prefix: what repositories begin with.
        upstreams: `host[:port]` of the registries whose images it has, sorted.
        ca: its CA certificates, PEM; empty where the nodes' own trust is enough.
        unverified: whether any certificate is taken.
    """

    url: str
    prefix: str
    upstreams: tuple[str, ...]
    ca: str = field(default="", repr=False)
    unverified: bool = False

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def path_of(self, upstream: str) -> str:
        """Return the path at the registry below which an upstream's repositories lie."""
        return "/".join(part for part in (self.prefix, host_path(upstream)) if part)


@dataclass(frozen=True)
class NodeSetup:
    """What is written on a node.

    Attributes:
        files: path → text.
        shared: those of them in which others may have settings, too.
        needs: what must be so for the runtime to read them, and what must be restarted, for people; one line each.
        units: the runtime's services, of which one runs on a node.
        at_start: whether they read the files only when they start.
        restarting: how they are made to: `restart` or `reload`.
    """

    runtime: str
    files: Mapping[str, str] = field(repr=False)
    shared: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    at_start: bool = False
    restarting: str = "restart"


def node_setup(runtime: str, mirrored: Mirrored) -> NodeSetup:
    """Return what a node of a runtime needs.

    Args:
        runtime: one of `RUNTIMES`.
        mirrored: the registry.
    """
    files, needs = _FORMS[runtime]
    found = dict(sorted(files(mirrored)))
    shared = frozenset(path for path in found if path.endswith(_SHARED))
    units = _UNITS.get(runtime, ())
    at_start = bool(units) and runtime != CONTAINERD
    return NodeSetup(runtime, found, shared, needs, units, at_start, "reload" if runtime == CRIO else "restart")


def _containerd(mirrored: Mirrored) -> Iterator[tuple[str, str]]:
    for upstream in mirrored.upstreams:
        yield from _hosts_toml(upstream, f"{mirrored.url}/v2/{mirrored.path_of(upstream)}", mirrored, override=True)
    if mirrored.host not in mirrored.upstreams:
        yield from _hosts_toml(mirrored.host, mirrored.url, mirrored, override=False)


def _hosts_toml(host: str, url: str, mirrored: Mirrored, *, override: bool) -> Iterator[tuple[str, str]]:
    name, colon, port = host.rpartition(":")
    directory = f"{CERTS_D}/{name}_{port}_" if colon and "]" not in port else f"{CERTS_D}/{host}"
    # Without `server` containerd would ask the upstream itself when the registry lacks something.
    lines = [f"server = {json.dumps(url)}", "", f"[host.{json.dumps(url)}]", 'capabilities = ["pull", "resolve"]']
    lines += ["override_path = true"] if override else []
    lines += ['ca = "ca.crt"'] if mirrored.ca else []  # beside this file
    lines += ["skip_verify = true"] if mirrored.unverified else []
    yield f"{directory}/hosts.toml", "\n".join(lines) + "\n"
    if mirrored.ca:
        yield f"{directory}/ca.crt", mirrored.ca


def _rancher(flavour: str) -> Callable[[Mirrored], Iterator[tuple[str, str]]]:
    def files(mirrored: Mirrored) -> Iterator[tuple[str, str]]:
        mirrors = {
            upstream: {"endpoint": [mirrored.url], "rewrite": {"^(.*)$": f"{mirrored.path_of(upstream)}/$1"}}
            for upstream in mirrored.upstreams
        }
        tls = {"ca_file": CA_FILE} if mirrored.ca else {}
        tls_all = {**tls, **({"insecure_skip_verify": True} if mirrored.unverified else {})}
        body = {"mirrors": {**mirrors, mirrored.host: {"endpoint": [mirrored.url]}}}
        configs = {"configs": {mirrored.host: {"tls": tls_all}}} if tls_all else {}
        # JSON is YAML.
        yield f"/etc/rancher/{flavour}/registries.yaml", json.dumps({**body, **configs}, indent=2) + "\n"
        if mirrored.ca:
            yield CA_FILE, mirrored.ca

    return files


def _crio(mirrored: Mirrored) -> Iterator[tuple[str, str]]:
    insecure = "insecure = true\n" if mirrored.unverified or mirrored.url.startswith("http://") else ""
    entries = [
        f"[[registry]]\nprefix = {json.dumps(upstream)}\n"
        f"location = {json.dumps(f'{mirrored.host}/{mirrored.path_of(upstream)}')}\n{insecure}"
        for upstream in mirrored.upstreams
        if upstream != mirrored.host
    ]
    entries += [f"[[registry]]\nlocation = {json.dumps(mirrored.host)}\n{insecure}"] if insecure else []
    yield "/etc/containers/registries.conf.d/50-airbundle.conf", "\n".join(entries)
    if mirrored.ca:
        yield f"/etc/containers/certs.d/{mirrored.host}/ca.crt", mirrored.ca


def _docker(mirrored: Mirrored) -> Iterator[tuple[str, str]]:
    if mirrored.ca:
        yield f"/etc/docker/certs.d/{mirrored.host}/ca.crt", mirrored.ca


_Files = Callable[[Mirrored], Iterator[tuple[str, str]]]
_FORMS: Mapping[str, tuple[_Files, tuple[str, ...]]] = {
    CONTAINERD: (
        _containerd,
        (
            f"containerd reads them at once where its config.toml has config_path = {CERTS_D!r}; where that is new, "
            "restart it: systemctl restart containerd",
        ),
    ),
    K3S: (_rancher("k3s"), ("restart k3s on the node: systemctl restart k3s, or k3s-agent",)),
    RKE2: (_rancher("rke2"), ("restart RKE2 on the node: systemctl restart rke2-server, or rke2-agent",)),
    CRIO: (_crio, ("have CRI-O read them: systemctl reload crio",)),
    DOCKER: (
        _docker,
        ("Docker has mirrors for Docker Hub only: name the private registry in what you deploy (`airbundle render`)",),
    ),
}
_UNITS = {CONTAINERD: ("containerd",), K3S: ("k3s", "k3s-agent"), RKE2: ("rke2-server", "rke2-agent"), CRIO: ("crio",)}
RUNTIMES: Sequence[str] = tuple(_FORMS)
