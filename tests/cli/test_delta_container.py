"""Deltas where the registry is a container that airbundle runs: on a real Docker engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.installer.container import container_name, container_status
from tests.cli.test_delta import KILLED, chart_is_served, digest_of
from tests.cli.test_install import Site, error_text, skopeo_digest
from tests.installer.bundles import Key
from tests.installer.deltas import LAYER, of_version, write_delta, write_signed
from tests.support.engine import Engine, registry_image
from tests.support.images import image, layer
from tests.support.process import free_port

GONE = LAYER.descriptor.digest
REGISTRY = {"docker.io/library/registry:2.8.2": registry_image()}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, key: Key) -> list[Path]:
    """A full bundle, a delta on it, and a delta on that one. The deltas leave out the registry's own layers."""
    directory = tmp_path_factory.mktemp("chain")
    base = write_signed(directory / "test-1.0.0.airbundle", of_version(0, more=REGISTRY), key)
    delta = write_delta(directory / "test-1.1.0.airbundle", of_version(1, more=REGISTRY), base, key)
    second = write_delta(directory / "test-1.2.0.airbundle", of_version(2, more=REGISTRY), delta, key)
    return [base, delta, second]


def pulls(site: Site, port: int, number: int) -> None:
    found = skopeo_digest(f"127.0.0.1:{port}", site.ca.parent, "docker.io/library/redis:7")
    assert found == digest_of(number)


def test_a_chain_on_the_container_that_runs(bundles: list[Path], engine_site: Site, docker_engine: Engine) -> None:
    port = free_port()
    arguments = ["--registry", "container", "--container-port", port]
    for number, path in enumerate(bundles):
        code, report = engine_site.install(path, *arguments)
        assert code == 0, report
        pulls(engine_site, port, number)
    chart_is_served(engine_site)
    code, report = engine_site.install(bundles[-1], *arguments)
    assert (code, report.get("changed")) == (0, False), report
    code, status = engine_site.run("status")
    assert code == 0, status
    assert GONE in {digest for digest, _ in status["blobs"]}
    docker_engine.command("kill", container_name(engine_site.state))
    code, report = engine_site.install(bundles[-1], *arguments)
    assert (code, report.get("changed")) == (0, True), report
    pulls(engine_site, port, 2)


def test_a_registry_that_does_not_run_can_not_be_asked(
    bundles: list[Path], engine_site: Site, docker_engine: Engine
) -> None:
    port = free_port()
    arguments = ["--registry", "container", "--container-port", port]
    assert engine_site.install(bundles[0], *arguments)[0] == 0
    docker_engine.command("kill", container_name(engine_site.state))
    before = {path: path.stat().st_mtime_ns for path in engine_site.state.rglob("*") if path.is_file()}
    code, document = engine_site.install(bundles[1], *arguments)
    assert (code, document["outcome"]) == (3, "unchanged"), document
    assert "be asked for them" in error_text(document) and "exited" in error_text(document)
    assert {path: path.stat().st_mtime_ns for path in engine_site.state.rglob("*") if path.is_file()} == before
    code, report = engine_site.install(bundles[1], *arguments, "--base", bundles[0])
    assert code == 0, report
    pulls(engine_site, port, 1)


def test_a_newer_registry_image_is_made_of_what_the_base_has(
    bundles: list[Path], engine_site: Site, key: Key, tmp_path: Path
) -> None:
    port = free_port()
    arguments = ["--registry", "container", "--container-port", port]
    assert engine_site.install(bundles[0], *arguments)[0] == 0
    old = registry_image()
    newer = image(
        [old.blobs[1], layer({"etc/newer": b"newer"})],
        Volumes={"/var/lib/registry": {}},
        Entrypoint=["/bin/registry"],
        Cmd=["serve", "/etc/docker/registry/config.yml"],
    )
    made = of_version(1, more={"docker.io/library/registry:2.8.3": newer})
    delta = write_delta(tmp_path / "d.airbundle", made, bundles[0], key)
    # The registry has the layer, but an engine is not given layers out of a registry.
    code, document = engine_site.install(delta, *arguments)
    assert (code, document["outcome"]) == (6, "unchanged"), document
    assert "--base" in error_text(document)
    code, report = engine_site.install(delta, *arguments, "--base", bundles[0])
    assert code == 0, report
    pulls(engine_site, port, 1)


def test_a_delta_with_its_base_makes_a_new_site(bundles: list[Path], engine_site: Site) -> None:
    port = free_port()
    arguments = ["--registry", "container", "--container-port", port]
    code, document = engine_site.install(bundles[1], *arguments)
    assert (code, document["outcome"]) == (3, "unchanged"), document
    assert GONE in error_text(document)
    assert not engine_site.state.exists()
    assert container_status(container_name(engine_site.state)) is None
    # Killed when the container runs, and again.
    more = ["--key", engine_site.key.public, "--listen", f"127.0.0.1:{engine_site.port}", "--base", bundles[0]]
    command = engine_site.command("install", bundles[1], *arguments, *more)
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(step="load", event="begin"), *command[3:]],
        capture_output=True,
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, report = engine_site.install(bundles[1], *arguments, "--base", bundles[0])
    assert code == 0, report
    pulls(engine_site, port, 1)
    chart_is_served(engine_site)
