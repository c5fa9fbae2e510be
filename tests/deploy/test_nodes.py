"""What is read out of a cluster's nodes, and which hosts of a site file they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.nodes import ClusterNode, SshHost, is_this_host, match_hosts, node_of, parse_host
from airbundle.errors import SiteError


def body(name: str = "node-1", **status: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": name}]
    return {"metadata": {"name": name}, "status": {"addresses": addresses, **status}}


def test_a_node_as_the_api_has_it() -> None:
    images = [
        {"names": ["quay.io/big@sha256:abc", "quay.io/big:1"], "sizeBytes": 1000},
        {"names": ["docker.io/small:1"], "sizeBytes": 10},
        {"names": ["-o evil:1", "x"], "sizeBytes": 1},
        {"names": ["docker.io/tiny:1"], "sizeBytes": 5},
        {"names": ["registry.k8s.io/pause@sha256:abc", "registry.k8s.io/pause:3.10"], "sizeBytes": 700},
        "what",
    ]
    info = {"containerRuntimeVersion": "containerd://1.7", "kubeletVersion": "v1.33.1+k3s1", "architecture": "arm64"}
    node = node_of(body(images=images, nodeInfo=info, conditions=[{"type": "Ready", "status": "True"}]))
    assert node.images == ("registry.k8s.io/pause:3.10", "docker.io/tiny:1", "docker.io/small:1")
    assert (node.ready, node.runtime, node.architecture, node.unschedulable) == (True, "k3s", "arm64", False)
    assert node.addresses == ("10.0.0.1", "node-1")


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "A", "-x", "a" * 260])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SiteError, match="which is none"):
        node_of(body(name))


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_the_api_says_is_read(status: Any) -> None:
    for key in ("images", "addresses", "conditions", "nodeInfo"):
        node_of({"metadata": {"name": "n"}, "status": {key: status}, "spec": status})


def test_hosts_are_found_by_name_and_address() -> None:
    nodes = [ClusterNode("a", ("10.0.0.1",)), ClusterNode("b", ("10.0.0.2", "b.site")), ClusterNode("c", ("fd00::3",))]
    names = {"first.site": ["10.0.0.1"]}
    hosts = ["root@first.site", "b.site:2222", "[fd00::3]:22", "stranger", "-oProxyCommand=reboot", "a b"]
    found, findings = match_hosts(hosts, nodes, lambda name: names.get(name, []))
    assert found == {
        "a": SshHost("first.site", "root"),
        "b": SshHost("b.site", "", 2222),
        "c": SshHost("fd00::3", "", 22),
    }
    assert [finding.severity for finding in findings] == ["warning", "error", "error"]


def test_no_host_is_an_option() -> None:
    assert parse_host("-lroot") is None
    assert parse_host("-x@host") is None
    assert str(parse_host("me@host:22")) == "me@host"


def test_which_node_is_this_host() -> None:
    node = ClusterNode("a", ("10.0.0.1", "a"), boot="x")
    assert is_this_host(node, ["10.0.0.1"], "x")
    assert not is_this_host(node, ["10.0.0.1"], "y")
    assert not is_this_host(node, ["10.0.0.2"], "x")
