"""The registry's names are those of an earlier bundle again, also where the registry is not airbundle's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context

import httpx
import pytest

from airbundle.installer.journal import Journal
from airbundle.installer.served import is_served, lacking_images, open_kept, serve_back
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT
from tests.cli.test_install import BASE, Site
from tests.installer.bundles import Key, chart, content, sign_and_write
from tests.support.engine import Engine, registry_image
from tests.support.images import Artifact, tiny_image
from tests.support.process import free_port
from tests.support.registries import PASSWORD, USER, Registry

OURS = "docker.io/library/registry:2.8.2"
REDIS = "docker.io/library/redis:7.2"
SHARED = "docker.io/library/shared:1"
GAUGE = "docker.io/library/gauge:1"


def image(name: str) -> Artifact:
    return tiny_image(name, shared=[BASE])


def trusting(ca: Path) -> SSLContext:
    return create_default_context(cafile=str(ca))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Mapping[str, Path]:
    """Two versions of `test`, and `tools`, which has the name of an image with them."""
    root = tmp_path_factory.mktemp("bundles")
    registry = {OURS: registry_image()}

    def write(name: str, version: str, serial: int, images: Mapping[str, Artifact]) -> Path:
        charts = {f"charts.example.org/{name}:{version}": chart(name, version)}
        made = content(
            {**registry, **images}, charts=charts, signer=key.signer, name=name, version=version, serial=serial
        )
        return sign_and_write(root / f"{name}-{version}.airbundle", made, key)

    return {
        "1.0.0": write("test", "1.0.0", 1767225600, {REDIS: image("redis-old"), SHARED: image("shared-old")}),
        "1.1.0": write("test", "1.1.0", 1767225700, {REDIS: image("redis-new"), SHARED: image("shared-new")}),
        "tools": write("tools", "9.0.0", 1767225800, {GAUGE: image("gauge"), SHARED: image("shared-tools")}),
    }


@dataclass
class Host:
    """A host, the registry that it loads into, and how that is asked for."""

    site: Site
    url: str
    ca: Path
    arguments: list[object]
    prefix: str = ""
    auth: tuple[str, str] | None = None

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(self.site.state)

    def install(self, bundle: Path, *more: object) -> None:
        code, report = self.site.install(bundle, *more)
        assert code == 0, report

    def digest(self, name: str) -> str:
        """Return what the registry has under the name of an image."""
        repository, _, tag = name.rpartition(":")
        path = f"/v2/{self.prefix}{repository}/manifests/{tag}"
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        with httpx.Client(verify=trusting(self.ca), trust_env=False, auth=self.auth) as client:
            answer = client.get(self.url + path, headers=accept)
        assert answer.status_code == 200, answer.text
        return answer.headers["Docker-Content-Digest"]

    def back(self, version: str) -> bool:
        """Serve an earlier version again; return whether anything changed."""
        (found,) = {each.statement for each in self.state.read().bundles if each.version == version}
        journal = Journal(self.state.journal)
        with self.state.locked("test"), open_kept(self.state, found) as trusted:
            assert not lacking_images(self.state, trusted, SILENT)
            changed = serve_back(self.state, trusted, found, journal, SILENT)
        assert is_served(self.state, found)
        return changed


@pytest.fixture(params=["embedded", "container", "url", "login"])
def host(request: pytest.FixtureRequest, tmp_path: Path, key: Key) -> Iterator[Host]:
    if request.param == "container":
        engine: Engine = request.getfixturevalue("docker_engine")
        request.getfixturevalue("monkeypatch").setenv("DOCKER_HOST", engine.url)
        port = free_port()
        site = Site(tmp_path, key)
        made = Host(
            site, f"https://127.0.0.1:{port}", site.ca, ["--registry", "container", "--container-port", str(port)]
        )
    elif request.param == "embedded":
        site = Site(tmp_path, key)
        made = Host(site, site.url, site.ca, [])
    else:
        site = Site(tmp_path, key)
        kind = "empty_registry" if request.param == "url" else "basic_registry"
        registry: Registry = request.getfixturevalue(kind)
        assert registry.ca_file
        made = Host(site, registry.url, registry.ca_file, ["--registry", registry.url])
        if request.param == "url":
            made.arguments += ["--registry-ca", registry.ca_file]
        else:
            file = tmp_path / "registries.yaml"
            file.write_text(json.dumps(registry.registries_yaml()))
            made.prefix, made.auth = "back/", (USER, PASSWORD)
            made.arguments += ["--registries", file, "--registry-ca", registry.ca_file, "--prefix", "back"]
    yield made
    code, document = made.site.run("uninstall")
    assert code == 0, document


def test_names_are_those_of_the_earlier_version_again_and_forth(host: Host, bundles: Mapping[str, Path]) -> None:
    host.install(bundles["1.0.0"], *host.arguments)
    host.install(bundles["1.1.0"])
    assert host.digest(REDIS) == image("redis-new").digest
    assert host.back("1.0.0")
    assert (host.digest(REDIS), host.digest(SHARED)) == (image("redis-old").digest, image("shared-old").digest)
    assert not host.back("1.0.0")
    code, status = host.site.run("status")
    assert code == 0, status["findings"]
    assert host.back("1.1.0")
    assert host.digest(REDIS) == image("redis-new").digest


def test_names_of_another_bundle_stay_its_own(host: Host, bundles: Mapping[str, Path]) -> None:
    host.install(bundles["1.0.0"], *host.arguments)
    host.install(bundles["1.1.0"])
    host.install(bundles["tools"])
    assert host.back("1.0.0")
    assert host.digest(REDIS) == image("redis-old").digest
    assert (host.digest(SHARED), host.digest(GAUGE)) == (image("shared-tools").digest, image("gauge").digest)
    assert [each.version for each in host.state.read().bundles] == ["9.0.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize("host", ["url", "login"], indirect=True)
def test_an_image_that_the_registry_lost_is_told(host: Host, bundles: Mapping[str, Path]) -> None:
    host.install(bundles["1.0.0"], *host.arguments)
    host.install(bundles["1.1.0"])
    lost = image("redis-old").digest
    with httpx.Client(verify=trusting(host.ca), trust_env=False, auth=host.auth) as client:
        repository = f"{host.prefix}docker.io/library/redis"
        assert client.delete(f"{host.url}/v2/{repository}/manifests/{lost}").status_code == 202
    statement = next(each.statement for each in host.state.read().bundles if each.version == "1.0.0")
    with open_kept(host.state, statement) as trusted:
        (finding,) = lacking_images(host.state, trusted, SILENT)
    assert REDIS in finding.message and lost in finding.message
