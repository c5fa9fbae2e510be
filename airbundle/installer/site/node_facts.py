"""What nodes are told at a site, and which way leads to each: by the site file, the bundle and the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from airbundle.bundle.index import IMAGE, ref_of, total_of
from airbundle.bundle.reference import parse_reference
from airbundle.deploy.nodes import ClusterNode, is_this_host, match_hosts, node_of
from airbundle.deploy.zone import zones_of
from airbundle.errors import Finding, SiteError
from airbundle.installer.files import read_file
from airbundle.installer.mirrors import Mirrored
from airbundle.installer.nodes import mirrored_registry
from airbundle.installer.options import URL
from airbundle.installer.places import registry_place
from airbundle.installer.site.node_by_hand import ManualNodes
from airbundle.installer.site.step import SiteRun
from airbundle.store.verified import boot_id
from airbundle.transfer.cluster import Cluster, Resource
from airbundle.transfer.local import addresses_of, host_addresses
from airbundle.transfer.node_access import LocalNode, NodeAccess
from airbundle.transfer.node_access_pod import PodNodes
from airbundle.transfer.node_access_ssh import SshNodes
from airbundle.transfer.pods import Maker

LOCAL, SSH, DAEMONSET, MANUAL = "local", "ssh", "daemonset", "manual"
SCRIPTS = "nodes"
_NODES = Resource("v1", "nodes", "Node", namespaced=False)
_CA_LIMIT = 1024 * 1024
_NOT_YET = "-----BEGIN CERTIFICATE-----\n(made by this install)\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Ways:
    """The nodes of a cluster, and how each is reached.

    Attributes:
        nodes: all of them, by name.
        access: node → its way.
        findings: why nodes have none.
    """

    nodes: tuple[ClusterNode, ...]
    access: dict[str, NodeAccess] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def check(self) -> None:
        """Raise SiteError when a node can't be reached, with all that is found."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            raise SiteError(f"{len(errors)} things keep airbundle from the nodes", outcome="unchanged", findings=errors)


def mirrored(run: SiteRun) -> Mirrored:
    """Return the site's registry as its nodes will see it when the bundle is installed.

    Raises:
        VerificationError, HostError: a kept copy of a bundle, or the CA, can't be read.
    """
    place = registry_place(run.state, run.options)
    prefix = run.options.target.prefix if run.options.target else run.options.prefix
    upstreams = {parse_reference(ref_of(root)).registry for root in run.trusted.bundle.roots(IMAGE)}
    if run.state.read().registry:
        upstreams.update(mirrored_registry(run.state).upstreams)
    ca = _ca(run, place.ca_file) if place.url.startswith("https://") else ""
    return Mirrored(place.url.rstrip("/"), prefix, tuple(sorted(upstreams)), ca, place.unverified)


def _ca(run: SiteRun, kept: str) -> str:
    if not kept:
        return ""
    named = run.options.target.tls.ca_file if run.options.target else ""
    raw = read_file(Path(kept), limit=_CA_LIMIT) or (read_file(Path(named), limit=_CA_LIMIT) if named else None)
    return raw.decode("utf-8", "replace") if raw else _NOT_YET


def registry_name(run: SiteRun) -> str:
    """Return the host name of the site's registry; empty where it has an address alone."""
    name = urlsplit(registry_place(run.state, run.options).url).hostname or ""
    try:
        ip_address(name)
    except ValueError:
        return name
    return ""


def registry_addresses(run: SiteRun) -> tuple[str, ...]:
    """Return the addresses of the registry's name: of the site file's records, else of this host, where it runs here.

    Empty where it has no name, or where somebody else runs it and no record says where it is.
    """
    name = registry_name(run)
    if not name:
        return ()
    for zone in zones_of(run.site.site.dns, name):
        found = zone.addresses(name) if name == zone.name or name.endswith(f".{zone.name}") else ()
        if found:
            return found
    if run.options.mode == URL:
        return ()
    if run.options.here == run.options.host:  # it listens at one address alone
        return (run.options.host,)
    return tuple(address for address in host_addresses() if ":" not in address)[:1]


def cluster_nodes(cluster: Cluster) -> tuple[ClusterNode, ...]:
    """Return the cluster's nodes, by name.

    Raises:
        Unauthorized, RemoteError: they can't be listed.
    """
    return tuple(sorted((node_of(body) for body in cluster.objects(_NODES)), key=lambda node: node.name))


def ways_to(run: SiteRun, nodes: Sequence[ClusterNode], maker: Maker, way: str = "") -> Ways:
    """Return how the nodes are reached: this host itself where it is one and we are root, else as the site file says.

    Args:
        run: the site.
        nodes: of its cluster.
        maker: of pods on the nodes.
        way: another one than the site file's.
    """
    way = way or run.site.site.nodes.access
    direct = way == LOCAL or os.geteuid() == 0
    here = [node for node in nodes if direct and is_here(node)]
    others = [node for node in nodes if node not in here]
    access: dict[str, NodeAccess] = {node.name: LocalNode() for node in here}
    findings: list[Finding] = []
    if way == LOCAL:
        findings += [_unreached(node, "is not this host") for node in others]
    elif way == SSH:
        hosts, findings = match_hosts(run.site.site.nodes.hosts, nodes, addresses_of)
        findings += [
            _unreached(node, "no host of `nodes.hosts` is this node") for node in others if node.name not in hosts
        ]
        access.update({node.name: SshNodes(hosts) for node in others if node.name in hosts})
    elif way == DAEMONSET:
        pods = PodNodes(run.cluster, {node.name: node.images for node in others}, maker)
        findings += [_unreached(node, "it is not Ready, and runs no pod") for node in others if not node.ready]
        access.update({node.name: pods for node in others if node.ready})
    else:
        access.update({node.name: ManualNodes(run.site_state) for node in others})
    return Ways(tuple(nodes), access, tuple(findings))


def probe_images(run: SiteRun) -> tuple[str, ...]:
    """Return the smallest image of each upstream: a node that pulls it by its unchanged name was set up."""
    smallest: dict[str, tuple[int, str]] = {}
    for root in run.trusted.bundle.roots(IMAGE):
        name = ref_of(root)
        upstream = parse_reference(name).registry
        smallest[upstream] = min(smallest.get(upstream, (1 << 62, "")), (total_of(root), name))
    return tuple(name for _, (_, name) in sorted(smallest.items()))


def runtime_findings(run: SiteRun, nodes: Iterable[ClusterNode]) -> list[Finding]:
    """Return which nodes run something else than the site file says."""
    said = run.site.site.nodes.runtime
    return [
        Finding(
            "its runtime is not the one that the site file names",
            where=node.name,
            code="node-runtime",
            found=node.runtime,
            expected=said,
            hint=f"nodes: {{runtime: {node.runtime}}}",
        )
        for node in nodes
        if node.runtime and node.runtime != said
    ]


def is_here(node: ClusterNode) -> bool:
    """Tell whether a node is this host."""
    return is_this_host(node, host_addresses(), boot_id())


def _unreached(node: ClusterNode, why: str) -> Finding:
    return Finding(
        f"no way to this node: {why}",
        where=node.name,
        code="node-access",
        hint="set `nodes.access` of the site file to ssh (with `hosts`), daemonset or manual",
    )
