"""The registry in a container, on a real engine: it runs, comes back, is changed, rolled back and taken away."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.errors import (
    AirbundleError,
    DigestMismatch,
    Finding,
    HostError,
    NoPermission,
    SiteError,
    Unreachable,
    UsageError,
)
from airbundle.installer import container_run
from airbundle.installer.container import (
    NAME,
    ContainerConfig,
    container_name,
    container_status,
    ensure_container,
    find_problems,
    remove_container,
)
from airbundle.installer.state import SYSTEM
from airbundle.store.reader import BundleFile, open_bundle
from tests.installer.containers import (
    APP,
    NEWER,
    REDIS,
    REGISTRY,
    Site,
    app,
    other_registry_image,
    write,
    write_delta,
    zstd_registry_image,
)
from tests.support.engine import Engine, registry_image
from tests.support.images import tiny_image
from tests.support.process import free_port
from tests.support.registry3 import MISSING, registry3, registry3_image
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleFile]:
    with open_bundle([write(tmp_path_factory.mktemp("bundle") / "x.airbundle")]) as opened:
        yield opened


@pytest.fixture
def site(docker_engine: Engine, authority: Authority, bundle: BundleFile, tmp_path: Path) -> Iterator[Site]:
    """A site of its own on this worker's engine; nothing runs yet."""
    issued = authority.issue()
    config = ContainerConfig(
        certificate=issued.cert,
        key=issued.key,
        ca_file=authority.ca_file,
        host="127.0.0.1",
        port=free_port(),
        name=f"{NAME}-{secrets.token_hex(4)}",
    )
    made = Site(docker_engine, authority, config, bundle, tmp_path)
    yield made
    remove_container(config.name, keep_volume=False, environ=docker_engine.env)


def status_of(site: Site) -> str:
    status = container_status(site.config.name, environ=site.engine.env)
    return status.state if status else "none"


class TestRunning:
    def test_what_is_loaded_comes_back(self, site: Site) -> None:
        running = site.ensure()
        assert running == replace(
            running, url=site.config.here, changed=True, image=REGISTRY, container=site.config.name
        )
        result = site.load()
        assert result.changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        assert site.pull("quay.io/team/app:v1") == app().digest
        again = site.load()
        assert (again.changed, again.sent) == (False, 0)

    def test_again_changes_nothing(self, site: Site) -> None:
        site.ensure()
        before = site.inspect()
        assert not site.ensure().changed
        after = site.inspect()
        assert (after["Id"], after["State"]) == (before["Id"], before["State"])

    def test_what_it_may_and_what_it_keeps(self, site: Site) -> None:
        site.ensure()
        found = site.inspect()
        host = found["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["CapDrop"] == ["ALL"]
        assert host["PortBindings"] == {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(site.config.port)}]}
        assert [(mount["Type"], mount["Name"], mount["Destination"]) for mount in found["Mounts"]] == [
            ("volume", site.config.volume, "/var/lib/registry")
        ]
        # The key is nowhere in what the engine tells of the container.
        assert "PRIVATE" not in str(found)

    def test_what_was_deleted_and_collected_is_loaded_again(self, site: Site) -> None:
        site.ensure()
        site.load()
        redis = tiny_image("redis")
        repository, blob = "/v2/docker.io/library/redis", redis.blobs[1].descriptor.digest
        with site.client() as http:
            assert http.delete(f"{repository}/manifests/{redis.digest}").status_code == 202
            assert http.head(f"{repository}/blobs/{blob}").status_code == 200
            site.engine.command("exec", site.config.name, "registry", "garbage-collect", "/airbundle/config.yml")
            # No cache promises what is gone.
            assert http.head(f"{repository}/blobs/{blob}").status_code == 404
        assert site.load().sent == len(redis.blobs)
        assert site.pull("docker.io/library/redis:7.2") == redis.digest

    def test_two_sites_share_an_engine(self, site: Site) -> None:
        site.ensure()
        other = replace(site, config=replace(site.config, name=f"{site.config.name}-other", port=free_port()))
        other.ensure()
        assert site.answers()
        assert remove_container(other.config.name, keep_volume=False, environ=site.engine.env)
        assert site.answers()
        assert not site.ensure().changed

    def test_names_of_state_directories(self, tmp_path: Path) -> None:
        assert container_name(SYSTEM) == "airbundle-registry"
        assert container_name(tmp_path) == container_name(tmp_path) != container_name(tmp_path / "x")
        assert container_name(tmp_path).startswith("airbundle-registry-")


