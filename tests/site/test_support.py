"""`airbundle support` at a site: its journal and deployments, and what its cluster says of the releases."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.site.deployed import World
from tests.support.sealed import Site

BROKEN = """
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  containers: [{name: it, image: "localhost/probe:1", command: [/probe, lookup, "token=hush-hush.invalid"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: never-begun}
spec:
  initContainers: [{name: first, image: "localhost/probe:1", command: [/probe, lookup, nobody.invalid]}]
  containers: [{name: it, image: "localhost/probe:1", command: [/probe, serve]}]
"""


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    made = World(site, tmp_path)
    yield made
    site.kubectl("delete", "namespace", made.namespace, "--ignore-not-found", "--wait=false")
    code, answer = made.command("uninstall", "--yes", "--keep-cluster")
    assert code == 0, answer


def gathered(path: Path) -> dict[str, Any]:
    """Return what is in an archive below `sites/`."""
    found: dict[str, Any] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            stream, name = tar.extractfile(member), member.name.partition("/")[2]
            assert stream is not None
            if name.startswith("sites/"):
                found[name] = json.load(stream) if name.endswith(".json") else stream.read().decode()
    return found


def test_what_a_cluster_says_is_in_it_and_nothing_changes(world: World, site: Site, tmp_path: Path) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    site.kubectl("apply", "-n", world.namespace, "-f", "-", stdin=BROKEN)
    site.kubectl(*("wait", "-n", world.namespace, "pod/broken", "--timeout=60s"),
                 "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")  # fmt: skip
    site.kubectl(*("wait", "-n", world.namespace, "pod/never-begun", "--timeout=60s"),
                 "--for=jsonpath={.status.initContainerStatuses[0].state.waiting.reason}=CrashLoopBackOff")  # fmt: skip
    code, answer = world.command("support", "-o", tmp_path / "s.tar.gz")
    assert (code, answer["failed"]) == (0, []), answer
    found = gathered(tmp_path / "s.tar.gz")
    base = f"sites/{world.site.name}"
    assert [each["version"] for each in found[f"{base}/deployments.json"]] == ["1.0.0"]
    assert "release/app" in found[f"{base}/journal.jsonl"]
    assert {each["conditions"]["Ready"] for each in found[f"{base}/cluster.json"]["nodes"]} == {"True"}
    (pod,) = [each for each in found[f"{base}/{world.namespace}/pods.json"] if each["name"] == "broken"]
    assert pod["trouble"]
    assert any(each["object"] == "Pod/broken" for each in found[f"{base}/{world.namespace}/events.json"])
    assert found[f"{base}/{world.namespace}/log/broken-it.log"]
    # Whether its lines are still there is the kubelet's choice; how it ended is.
    assert found[f"{base}/{world.namespace}/log/never-begun-first.log"]
    (pod,) = [each for each in found[f"{base}/{world.namespace}/pods.json"] if each["name"] == "never-begun"]
    (first, _) = pod["containers"]
    assert first["name"] == "first" and first["lastState"]["terminated"]["exitCode"]
    assert "hush-hush" not in json.dumps(found)


def test_a_cluster_that_is_away_is_told_and_the_rest_is_there(world: World, tmp_path: Path) -> None:
    assert not world.deploy(world.bundle("1.0.0"))
    reached = world.site.cluster()
    assert reached is not None
    world.site.write_cluster(replace(reached, kubeconfig=str(world.kubeconfig_to_nowhere())))
    code, answer = world.command("support", "-o", tmp_path / "s.tar.gz")
    assert code == 0, answer
    base = f"sites/{world.site.name}"
    assert f"{base}/cluster.json" in {each["what"] for each in answer["failed"]}
    assert {f"{base}/deployments.json", f"{base}/journal.jsonl"} <= gathered(tmp_path / "s.tar.gz").keys()
