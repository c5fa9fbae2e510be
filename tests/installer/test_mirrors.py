"""What runtimes are told, in their own forms."""

from __future__ import annotations

import json

import pytest

from airbundle.installer.mirrors import CA_FILE, RUNTIMES, Mirrored, node_setup

REGISTRY = Mirrored("https://reg.site:5443", "mirror", ("docker.io", "h.example:5000"), "PEM\n")


def test_containerd_has_a_directory_an_upstream_and_never_asks_upstream() -> None:
    files = node_setup("containerd", REGISTRY).files
    top = "/etc/containerd/certs.d"
    assert sorted(files) == [
        f"{top}/{host}/{name}"
        for host in ("docker.io", "h.example_5000_", "reg.site_5443_")
        for name in ("ca.crt", "hosts.toml")
    ]
    assert files[f"{top}/h.example_5000_/hosts.toml"] == (
        'server = "https://reg.site:5443/v2/mirror/h.example_5000"\n\n'
        '[host."https://reg.site:5443/v2/mirror/h.example_5000"]\n'
        'capabilities = ["pull", "resolve"]\noverride_path = true\nca = "ca.crt"\n'
    )
    assert "override_path" not in files[f"{top}/reg.site_5443_/hosts.toml"]


@pytest.mark.parametrize("flavour", ["k3s", "rke2"])
def test_rancher_rewrites_below_the_upstream(flavour: str) -> None:
    setup = node_setup(flavour, REGISTRY)
    path = f"/etc/rancher/{flavour}/registries.yaml"
    body = json.loads(setup.files[path])
    assert body["mirrors"]["h.example:5000"] == {
        "endpoint": ["https://reg.site:5443"],
        "rewrite": {"^(.*)$": "mirror/h.example_5000/$1"},
    }
    assert body["configs"] == {"reg.site:5443": {"tls": {"ca_file": CA_FILE}}}
    assert setup.shared == {path}
    assert any("restart" in need for need in setup.needs)


def test_crio_and_docker() -> None:
    crio = node_setup("crio", REGISTRY).files
    assert 'location = "reg.site:5443/mirror/docker.io"' in crio["/etc/containers/registries.conf.d/50-airbundle.conf"]
    assert crio["/etc/containers/certs.d/reg.site:5443/ca.crt"] == "PEM\n"
    assert node_setup("docker", REGISTRY).files == {"/etc/docker/certs.d/reg.site:5443/ca.crt": "PEM\n"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plain_registry_and_one_that_all_trust_need_no_ca(runtime: str) -> None:
    files = node_setup(runtime, Mirrored("http://reg.site", "", ("quay.io",))).files
    assert not any("ca.crt" in path or "ca.crt" in text for path, text in files.items())
    if runtime == "crio":
        assert all("insecure = true" in text for text in files.values())


def test_any_certificate_where_that_was_asked_for() -> None:
    unverified = Mirrored("https://reg.site", "", ("quay.io",), unverified=True)
    assert (
        "skip_verify = true" in node_setup("containerd", unverified).files["/etc/containerd/certs.d/quay.io/hosts.toml"]
    )
    assert '"insecure_skip_verify": true' in node_setup("k3s", unverified).files["/etc/rancher/k3s/registries.yaml"]