class TestComingBack:
    def test_after_its_process_is_killed(self, site: Site) -> None:
        site.ensure()
        site.load()
        before = site.inspect()
        os.kill(before["State"]["Pid"], signal.SIGKILL)

        def restarted() -> bool | None:
            found = site.inspect()
            return (found["State"]["Running"] and found["RestartCount"] > before["RestartCount"]) or None

        site.engine.process.wait_for(restarted, what="the container")
        site.wait()
        assert not site.ensure().changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest

    def test_after_the_engine_restarts(self, site: Site) -> None:
        site.ensure()
        site.load()
        site.engine.restart()
        site.wait()
        assert not site.ensure().changed
        assert site.pull("quay.io/team/app:v1") == app().digest

    def test_what_an_operator_stopped_stays_stopped_until_ensured(self, site: Site) -> None:
        site.ensure()
        before = site.inspect()
        site.engine.command("stop", site.config.name)
        site.engine.restart()
        assert status_of(site) == "exited"
        assert site.ensure().changed
        assert site.inspect()["Id"] == before["Id"]
        assert site.answers()

    def test_what_is_paused_goes_on(self, site: Site) -> None:
        site.ensure()
        before = site.inspect()["Id"]
        site.engine.command("pause", site.config.name)
        assert site.ensure().changed
        assert (site.inspect()["Id"], status_of(site)) == (before, "running")

    def test_one_that_cannot_start_again_is_made_anew(self, site: Site) -> None:
        site.ensure()
        site.load()
        name = site.config.name
        site.engine.command("cp", "/etc/hostname", f"{name}:/airbundle/tls.key")
        site.engine.command("restart", "--time", "1", name)
        # Between two attempts the engine counts it as running, without a network: it can't be renamed then.
        site.engine.process.wait_for(lambda: site.inspect()["RestartCount"] >= 4 or None, what="some attempts")
        assert site.ensure().changed
        assert site.containers() == [name]
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest


class TestChange:
    def test_a_new_certificate(self, site: Site) -> None:
        site.ensure()
        site.load()
        site.new_certificate()
        assert site.ensure().changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        served = ssl.get_server_certificate(("127.0.0.1", site.config.port))
        assert served.strip() in site.config.certificate.read_text()
        assert not site.ensure().changed
        assert site.containers() == [site.config.name]

    def test_another_port(self, site: Site) -> None:
        site.ensure()
        site.load()
        before = site.config.port
        site.change(port=free_port())
        assert site.ensure().changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", before)):
            pass

    def test_another_image(self, site: Site, tmp_path: Path) -> None:
        site.ensure()
        site.load()
        used = site.inspect()["Config"]["Image"]
        images = {REGISTRY: registry_image(), NEWER: other_registry_image()}
        with open_bundle([write(tmp_path / "newer.airbundle", images)]) as newer:
            running = site.ensure(newer)
            assert (running.changed, running.image) == (True, NEWER)
            assert not site.ensure(newer).changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        assert used not in site.engine.command("images", "--format", "{{.Repository}}:{{.Tag}}")

    def test_the_image_that_is_asked_for(self, site: Site, tmp_path: Path) -> None:
        with open_bundle(
            [write(tmp_path / "x.airbundle", {REGISTRY: registry_image(), NEWER: other_registry_image()})]
        ) as two:
            site.change(image="registry:2")
            assert site.ensure(two).image == REGISTRY

    def test_a_bundle_without_a_registry_keeps_the_one_that_runs(self, site: Site, tmp_path: Path) -> None:
        site.ensure()
        image = site.inspect()["Image"]
        with open_bundle([write(tmp_path / "x.airbundle", {REDIS: tiny_image("redis")})]) as without:
            assert list(find_problems(without, name=site.config.name, environ=site.engine.env)) == []
            assert site.ensure(without) == replace(site.ensure(), changed=False)
            site.new_certificate()
            assert site.ensure(without).changed
            assert (site.inspect()["Image"], site.ensure().changed) == (image, False)
            site.change(image="registry:2")
            with pytest.raises(UsageError, match="has no image"):
                site.ensure(without)

    def test_a_delta_without_the_layers(self, site: Site, tmp_path: Path) -> None:
        with open_bundle([write_delta(tmp_path / "delta.airbundle")]) as opened:
            with pytest.raises(SiteError, match="is a delta and leaves out 1 of its layers") as caught:
                site.ensure(opened)
            hint = "install its base, test 0.9.0, first, or give it with --base"
            assert (caught.value.outcome, caught.value.hint) == ("unchanged", hint)
            site.ensure()
            assert not site.ensure(opened).changed

    def test_data_outlive_the_container(self, site: Site) -> None:
        site.ensure()
        site.load()
        assert remove_container(site.config.name, keep_volume=True, environ=site.engine.env)
        assert (site.containers(), site.volumes()) == ([], [site.config.volume])
        assert site.ensure().changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest


