"""Ports, addresses and hosts that are taken; policies and address ranges that stand between; load balancers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Union

from airbundle.deploy.facts import Body, SiteFacts
from airbundle.deploy.rules.catalogue import listed, told
from airbundle.deploy.rules.placement import is_gone, templates_of
from airbundle.deploy.templates import containers_of, name_of, namespace_of, refusals
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules.scene import entries, mapping

_BALANCERS = ("metallb", "kube-vip", "svclb", "klipper", "servicelb", "cloud-controller", "cilium-operator", "porter")
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_HERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def node_ports(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield NodePorts and cluster addresses that another Service has, and Services that nobody gives an address."""
    taken: dict[tuple[str, int], str] = {}
    addresses: dict[str, str] = {}
    for service in facts.all("Service"):
        name = f"{namespace_of(service)}/{name_of(service)}"
        _take(service, name, taken, addresses)
    for manifest in wanted.of_kind("Service"):
        name = f"{manifest.namespace}/{manifest.name}"
        spec = mapping(manifest.body.get("spec"))
        for number, port in enumerate(entries(spec.get("ports"))):
            key = (str(port.get("protocol") or "TCP"), port.get("nodePort"))
            other = taken.get(key) if isinstance(key[1], int) else None  # type: ignore[arg-type]  # seen by isinstance
            if other and other != name:
                yield told(
                    "node-port",
                    f"the NodePort {key[1]} is another Service's",
                    where=f"{manifest}: spec.ports[{number}].nodePort",
                    found=other,
                    hint="name another port in the site's values, or none: the cluster chooses one",
                )
        address = str(spec.get("clusterIP") or "")
        if addresses.get(address, name) != name:
            yield told(
                "cluster-ip",
                f"the address {address} is another Service's",
                where=f"{manifest}: spec.clusterIP",
                found=addresses[address],
                hint="leave it out in the site's values: the cluster chooses one",
            )
        _take(manifest.body, name, taken, addresses)


def _take(service: Body, name: str, taken: dict[tuple[str, int], str], addresses: dict[str, str]) -> None:
    spec = mapping(service.get("spec"))
    for port in entries(spec.get("ports")):
        if isinstance(port.get("nodePort"), int):
            taken.setdefault((str(port.get("protocol") or "TCP"), port["nodePort"]), name)
    if spec.get("clusterIP") not in (None, "", "None"):
        addresses.setdefault(str(spec["clusterIP"]), name)


