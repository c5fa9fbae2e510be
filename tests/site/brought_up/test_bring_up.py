"""From a bare cluster to all checks green by one command, and nothing from outside (issue 6, must show 1 and 2)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.site.bring_up import DOMAIN, NAMESPACE, BroughtUp
from tests.support.real_images import BUSYBOX, NGINX, REDIS
from tests.support.sealed import Site


def test_one_command_without_a_question_brings_everything_up(up: BroughtUp) -> None:
    names = sorted(each["name"] for each in up.report["releases"])
    assert names == ["base", "cert-manager", "edge", "redis", "runner", "web"]
    assert up.site.get("-n", NAMESPACE, "deployment", "web")["status"]["readyReplicas"] == 2


def test_a_second_run_changes_nothing(up: BroughtUp) -> None:
    before = _versions(up.site)
    report = json.loads(up.site.airbundle(*up.words, "--json").stdout)
    assert report["changed"] is False
    assert _versions(up.site) == before


def test_what_runs_is_what_was_signed(up: BroughtUp) -> None:
    pods = up.site.get("-n", NAMESPACE, "pods", "-l", "app in (web, redis, edge)")["items"]
    images = {each["image"] for pod in pods for each in pod["spec"]["containers"]}
    assert images
    assert all(
        re.fullmatch(rf"registry\.{DOMAIN}:5443/docker\.io/\S+:\S+@sha256:[0-9a-f]{{64}}", each) for each in images
    )


def test_a_pod_is_pulled_by_its_unchanged_name_on_each_node(up: BroughtUp) -> None:
    for number, node in enumerate(up.site.nodes):
        _run_pod(up.site, f"plain-{number}", BUSYBOX, "busybox true", node=node)


def test_an_image_that_is_not_in_the_bundle_is_not_to_be_had(up: BroughtUp) -> None:
    up.site.apply(_pod("outside", NGINX, "true"))
    up.site.kubectl(
        *("-n", NAMESPACE, "wait", "pod/outside", "--timeout=120s"),
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull",
    )
    up.site.kubectl("-n", NAMESPACE, "delete", "pod", "outside", "--wait=false")
    assert "/v2/docker.io/library/nginx/manifests/1.22" in up.requests()  # that is who was asked, and nobody else


def test_the_image_of_a_custom_resource_is_pinned_and_runs(up: BroughtUp) -> None:
    image = up.site.get("-n", NAMESPACE, "runner", "one")["spec"]["image"]
    assert re.fullmatch(rf"registry\.{DOMAIN}:5443/{REDIS}@sha256:[0-9a-f]{{64}}", image)
    _run_pod(up.site, "operated", image, "redis-server --version")


def test_a_certificate_of_cert_manager_chains_to_the_sites_ca(up: BroughtUp, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(up.ca())
    code = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
with socket.create_connection((sys.argv[2], 443), timeout=30) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as secured:
        secured.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(secured.makefile().read())
"""
    assert "it runs" in up.site.python(code, ca, up.site.addresses[0], f"www.{DOMAIN}")
    issued = up.site.get("-n", NAMESPACE, "certificate", "edge")
    assert {each["type"]: each["status"] for each in issued["status"]["conditions"]}["Ready"] == "True"


def test_pods_find_the_sites_names(up: BroughtUp) -> None:
    for number, node in enumerate(up.site.nodes):
        said = _run_pod(up.site, f"dns-{number}", BUSYBOX, f"busybox nslookup www.{DOMAIN}", node=node)
        assert all(address in said for address in up.site.addresses)


def test_the_registrys_log_has_every_image_that_was_pulled(up: BroughtUp) -> None:
    """What the nodes have beyond what they had as bare ones was pulled from the registry, by digest or by name."""
    log = up.requests()
    pulled = set(re.findall(r'"GET /v2/(\S+)/manifests/(\S+) HTTP/[\d.]+" 200', log))
    repositories = {name for name, _ in pulled}
    on_nodes = set()
    for node in up.site.get("nodes")["items"]:
        for image in node["status"]["images"]:
            on_nodes |= {name.partition("@")[0] for name in image["names"] if "@" in name}
    ours = {name.partition("/")[2] if name.startswith(f"registry.{DOMAIN}") else name for name in on_nodes}
    preloaded = {name for name in ours if name.startswith(("registry.k8s.io/", "localhost/", "import-"))}
    assert {"docker.io/library/redis", "docker.io/library/busybox", "quay.io/jetstack/cert-manager-webhook"} <= ours
    assert ours - preloaded <= repositories


def _versions(site: Site) -> dict[str, str]:
    kinds = "deployments,statefulsets,daemonsets,services,configmaps,secrets,certificates,clusterissuers,crds"
    items = site.get(kinds, "-A")["items"]
    skipped = {"kube-system", "cert-manager"}  # leases and webhooks' certificates: their owners write as they like
    return {
        f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}": item["metadata"]["uid"]
        + str(item["metadata"].get("generation", item["metadata"]["resourceVersion"]))
        for item in items
        if item["metadata"].get("namespace", "") not in skipped
    }


def _pod(name: str, image: str, command: str, node: str = "") -> str:
    words = command.split()
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "it", "image": image, "command": words, "imagePullPolicy": "Always"}],
    }
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "namespace": NAMESPACE}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def _run_pod(site: Site, name: str, image: str, command: str, node: str = "") -> str:
    """Run a pod to its good end and return what it printed."""
    site.apply(_pod(name, image, command, node))
    site.kubectl("-n", NAMESPACE, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    said = site.kubectl("-n", NAMESPACE, "logs", name)
    site.kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=false")
    return said