class TestRollBack:
    def busy(self) -> socket.socket:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        return listener

    def test_a_port_that_is_busy(self, site: Site) -> None:
        with self.busy() as listener:
            site.change(port=listener.getsockname()[1])
            with pytest.raises(SiteError, match=f"can't be published at 127.0.0.1:{site.config.port}: ") as caught:
                site.ensure()
        assert "listens there" in caught.value.problem
        assert f"pid {os.getpid()}" in caught.value.problem
        assert (caught.value.outcome, caught.value.exit_code) == ("rolled-back", 6)
        assert "--container-port" in caught.value.hint
        assert (site.containers(), site.volumes()) == ([], [])

    def test_an_address_of_another_host(self, site: Site) -> None:
        site.change(host="192.0.2.1")
        with pytest.raises(SiteError, match=r"this host has no address 192\.0\.2\.1"):
            site.ensure()

    def test_the_one_before_runs_again(self, site: Site) -> None:
        site.ensure()
        site.load()
        before = site.config
        with self.busy() as listener:
            site.change(port=listener.getsockname()[1])
            with pytest.raises(SiteError) as caught:
                site.ensure()
        assert caught.value.outcome == "rolled-back"
        site.config = before
        site.wait()
        assert site.containers() == [before.name]
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        assert not site.ensure().changed

    def test_one_that_dies_at_once(self, site: Site) -> None:
        site.ensure()
        good = site.config
        key = site.directory / "bad.key"
        key.write_text("no key")
        site.change(key=key)
        with pytest.raises(SiteError, match=r"ended at once; .*tls: failed to find any PEM data") as caught:
            site.ensure()
        assert caught.value.outcome == "rolled-back"
        site.config = good
        site.wait()
        assert not site.ensure().changed

    def test_one_that_dies_at_once_leaves_nothing(self, site: Site) -> None:
        site.change(key=site.config.certificate)
        with pytest.raises(SiteError, match="ended at once"):
            site.ensure()
        assert (site.containers(), site.volumes()) == ([], [])

    def test_a_certificate_of_another_ca(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(container_run, "START_SECONDS", 0.5)
        site.change(ca_file=Authority(tmp_path / "other").ca_file)
        with pytest.raises(SiteError, match=r"does not answer at .*certificate is not trusted") as caught:
            site.ensure()
        assert caught.value.outcome == "rolled-back"

    def test_an_interrupt(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.ensure()
        before = site.inspect()["Id"]

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        site.new_certificate()
        with monkeypatch.context() as patch:
            patch.setattr(container_run, "_ask", interrupt)
            with pytest.raises(KeyboardInterrupt):
                site.ensure()
        site.wait()
        assert (site.containers(), site.inspect()["Id"]) == ([site.config.name], before)

    @pytest.mark.parametrize("new", [False, True])
    def test_a_run_that_was_killed_in_the_middle(self, site: Site, new: bool) -> None:
        site.ensure()
        site.load()
        name = site.config.name
        for step in (["rename", name, f"{name}-before"], ["stop", f"{name}-before"]):
            site.engine.command(*step)
        if new:
            labels = ["--label", "dev.airbundle.role=registry"]
            site.engine.command("create", "--name", name, *labels, "registry:2", "serve", "/none")
        assert site.ensure().changed
        assert site.containers() == [name]
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest


class TestRefusals:
    def test_a_damaged_layer(self, site: Site, tmp_path: Path) -> None:
        path = write(tmp_path / "x.airbundle", {REGISTRY: other_registry_image()})
        with open_bundle([path]) as whole:
            member = max(whole.table, key=lambda each: each.size)
        with path.open("r+b") as stream:
            stream.seek(member.offset + member.size - 1)
            last = stream.read(1)
            stream.seek(member.offset + member.size - 1)
            stream.write(bytes([last[0] ^ 1]))
        images = sorted(site.engine.command("images", "-a", "-q").split())
        with open_bundle([path]) as damaged:
            with pytest.raises(DigestMismatch, match=REGISTRY) as caught:
                site.ensure(damaged)
        assert (caught.value.outcome, caught.value.exit_code) == ("unchanged", 5)
        assert sorted(site.engine.command("images", "-a", "-q").split()) == images
        assert site.containers() == []

    def test_a_container_that_is_not_ours(self, site: Site) -> None:
        site.engine.command("create", "--name", site.config.name, "registry:2")
        try:
            with pytest.raises(SiteError, match="airbundle did not make") as caught:
                site.ensure()
            assert caught.value.outcome == "unchanged"
            with pytest.raises(SiteError, match="airbundle did not make"):
                remove_container(site.config.name, keep_volume=False, environ=site.engine.env)
            assert container_status(site.config.name, environ=site.engine.env) is None
            assert [found.code for found in self.problems(site)] == ["container"]
            assert site.containers() == [site.config.name]
        finally:
            site.engine.command("rm", site.config.name)

    def test_a_volume_that_is_not_ours(self, site: Site) -> None:
        site.engine.command("volume", "create", site.config.volume)
        try:
            with pytest.raises(SiteError, match=f"volume {site.config.volume} that airbundle did not make"):
                site.ensure()
            with pytest.raises(SiteError, match="airbundle did not make"):
                remove_container(site.config.name, keep_volume=False, environ=site.engine.env)
        finally:
            site.engine.command("volume", "rm", site.config.volume)

    def problems(self, site: Site, bundle: BundleFile | None = None) -> list[Finding]:
        found = find_problems(bundle or site.bundle, name=site.config.name, environ=site.engine.env)
        return list(found)

    def test_nothing_is_in_the_way(self, site: Site) -> None:
        assert self.problems(site) == []
        site.ensure()
        assert self.problems(site) == []

    def test_zstd_layers(self, site: Site, tmp_path: Path) -> None:
        with open_bundle([write(tmp_path / "x.airbundle", {REGISTRY: zstd_registry_image()})]) as packed:
            with pytest.raises(SiteError, match=r"packed with zstd, which the Docker engine \S+ can't load") as caught:
                site.ensure(packed)
            assert caught.value.outcome == "unchanged"
            assert "gzip" in caught.value.hint

    def test_no_registry_in_the_bundle(self, site: Site, tmp_path: Path) -> None:
        with open_bundle([write(tmp_path / "x.airbundle", {REDIS: tiny_image("redis")})]) as without:
            with pytest.raises(SiteError, match="carries no registry") as caught:
                site.ensure(without)
            assert caught.value.outcome == "unchanged"
            (finding,) = find_problems(without, environ=site.engine.env)
        assert finding.code == "container"
        assert "bundle.yaml" in finding.hint

    def test_no_certificate(self, site: Site) -> None:
        site.change(certificate=site.directory / "none.crt")
        with pytest.raises(UsageError, match=r"none\.crt: there is no such file") as caught:
            site.ensure()
        assert caught.value.outcome == "unchanged"

    def test_no_engine(self, site: Site, tmp_path: Path) -> None:
        environ = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
        with pytest.raises(Unreachable, match="no Docker engine answers") as caught:
            ensure_container(site.bundle, site.config, environ=environ)
        assert (caught.value.outcome, caught.value.exit_code) == ("unchanged", 6)
        (finding,) = find_problems(site.bundle, environ=environ)
        assert "systemctl start docker" in finding.hint

    def test_a_socket_that_this_user_may_not_use(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: socket.socket, address: object) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr("socket.socket.connect", refuse)
            with pytest.raises(NoPermission) as caught:
                site.ensure()
            (finding,) = find_problems(site.bundle, environ=site.engine.env)
        assert (caught.value.outcome, caught.value.exit_code) == ("unchanged", 7)
        assert (finding.code, "group `docker`" in finding.hint) == ("permission", True)

    def test_without_the_sdk(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, "docker", None)
            with pytest.raises(HostError, match="docker SDK") as caught:
                site.ensure()
        assert (caught.value.outcome, caught.value.exit_code) == ("unchanged", 7)
        assert "pip" not in caught.value.hint


class TestTakingAway:
    def test_everything(self, site: Site) -> None:
        site.ensure()
        image = site.inspect()["Config"]["Image"]
        assert remove_container(site.config.name, keep_volume=False, environ=site.engine.env)
        assert (site.containers(), site.volumes()) == ([], [])
        assert image not in site.engine.command("images", "--format", "{{.Repository}}:{{.Tag}}")
        assert not remove_container(site.config.name, keep_volume=False, environ=site.engine.env)

    def test_status(self, site: Site) -> None:
        assert container_status(site.config.name, environ=site.engine.env) is None
        site.ensure()
        status = container_status(site.config.name, environ=site.engine.env)
        assert status is not None
        assert (status.state, status.restarts, status.image, status.problem) == ("running", 0, REGISTRY, "")
        assert (status.volume, status.started[:2]) == (site.config.volume, "20")
        site.engine.command("kill", site.config.name)
        status = container_status(site.config.name, environ=site.engine.env)
        assert status is not None
        assert status.state == "exited"
        assert "is exited; exit code 137" in status.problem
        assert "HTTP/" not in status.problem, "requests that were answered are no reason"


def test_registry_3(site: Site, tmp_path: Path) -> None:
    program = registry3()
    if program is None:
        pytest.skip(MISSING)
    sparse = app()
    images = {"docker.io/library/registry:3.0.0": registry3_image(program), REDIS: tiny_image("redis"), APP: sparse}
    with open_bundle([write(tmp_path / "x.airbundle", images, carried={APP: sparse.children[:1]})]) as bundle:
        site.bundle = bundle
        assert site.ensure().image.endswith(":3.0.0")
        # It takes an index of which only one platform is carried.
        assert site.load().sparse == {}
        assert not site.load().changed
        assert site.pull("docker.io/library/redis:7.2") == tiny_image("redis").digest
        with site.client() as http:
            found = http.get("/v2/quay.io/team/app/manifests/v1", headers={"Accept": sparse.descriptor.media_type})
            assert found.content == sparse.raw
            path = f"/v2/docker.io/library/redis/manifests/{tiny_image('redis').digest}"
            assert http.delete(path).status_code == 202
        assert not site.ensure().changed


def test_a_sparse_index_in_registry_2(site: Site, tmp_path: Path) -> None:
    sparse = app()
    images = {REGISTRY: registry_image(), APP: sparse}
    with open_bundle([write(tmp_path / "x.airbundle", images, carried={APP: sparse.children[:1]})]) as bundle:
        site.bundle = bundle
        site.ensure()
        assert site.load().sparse == {APP: sparse.children[0].digest}
        assert site.pull("quay.io/team/app:v1") == sparse.children[0].digest


def test_every_error_says_what_state_the_site_is_in(site: Site) -> None:
    site.change(image="docker.io/library/none:1")
    with pytest.raises(AirbundleError, match=r"has no image docker\.io/library/none:1") as caught:
        site.ensure()
    assert caught.value.to_json()["outcome"] == "unchanged"
