"""prune as the operator runs it, on sites with real servers."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from pathlib import Path
from ssl import create_default_context

import pytest

from airbundle.bundle.index import ref_of
from airbundle.errors import SiteError
from airbundle.installer.service import Service
from airbundle.installer.state import StateDirectory
from tests.cli.test_install import Site, error_text, skopeo_digest
from tests.installer.bundles import Key, content, sign_and_write
from tests.installer.deltas import LAYER, Chain, make_chain, of_version, write_signed
from tests.support.bundles import SERIAL
from tests.support.engine import Engine, registry_image
from tests.support.images import Artifact, image, layer, noise, tiny_image
from tests.support.process import free_port
from tests.support.registries import Registry

OLD = image([layer({"old": noise("old", 12_000_000)}, compression="none")])
REDIS = "docker.io/library/redis"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, key: Key) -> list[Path]:
    """Versions 1.0.0 to 1.2.0; the first has a large image that the others lack."""
    directory = tmp_path_factory.mktemp("full")
    more: list[dict[str, Artifact]] = [{"docker.io/library/old:1": OLD}, {}, {}]
    return [
        write_signed(directory / f"test-1.{number}.0.airbundle", of_version(number, signer=key, more=more[number]), key)
        for number in range(3)
    ]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), key)


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Iterator[Site]:
    made = Site(tmp_path, key)
    yield made
    code, document = made.run("uninstall")
    assert code == 0, document
    assert not made.state.exists()


def redis_of(number: int) -> str:
    """Return the digest of the image that each version has a new one of."""
    (found,) = (root.digest for root in of_version(number).content.index if ref_of(root) == f"{REDIS}:7")
    return found


def names(site: Site) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (site.state / "bundles").iterdir())


def test_the_server_lets_go_of_a_version_and_ends_what_it_began(full: list[Path], site: Site) -> None:
    for path in full:
        assert site.install(path)[0] == 0
    code, plan = site.run("prune", "--dry-run")
    assert (code, plan["changed"], plan["dryRun"]) == (0, False, True), plan
    assert [(each["version"], each["kept"]) for each in plan["versions"]] == [
        ("1.2.0", True),
        ("1.1.0", True),
        ("1.0.0", False),
    ]
    assert names(site) == ["test-1.0.0", "test-1.1.0", "test-1.2.0"]
    blob = OLD.blobs[1].descriptor
    assert blob.size > 10_000_000
    pid = site.server_pid()
    pulling = http.client.HTTPSConnection(
        "127.0.0.1", site.port, timeout=60, context=create_default_context(cafile=str(site.ca))
    )
    pulling.request("GET", f"/v2/docker.io/library/old/blobs/{blob.digest}")
    answer = pulling.getresponse()
    begun = answer.read(1000)
    code, done = site.run("prune")
    assert (code, done["changed"]) == (0, True), done
    assert (done["files"], done["freedBytes"]) == (plan["files"], plan["freedBytes"])
    assert done["freedBytes"] > 12_000_000
    assert begun + answer.read() == OLD.blobs[1].data
    pulling.close()
    assert site.server_pid() == pid
    assert names(site) == ["test-1.1.0", "test-1.2.0"]
    with pytest.raises(OSError, match="404"):
        site.get("/v2/docker.io/library/old/manifests/1")
    for number in (1, 2):
        site.get(f"/v2/{REDIS}/manifests/{redis_of(number)}")
    assert site.run("status")[0] == 0
    code, again = site.run("prune")
    assert (code, again["changed"], again["files"]) == (0, False, []), again
    code, report = site.install(full[2])
    assert (code, report["changed"]) == (0, False), report


def test_cut_off_before_the_server_was_told(full: list[Path], site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in full[:2]:
        assert site.install(path)[0] == 0

    def cut(service: Service) -> None:
        raise SiteError(f"{service.describe()} could not be told")

    with monkeypatch.context() as patch:
        patch.setattr(type(Service.of(StateDirectory(site.state))), "reload", cut)
        code, failed = site.run("prune", "--keep", "1")
    assert (code, failed["outcome"]) == (6, "partial")
    assert names(site) == ["test-1.0.0", "test-1.1.0"] and site.get("/v2/docker.io/library/old/manifests/1")
    code, done = site.run("prune", "--keep", "1")
    assert (code, done["changed"]) == (0, True), done
    with pytest.raises(OSError, match="404"):
        site.get("/v2/docker.io/library/old/manifests/1")
    assert names(site) == ["test-1.1.0"] and site.run("status")[0] == 0


def test_a_copy_that_a_delta_needs_stays(chain: Chain, site: Site) -> None:
    for path in (chain.base, chain.delta, chain.second):
        assert site.install(path)[0] == 0
    code, done = site.run("prune", "--keep", "1")
    assert code == 0, done
    assert [(each["version"], each["kept"]) for each in done["versions"]] == [
        ("1.2.0", True),
        ("1.1.0", False),
        ("1.0.0", True),
    ]
    assert "test 1.2.0 needs" in done["versions"][2]["why"]
    assert site.get(f"/v2/{REDIS}/blobs/{LAYER.descriptor.digest}") == LAYER.data
    assert site.run("status")[0] == 0
    assert not site.run("prune", "--keep", "1")[1]["changed"]


def test_a_supplement_goes_with_its_copy(chain: Chain, full: list[Path], site: Site) -> None:
    assert site.install(chain.delta, "--base", chain.base)[0] == 0
    assert any(path.name.endswith(".supplement") for path in (site.state / "bundles").iterdir())
    assert site.install(full[2])[0] == 0
    code, done = site.run("prune", "--keep", "1")
    assert code == 0 and len(done["files"]) == 2, done
    assert names(site) == ["test-1.2.0"]
    assert site.run("status")[0] == 0


def test_another_registry(full: list[Path], site: Site, empty_registry: Registry) -> None:
    arguments = ["--registry", empty_registry.url, "--registry-ca", empty_registry.ca_file]
    for path in full:
        code, report = site.install(path, *arguments)
        assert code == 0, report
    listed = [path.name for path in empty_registry.stored("tags/1")]
    assert "1" in listed
    code, done = site.run("prune")
    assert (code, done["changed"], done["registry"]["refused"]) == (0, True, False), done
    assert "docker.io/library/old:1" in done["registry"]["tags"] and done["registry"]["stays"] == {}
    assert "garbage" in done["next"][0]
    assert site.run("status")[0] == 0
    for path in full[1:]:
        code, report = site.install(path, *arguments, "--allow-older")
        assert code == 0, report
    certs = site.state / "certs/registry"
    assert skopeo_digest(empty_registry.host, certs, f"{REDIS}:7") == redis_of(2)


def test_the_registry_in_a_container(tmp_path: Path, key: Key, engine_site: Site, docker_engine: Engine) -> None:
    carried = {"docker.io/library/registry:2": registry_image()}
    versions = [{"docker.io/library/old:1": OLD}, {f"{REDIS}:7": tiny_image("redis")}]
    for number, images in enumerate(versions):
        made = content({**carried, **images}, version=f"1.{number}.0", serial=SERIAL + number)
        path = sign_and_write(tmp_path / f"{number}.airbundle", made, key)
        # At another port it is the same registry.
        code, report = engine_site.install(path, "--registry", "container", "--container-port", free_port())
        assert code == 0, report
    code, done = engine_site.run("prune", "--keep", "1")
    assert (code, done["registry"]["tags"]) == (0, ["docker.io/library/old:1"]), done
    (command,) = done["next"]
    words = command.partition("#")[0].split()
    assert words[:2] == ["docker", "exec"]
    told = docker_engine.command(*words[1:])
    assert OLD.blobs[1].descriptor.digest[7:] in str(told)
    assert engine_site.run("status")[0] == 0


def test_where_nothing_is_installed(tmp_path: Path, key: Key) -> None:
    untouched = Site(tmp_path, key)
    for more in ((), ("--dry-run",)):
        code, document = untouched.run("prune", *more)
        assert (code, document["changed"], document["versions"]) == (0, False, [])
    code, document = untouched.run("prune", "--keep", "0")
    assert code == 2 and "at least one" in error_text(document)
    assert not untouched.state.exists()


def test_busy_and_nobody_to_ask(full: list[Path], site: Site) -> None:
    for path in full[:2]:
        assert site.install(path)[0] == 0
    with StateDirectory(site.state).locked("test"):
        assert site.run("prune", "--keep", "1")[0] == 8
        assert site.run("prune", "--dry-run")[0] == 8
    asked = subprocess.run(
        site.command("prune", "--keep", "1"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2 and "--yes" in asked.stderr and "1.0.0" in asked.stderr
    assert names(site) == ["test-1.0.0", "test-1.1.0"]
    told = subprocess.run(
        site.command("prune", "--keep", "1", "--dry-run"), capture_output=True, text=True, check=False
    )
    assert told.returncode == 0 and "test 1.0.0  goes" in told.stdout and "frees" in told.stdout
