"""Nodes: there, ready, of the runtime that the site file says, and of platforms that the bundle carries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from airbundle.bundle.semver import parse_version
from airbundle.deploy.facts import VERSION, Body, SiteFacts, known
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.templates import condition, containers_of, is_ready, name_of, refusals, template_of
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import mapping

_PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")
_SKEW = 3
"""Minor versions that a kubelet may be older than the API server (Version Skew Policy)."""
_RUNTIMES = {"containerd": "containerd", "k3s": "containerd", "rke2": "containerd", "crio": "cri-o", "docker": "docker"}


def ready(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield when no node can take pods, and nodes that are not as they should be."""
    del wanted
    nodes = facts.all("Node")
    if not any(is_ready(node) and mapping(node.get("spec")).get("unschedulable") is not True for node in nodes):
        yield told(
            "node-none",
            "no node takes pods",
            where="cluster",
            found=f"{len(nodes)} nodes" if nodes else "no node",
            expected="a node that is ready and not cordoned",
            hint="`kubectl get nodes` shows them; `kubectl describe node` says why",
        )
    for node in nodes:
        yield from _of_node(node)


def _of_node(node: Body) -> Iterator[Finding]:
    where = f"node {name_of(node)}"
    if not is_ready(node):
        why = condition(node, "Ready")
        found = str(why.get("message") or why.get("reason") or "no condition Ready")[:200]
        hint = "its container runtime and kubelet must run; take it out of the cluster if it is gone for good"
        yield told("node-not-ready", "the node is not ready", where=where, found=found, hint=hint)
    if mapping(node.get("spec")).get("unschedulable") is True:
        hint = f"`kubectl uncordon {name_of(node)}` where it is to take pods"
        yield told("node-cordoned", "the node takes no pods: it is cordoned", where=where, hint=hint)
    for kind in _PRESSURES:
        if condition(node, kind).get("status") == "True":
            found = f"{kind}: {str(condition(node, kind).get('message') or '')[:200]}"
            hint = "free what it lacks: pods are evicted from it, and images are removed"
            yield told("node-pressure", "the node is short of something", where=where, found=found, hint=hint)


def kubelets(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield kubelets too old for the API server, and runtimes other than the site file's."""
    api = parse_version(known(facts.version, VERSION))
    runtime = wanted.site.nodes.runtime
    for node in facts.all("Node"):
        info, where = mapping(mapping(node.get("status")).get("nodeInfo")), f"node {name_of(node)}"
        version = str(info.get("kubeletVersion") or "")[:60]
        own = parse_version(version)
        if api and own and (own.major != api.major or not 0 <= api.minor - own.minor <= _SKEW):
            yield told(
                "node-version",
                "the node's kubelet does not go with the API server",
                where=where,
                found=version,
                expected=f"{_SKEW} minor versions older than {api.major}.{api.minor} at most, and no newer",
                hint="upgrade the node",
            )
        found = str(info.get("containerRuntimeVersion") or "")[:60]
        kind = "k3s" if "k3s" in version + found else "rke2" if "rke2" in version else ""
        named = found.partition("://")[0]
        if found and (named != _RUNTIMES.get(runtime, named) or (kind and kind != runtime)):
            told_as = kind or {"cri-o": "crio"}.get(named, named)
            yield told(
                "node-runtime",
                "the site file names another container runtime: what it is told would be written where nobody reads it",
                where=where,
                found=f"{found}, kubelet {version}",
                expected=runtime,
                hint=f"write `nodes: {{runtime: {told_as}}}` into the site file",
            )


def access(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the nodes that the site file gives no way to."""
    nodes = [name_of(node) for node in facts.all("Node")]
    setting = wanted.site.nodes
    if setting.access == "local" and len(nodes) > 1:
        yield told(
            "node-access",
            f"`nodes.access: local` reaches this host only, of {len(nodes)} nodes",
            where=f"{wanted.site.where} nodes.access",
            found=listed(nodes),
            expected="ssh, daemonset or manual",
            hint="on the other nodes the script of `airbundle nodes` must be run by hand, or they can't pull",
        )


def architectures(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the images that nodes may be told to run and that the bundle lacks for their platform."""
    nodes = [(node, _platform(node)) for node in facts.all("Node")]
    lacking: dict[tuple[str, str], set[str]] = defaultdict(set)
    users: dict[tuple[str, str], str] = {}
    for _, manifest in wanted.acting:
        template = template_of(manifest)
        if template is None:
            continue
        images = {str(body.get("image")) for _, body in containers_of(template.spec)} & wanted.platforms.keys()
        for node, platform in nodes:
            for image in images:
                carried = wanted.platforms[image]
                if carried and platform not in carried and not refusals(template, node):
                    lacking[image, platform].add(name_of(node))
                    users.setdefault((image, platform), str(manifest))
    for (image, platform), names in sorted(lacking.items()):
        yield told(
            "node-architecture",
            f"{image} is not carried for {platform}, and pods of it may come to such nodes",
            where=users[image, platform],
            found=f"nodes {listed(sorted(names))}",
            expected=listed(sorted(wanted.platforms[image])),
            hint="carry the platform (`platforms` of bundle.yaml), or give the pods a nodeSelector kubernetes.io/arch",
        )


def _platform(node: Body) -> str:
    info = mapping(mapping(node.get("status")).get("nodeInfo"))
    return f"{info.get('operatingSystem', 'linux')}/{info.get('architecture', '')}"
