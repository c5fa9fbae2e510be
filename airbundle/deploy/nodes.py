"""A cluster's nodes, as its API tells of them: who they are, and what a pod on them could use. Pure.

What the API says is not trusted: names become those of files and pods, so they are held to their grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airbundle.errors import Finding, SiteError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,511}")
_HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]{0,63})@)?"
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,252}))(?::(?P<port>[0-9]{1,5}))?"
)
_CANDIDATES = 3


@dataclass(frozen=True)
class ClusterNode:
    """A node.

    Attributes:
        name: in the cluster.
        addresses: addresses and host names by which it is known.
        ready: whether its kubelet says so.
        unschedulable: whether it is cordoned.
        runtime: such as `k3s`; empty where that can't be told.
        architecture: such as `amd64`.
        boot: id of the boot that its kernel is in.
        images: names of images that it has, those first that fit a pod that borrows all its tools.
    """

    name: str
    addresses: tuple[str, ...] = ()
    ready: bool = False
    unschedulable: bool = False
    runtime: str = ""
    architecture: str = ""
    boot: str = ""
    images: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class SshHost:
    """Where a node's SSH server is; no user and port 0: as ssh's own configuration has it."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Return what `parse_host` reads."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" if self.user else host

    @property
    def whole(self) -> str:
        """What `parse_host` reads, with the port."""
        return f"{self}:{self.port}" if self.port else str(self)


def node_of(body: Mapping[str, Any]) -> ClusterNode:
    """Return a node from what the API says.

    Raises:
        SiteError: its name is none.
    """
    name = str(_map(body, "metadata").get("name"))
    if not _NAME.fullmatch(name):
        raise SiteError(f"the cluster has a node of the name {name!r:.80}, which is none", outcome="unchanged")
    status = _map(body, "status")
    info = _map(status, "nodeInfo")
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in _maps(status, "conditions"))
    return ClusterNode(
        name=name,
        addresses=tuple(str(each.get("address")) for each in _maps(status, "addresses")),
        ready=ready,
        unschedulable=_map(body, "spec").get("unschedulable") is True,
        runtime=_runtime(str(info.get("containerRuntimeVersion")), str(info.get("kubeletVersion"))),
        architecture=str(info.get("architecture") or ""),
        boot=str(info.get("bootID") or ""),
        images=_images(status),
    )


def _runtime(runtime: str, kubelet: str) -> str:
    if "+k3s" in kubelet:
        return "k3s"
    if "+rke2" in kubelet:
        return "rke2"
    name = runtime.partition("://")[0]
    return {"containerd": "containerd", "cri-o": "crio", "docker": "docker"}.get(name, "")


def _images(status: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a pod may run from: the sandbox's image, which no node loses, else the smallest ones."""
    found = []
    for each in _maps(status, "images"):
        listed = each.get("names")
        names = [name for name in (listed if isinstance(listed, list) else ()) if isinstance(name, str)]
        good = [name for name in names if _IMAGE.fullmatch(name) and ":" in name]
        if good:
            # By its tag: older runtimes find no image by a digest that they did not pull by.
            name = min(good, key=lambda name: ("@" in name, len(name)))
            size = each.get("sizeBytes")
            found.append(("pause" not in name, size if isinstance(size, int) else 1 << 62, name))
    return tuple(name for _, _, name in sorted(found)[:_CANDIDATES])


def is_this_host(node: ClusterNode, addresses: Iterable[str], boot: str) -> bool:
    """Tell whether a node is this host: one address, and the same boot of one kernel."""
    return bool(set(node.addresses) & set(addresses)) and (not node.boot or not boot or node.boot == boot)


def parse_host(text: str) -> SshHost | None:
    """Return what `[user@]host[:port]` means; None when it is none. Nothing in it can be an option of ssh."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    return SshHost(match["six"] or match["name"], match["user"] or "", int(match["port"] or 0))


def match_hosts(
    hosts: Sequence[str], nodes: Sequence[ClusterNode], resolve: Callable[[str], Sequence[str]]
) -> tuple[dict[str, SshHost], list[Finding]]:
    """Return node → host of the site file's `nodes.hosts`, and what of it can't be.

    Args:
        hosts: as the site file has them.
        nodes: those to be reached.
        resolve: gives the addresses of a name.
    """
    found: dict[str, SshHost] = {}
    findings = []
    for text in hosts:
        host = parse_host(text)
        if host is None:
            findings.append(_finding(f"{text!r:.80} is no host", "[user@]host[:port]"))
            continue
        known = {host.host, *resolve(host.host)}
        node = next((node for node in nodes if known & {node.name, *node.addresses}), None)
        if node is None:
            findings.append(
                _finding(f"{text} is no node of the cluster", ", ".join(node.name for node in nodes), "warning")
            )
        else:
            found.setdefault(node.name, host)
    return found, findings


def _finding(message: str, expected: str, severity: Literal["error", "warning"] = "error") -> Finding:
    return Finding(message, where="nodes.hosts", code="node-host", expected=expected[:300], severity=severity)


def _map(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = body.get(key)
    return found if isinstance(found, dict) else {}


def _maps(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = body.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
