"""deploy.rules.network and names: ports, addresses, hosts, policies, CoreDNS, the registry's name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airbundle.bundle.site import RegistryTarget, SiteDns
from airbundle.deploy.rules import names, network
from tests.deploy.rules.world import COREFILE, SITE, Body, codes, good, named, node, pod, want, workload


def service(name: str = "web", ports: str = "", spec: str = "") -> str:
    head = f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{{spec} ports: [{{port: 80{ports}}}]}}\n---\n"


TAKEN = named("old", "else", spec={"ports": [{"port": 80, "nodePort": 30080}], "clusterIP": "10.96.0.50"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (service(ports=", nodePort: 30081"), []),
        (service(ports=", nodePort: 30080"), ["node-port"]),
        (service(ports=", nodePort: 30080, protocol: UDP"), []),
        (service("a", ", nodePort: 30090") + service("b", ", nodePort: 30090"), ["node-port"]),
        (service(spec="clusterIP: 10.96.0.50,"), ["cluster-ip"]),
        (service(spec="clusterIP: None,"), []),
    ],
)
def test_ports_and_addresses_of_services(text: str, found: list[str]) -> None:
    assert codes(network.node_ports, good({"Service": [TAKEN]}), want(text)) == found


def test_our_own_service_may_keep_its_port() -> None:
    own = named("web", "shop", spec={"ports": [{"port": 80, "nodePort": 30080}], "clusterIP": "10.96.0.7"})
    assert codes(network.node_ports, good({"Service": [own]}), want(service(ports=", nodePort: 30080"))) == []


def test_load_balancers() -> None:
    text = service(spec="type: LoadBalancer,")
    assert codes(network.balancers, good(), want(text)) == ["load-balancer"]
    assert codes(network.balancers, good(), want(service())) == []
    assert codes(network.balancers, good({"Pod": [pod("metallb-controller-1")]}), want(text)) == []
    given = named("x", "y", status={"loadBalancer": {"ingress": [{"ip": "10.0.0.99"}]}})
    assert codes(network.balancers, good({"Service": [given]}), want(text)) == []


HOST_PORT = "ports: [{containerPort: 80, hostPort: 80}]"


@pytest.mark.parametrize(
    ("text", "running", "nodes", "found"),
    [
        (workload(container=HOST_PORT), [], 1, []),
        (workload(container=HOST_PORT), [pod("p", ports=[{"containerPort": 8080, "hostPort": 80}])], 1, ["host-port"]),
        (workload(container=HOST_PORT), [pod("p", ports=[{"containerPort": 8080, "hostPort": 80}])], 2, []),
        (
            workload("DaemonSet", container=HOST_PORT),
            [pod("p", ports=[{"containerPort": 8080, "hostPort": 80}])],
            2,
            ["host-port"],
        ),
        (workload(container="ports: [{containerPort: 80}]", spec="hostNetwork: true"), [], 1, []),
        (
            workload("DaemonSet", container=HOST_PORT) + workload("DaemonSet", container=HOST_PORT, name="b"),
            [],
            1,
            ["host-port"],
        ),
    ],
)
def test_ports_of_nodes(text: str, running: list[Body], nodes: int, found: list[str]) -> None:
    facts = good({"Pod": running, "Node": [node(f"node{number}") for number in range(1, nodes + 1)]})
    assert codes(network.host_ports, facts, want(text)) == found


def ingress(name: str, namespace: str, host: str) -> Body:
    rules = [{"host": host, "http": {"paths": [{"path": "/"}]}}]
    return named(name, namespace, spec={"rules": rules})


def test_hosts_of_ingresses() -> None:
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n"
        "spec: {rules: [{host: chat.berlin.internal, http: {paths: [{path: /}]}}]}\n"
    )
    taken = ingress("theirs", "else", "chat.berlin.internal")
    assert codes(network.ingresses, good({"Ingress": [taken]}), want(text)) == ["ingress-host"]
    own = ingress("web", "shop", "chat.berlin.internal")
    assert codes(network.ingresses, good({"Ingress": [own]}), want(text)) == []


@pytest.mark.parametrize(
    ("namespace", "spec", "found"),
    [
        ("shop", {"podSelector": {}, "policyTypes": ["Egress"]}, ["network-policy"]),
        ("shop", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}]}, ["network-policy"]),
        ("shop", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, []),
        ("shop", {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"]}, []),
        ("else", {"podSelector": {}, "policyTypes": ["Egress"]}, []),
    ],
)
def test_policies_that_close_a_namespace(namespace: str, spec: Body, found: list[str]) -> None:
    facts = good({"NetworkPolicy": [named("deny", namespace, spec=spec)]})
    assert codes(network.policies, facts, want(workload())) == found


@pytest.mark.parametrize(
    ("addresses", "internal", "found"),
    [
        (("10.0.0.5",), "10.0.0.11", []),
        (("10.244.0.77",), "10.0.0.11", ["network-overlap"]),
        (("10.244.0.1",), "10.0.0.11", []),  # the bridge of the host's own pods
        (("fd00::5", "no address"), "10.244.0.9", ["network-overlap"]),
    ],
)
def test_ranges(addresses: tuple[str, ...], internal: str, found: list[str]) -> None:
    one = node()
    one["status"]["addresses"] = [{"type": "InternalIP", "address": internal}, {"type": "Hostname", "address": "x"}]
    assert codes(network.ranges, good({"Node": [one]}, addresses=addresses), want()) == found


@pytest.mark.parametrize(
    ("corefile", "pods", "found"),
    [
        (COREFILE, 1, []),
        (COREFILE.replace(".:53 {", ". {"), 1, []),
        ("", 1, ["dns-missing"]),
        ("forward . 8.8.8.8\n", 1, ["dns-form"]),
        (COREFILE.replace("}\n    reload", "\n    reload"), 1, ["dns-form"]),
        (COREFILE, 0, ["dns-down"]),
    ],
)
def test_coredns(corefile: str, pods: int, found: list[str]) -> None:
    running = [pod("coredns-1", "kube-system", labels={"k8s-app": "kube-dns"})] * pods
    assert codes(names.coredns, good({"Pod": running}, corefile=corefile), want()) == found
    without = want(site=replace(SITE, dns=SiteDns()), registry="10.0.0.7:5000")
    assert codes(names.coredns, good({"Pod": running}, corefile=corefile), without) == []


def test_a_zone_that_somebody_else_serves() -> None:
    taken = COREFILE + "berlin.internal:53 {\n    forward . 10.0.0.53\n}\n"
    assert codes(names.coredns, good(corefile=taken), want()) == ["dns-form"]


def test_records_that_cannot_be() -> None:
    site = replace(SITE, dns=SiteDns(zone="berlin.internal", records={"a": ("10.0.0.1", "b.berlin.internal")}))
    assert codes(names.coredns, good(), want(site=site)) == ["dns-record"]


EXTERNAL = replace(SITE, registry=RegistryTarget(mode="external", url="https://registry.site:5000"))


@pytest.mark.parametrize(
    ("mode", "registry", "resolved", "found"),
    [
        ("here", "registry.berlin.internal:5443", (), []),
        ("here", "registry.berlin.internal:5443", ("10.0.0.5",), []),
        ("here", "registry.berlin.internal:5443", ("10.0.0.99",), ["registry-name"]),
        ("external", "registry.site:5000", ("10.0.0.99",), []),
        ("external", "registry.site:5000", (), ["registry-name"]),
        ("external", "10.0.0.7:5000", (), []),
    ],
)
def test_the_name_of_the_registry(mode: str, registry: str, resolved: tuple[str, ...], found: list[str]) -> None:
    wanted = want(site=EXTERNAL if mode == "external" else SITE, registry=registry)
    assert codes(names.registry, good(resolved=resolved), wanted) == found


def test_a_record_of_the_site_file_says_where_the_registry_is() -> None:
    site = replace(SITE, dns=SiteDns(zone="berlin.internal", records={"registry": ("10.0.0.99",)}))
    assert codes(names.registry, good(resolved=("10.0.0.99",)), want(site=site)) == []
