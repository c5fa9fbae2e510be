"""The cluster that the other tests here stand on: that it is real, reached from here, and cut off where it is ours."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from airbundle.transfer.cluster import Resource, open_cluster
from tests.support.sealed import CHECKOUT, Failed, Site


def test_its_nodes_are_ready(site: Site) -> None:
    items = site.get("nodes")["items"]
    assert [item["metadata"]["name"] for item in items] == list(site.nodes)
    conditions = [each for item in items for each in item["status"]["conditions"] if each["type"] == "Ready"]
    assert [each["status"] for each in conditions] == ["True"] * len(site.nodes)


def test_its_api_is_reached_from_this_process(site: Site) -> None:
    with open_cluster(site.kubeconfig) as cluster:
        found = [item["metadata"]["name"] for item in cluster.objects(Resource("v1", "nodes", "Node"))]
    assert sorted(found) == sorted(site.nodes)


def test_this_checkout_runs_on_the_operators_host(site: Site) -> None:
    assert site.airbundle("--version").stdout.startswith("airbundle ")
    assert site.python("import airbundle; print(airbundle.__file__)").strip() == str(CHECKOUT / "airbundle/__init__.py")


def test_a_failed_command_tells_what_it_said(site: Site) -> None:
    with pytest.raises(Failed, match=r"ended with 3(.|\n)*so much for that"):
        site.host("sh", "-c", "echo so much for that >&2; exit 3")
    assert site.host("sh", "-c", "exit 3", check=False).returncode == 3


def test_a_started_command_is_gone_when_it_is_killed(site: Site, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    process = site.start("sh", "-c", f"while sleep 0.05; do date >> {beat}; done")
    while not beat.exists():
        time.sleep(0.05)
    process.kill()
    process.wait()
    found = subprocess.run(["pgrep", "-f", str(beat)], check=False, capture_output=True, text=True)
    assert found.stdout == ""


def test_a_sealed_cluster_is_cut_off(site: Site) -> None:
    if not site.sealed:
        pytest.skip("the cluster of KUBECONFIG may have a way out")
    code = "import socket; socket.create_connection(('192.0.2.1', 443), timeout=5)"
    for number in range(1, len(site.nodes) + 1):
        done = site.node(number, "python3", "-c", code, check=False)
        assert "Network is unreachable" in done.stderr


def test_nodes_have_files_of_their_own(site: Site) -> None:
    if not site.sealed:
        pytest.skip("nothing is written to nodes that are not ours")
    site.node(1, "touch", "/etc/airbundle-test")
    assert site.node(2, "ls", "/etc/airbundle-test", check=False).returncode != 0
    assert not Path("/etc/airbundle-test").exists()
