"""install --registry container as the operator runs it, on a real Docker engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from airbundle.installer.container import container_name
from tests.cli.test_install import Site, error_text, skopeo_digest
from tests.cli.test_support import look_into
from tests.installer.bundles import Key, chart, content, sign_and_write
from tests.support.engine import Engine, registry_image
from tests.support.images import tiny_image
from tests.support.process import free_port

REDIS = tiny_image("redis")
IMAGES = {"docker.io/library/registry:2.8.2": registry_image(), "docker.io/library/redis:7.2": REDIS}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    made = content(IMAGES, charts={"charts.example.org/app:1.0.0": chart("app", "1.0.0")}, signer=key.signer)
    return sign_and_write(tmp_path_factory.mktemp("bundle") / "test-1.0.0.airbundle", made, key)


def test_the_whole_way_twice_and_back(bundle: Path, engine_site: Site, docker_engine: Engine) -> None:
    port = free_port()
    arguments = ["--registry", "container", "--container-port", port]
    code, report = engine_site.install(bundle, *arguments)
    assert (code, report["mode"]) == (0, "container"), report
    assert report["registry"]["url"] == f"https://127.0.0.1:{port}"
    host = f"127.0.0.1:{port}"
    assert skopeo_digest(host, engine_site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest
    assert engine_site.get("/charts/index.yaml")
    code, again = engine_site.install(bundle, *arguments)
    assert (code, again["changed"]) == (0, False), again
    assert engine_site.run("status")[0] == 0
    docker_engine.command("kill", container_name(engine_site.state))
    code, status = engine_site.run("status")
    assert code == 3 and "exited" in error_text(status)
    code, document = engine_site.run("support", "-o", engine_site.root / "support.tar.gz")
    assert code == 0 and not document["failed"], document
    found = look_into(engine_site.root / "support.tar.gz")
    assert found["container.json"]["status"] == "exited" and found["log/container.log"]
    assert {each["of"]: each["port"] for each in found["ports.json"]} == {"server": engine_site.port, "container": port}
    code, report = engine_site.install(bundle, *arguments)
    assert (code, report["changed"]) == (0, True), report
    assert skopeo_digest(host, engine_site.ca.parent, "docker.io/library/redis:7.2") == REDIS.digest


def test_without_an_engine(bundle: Path, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    site = Site(tmp_path, key)
    code, document = site.install(bundle, "--registry", "container", "--container-port", free_port())
    assert (code, document["outcome"]) == (6, "unchanged"), document
    assert not site.state.exists()


def test_a_bundle_without_a_registry(
    tmp_path: Path, key: Key, docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    path = sign_and_write(tmp_path / "x.airbundle", content({"docker.io/library/redis:7.2": REDIS}), key)
    site = Site(tmp_path, key)
    code, document = site.install(path, "--registry", "container", "--container-port", free_port())
    assert code == 6 and "registry" in error_text(document)
    assert not site.state.exists()
