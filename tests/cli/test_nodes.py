"""`airbundle nodes` after a real install: containerd pulls unchanged upstream names from the site's registry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_install import REDIS, Site, bundle, site
from tests.support.containerd import run_containerd

__all__ = ["bundle", "site"]


@pytest.fixture
def ctr(tmp_path: Path) -> Iterator[list[str]]:
    """A containerd of its own; the words that begin a `ctr` command."""
    directory = tmp_path / "containerd"
    directory.mkdir()
    with run_containerd(directory) as command:
        yield command


def test_containerd_pulls_unchanged_names(site: Site, bundle: Path, ctr: list[str], tmp_path: Path) -> None:
    assert site.install(bundle)[0] == 0
    script, root = tmp_path / "nodes.sh", tmp_path / "node"
    code, answer = site.run("nodes", "-o", script)
    assert code == 0, answer
    assert (answer["upstreams"], answer["address"], answer["changed"]) == (["docker.io", "quay.io"], "", True)
    assert site.run("nodes", "-o", script)[1]["changed"] is False
    root.mkdir()
    done = subprocess.run(
        ["sh", script, "apply"], env={**os.environ, "ROOT": str(root)}, capture_output=True, check=True
    )
    assert b"docker.io/hosts.toml" in done.stdout
    hosts = ["--hosts-dir", str(root / "etc/containerd/certs.d")]
    for name in ("docker.io/library/redis:7.2", f"127.0.0.1:{site.port}/docker.io/library/redis:7.2"):
        fetched = subprocess.run([*ctr, "content", "fetch", *hosts, name], capture_output=True, check=False)
        assert fetched.returncode == 0, fetched.stderr.decode()
        images = subprocess.run([*ctr, "images", "list"], capture_output=True, check=True).stdout.decode()
        assert any(line.split()[:1] == [name] and REDIS.digest in line for line in images.splitlines())


def test_the_script_goes_to_standard_output(site: Site, bundle: Path) -> None:
    assert site.install(bundle, "--domain", "shop.internal")[0] == 0
    code, answer = site.run("nodes", "--runtime", "k3s", "--address", "10.1.2.3")
    assert code == 0
    assert answer["script"].startswith("#!/bin/sh")
    assert "10.1.2.3 registry.shop.internal" in answer["script"]
    assert json.loads(answer["script"].split("AIRBUNDLE-END-OF-FILE'\n")[2].split("\nAIRBUNDLE")[0])["mirrors"]
    plain = subprocess.run(site.command("nodes"), capture_output=True, check=True).stdout.decode()
    assert plain.startswith("#!/bin/sh")


@pytest.mark.parametrize(
    ("words", "said"), [([], "nothing is installed"), (["--address", "registry"], "no IP address")]
)
def test_wrong_usage(site: Site, bundle: Path, words: list[str], said: str) -> None:
    if words:
        assert site.install(bundle)[0] == 0
    code, answer = site.run("nodes", *words)
    assert code == 2
    assert said in answer["errors"][0]["message"]