def balancers(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the Services of type LoadBalancer where nothing is seen that gives addresses."""
    waiting = [
        each for each in wanted.of_kind("Service") if mapping(each.body.get("spec")).get("type") == "LoadBalancer"
    ]
    if not waiting:
        return
    given = any(
        mapping(mapping(each.get("status")).get("loadBalancer")).get("ingress") for each in facts.all("Service")
    )
    names = [name_of(each) for each in facts.all("Pod")] + [manifest.name for _, manifest in wanted.acting]
    if not given and not any(part in name for name in names for part in _BALANCERS):
        yield told(
            "load-balancer",
            "nothing is seen in the cluster that gives Services addresses",
            where=listed([str(each) for each in waiting], 3),
            expected="MetalLB, kube-vip or the like",
            hint="carry one, or use type NodePort in the site's values",
        )


def host_ports(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield ports of nodes that pods ask for and that other pods have on all nodes that would take them."""
    templates = templates_of(wanted)
    asking = [(each, list(_host_ports(each.spec))) for each in templates]
    if not any(ports for _, ports in asking):
        return
    taken: dict[str, dict[tuple[str, int], str]] = {name_of(node): {} for node in facts.all("Node")}
    for pod in facts.all("Pod"):
        node = str(mapping(pod.get("spec")).get("nodeName") or "")
        if node in taken and not is_gone(pod, templates):
            name = f"Pod {namespace_of(pod)}/{name_of(pod)}"
            taken[node].update({port: name for _, port in _host_ports(mapping(pod.get("spec")))})
    for template, ports in asking:
        fitting = [name_of(node) for node in facts.all("Node") if not refusals(template, node)]
        for place, port in ports:
            held = {node: taken[node][port] for node in fitting if port in taken[node]}
            if held and (template.is_daemon or len(held) == len(fitting)):
                yield told(
                    "host-port",
                    f"the node's port {port[1]}/{port[0]} is taken",
                    where=f"{template.manifest}: {template.path}.{place}",
                    found=listed([f"{node}: {name}" for node, name in sorted(held.items())], 3),
                    hint="name another port in the site's values, or end what has it",
                )
            if template.is_daemon:
                for node in fitting:
                    taken[node].setdefault(port, str(template.manifest))


def _host_ports(spec: Body) -> Iterator[tuple[str, tuple[str, int]]]:
    shared = spec.get("hostNetwork") is True
    for place, container in containers_of(spec):
        for number, port in enumerate(entries(container.get("ports"))):
            value = port.get("hostPort", port.get("containerPort") if shared else None)
            if isinstance(value, int) and value and str(port.get("hostIP") or "") in _HERE:
                yield f"{place}.ports[{number}]", (str(port.get("protocol") or "TCP"), value)


def ingresses(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield hosts and paths that an Ingress of somebody else serves already."""
    taken: dict[tuple[str, str], str] = {}
    for each in facts.all("Ingress"):
        for pair in _served(each):
            taken.setdefault(pair, f"{namespace_of(each)}/{name_of(each)}")
    for manifest in wanted.of_kind("Ingress"):
        name = f"{manifest.namespace}/{manifest.name}"
        for host, path in _served(manifest.body):
            if taken.get((host, path), name) != name:
                yield told(
                    "ingress-host",
                    f"{host}{path} is served by another Ingress: which one answers is chance",
                    where=str(manifest),
                    found=taken[host, path],
                    hint="name another host in the site's values",
                )


def _served(ingress: Body) -> Iterator[tuple[str, str]]:
    for rule in entries(mapping(ingress.get("spec")).get("rules")):
        for path in entries(mapping(rule.get("http")).get("paths")):
            if rule.get("host"):
                yield str(rule["host"]), str(path.get("path") or "/")


def policies(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the NetworkPolicies of others that keep all pods of a namespace from asking, or from being asked."""
    ours = {(manifest.namespace, manifest.name) for manifest in wanted.of_kind("NetworkPolicy")}
    for each in facts.all("NetworkPolicy"):
        home, spec = namespace_of(each), mapping(each.get("spec"))
        if home not in wanted.namespaces or (home, name_of(each)) in ours or mapping(spec.get("podSelector")):
            continue
        kinds = spec.get("policyTypes")
        types = kinds if isinstance(kinds, list) else ["Ingress"]
        closed = [kind for kind in ("Ingress", "Egress") if kind in types and not spec.get(kind.lower())]
        if closed:
            yield told(
                "network-policy",
                f"the policy lets no pod of the namespace {' or '.join(_DOES[kind] for kind in closed)}",
                where=f"NetworkPolicy {home}/{name_of(each)}",
                hint="see that others let DNS, the registry, and what the releases need of each other, through",
            )


_DOES: Mapping[str, str] = {"Ingress": "be asked", "Egress": "ask anybody, not even DNS"}


def ranges(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield this host's and the nodes' addresses that lie in a range of pods: answers to them go astray."""
    del wanted
    pods = [
        (name_of(node), network)
        for node in facts.all("Node")
        for network in map(_network, mapping(node.get("spec")).get("podCIDRs") or ())
        if network is not None
    ]
    own = [("this host", address) for address in facts.addresses]
    own += [
        (f"node {name_of(node)}", str(each.get("address")))
        for node in facts.all("Node")
        for each in entries(mapping(node.get("status")).get("addresses"))
        if each.get("type") in {"InternalIP", "ExternalIP"}
    ]
    for who, text in own:
        address = _address(text)
        inside = next((name for name, network in pods if address is not None and address in network), None)
        # A bridge of the node itself has the first address of its own range.
        if inside is not None and not (who == "this host" and _is_gateway(address, pods)):
            yield told(
                "network-overlap",
                "the address lies in the range of pods",
                where=who,
                found=f"{text}, in the range of {inside}",
                hint="give the cluster another range of pods, or the host another address",
            )


def _network(text: object) -> Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_gateway(address: Address | None, pods: Sequence[tuple[str, Network]]) -> bool:
    return any(address in {network[0], network[1]} for _, network in pods)
