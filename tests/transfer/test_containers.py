"""What the engine says of images, containers and volumes, and how its refusals are told."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.oci import Platform
from airbundle.errors import HostError, NoSpace, NotFound, RemoteError, SiteError, Unreachable
from airbundle.transfer.containers import ContainerEngine, ContainerSpec, open_containers
from airbundle.transfer.docker_engine import engine_errors
from tests.support.engine import Engine

IMAGE = "registry:2"


@pytest.fixture
def engine(docker_engine: Engine) -> Iterator[ContainerEngine]:
    with open_containers(docker_engine.env) as opened:
        yield opened


def files(**content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def spec(name: str = "", **changes: Any) -> ContainerSpec:
    name = name or f"t-{secrets.token_hex(4)}"
    fields: dict[str, Any] = {
        "name": name,
        "image": IMAGE,
        "command": ("serve", "/config.yml"),
        "environment": {"X": "1"},
        "labels": {"who": "test"},
        "volume": f"{name}-data",
        "volume_path": "/var/lib/registry",
        "port": 5000,
        "host": "127.0.0.1",
        "host_port": 0,
        "files": files(**{"config.yml": b"version: 9\n"}),
    }
    return ContainerSpec(**{**fields, **changes})


def test_the_engine(engine: ContainerEngine) -> None:
    assert engine.platform == Platform("linux", "amd64")
    assert engine.version[0].isdigit()


@pytest.mark.parametrize(
    ("version", "component", "takes"),
    [
        ("20.10.24+dfsg1", "Engine", False),
        ("23.0.0", "Engine", True),
        ("28.2.2", "Engine", True),
        ("4.3.1", "Podman Engine", True),
        ("library-import", "Engine", False),
    ],
)
def test_who_takes_zstd(version: str, component: str, takes: bool) -> None:
    class Client:
        def version(self) -> dict[str, Any]:
            return {"Version": version, "Components": [{"Name": component}]}

    assert ContainerEngine(Client()).takes_zstd is takes


def test_the_life_of_a_container(engine: ContainerEngine, docker_engine: Engine) -> None:
    wanted = spec()
    assert engine.find(wanted.name) is None
    made = engine.create(wanted)
    assert (made.name, made.status, made.restarts, made.started) == (wanted.name, "created", 0, "")
    assert made.labels == {"who": "test"}
    assert made.image == IMAGE
    assert docker_engine.command("cp", f"{wanted.name}:/config.yml", "-").count("version: 9") == 1
    engine.rename(made, f"{wanted.name}-other")
    assert engine.find(wanted.name) is None
    assert engine.find(made.id[:12]) is None  # a name, and not the beginning of an ID
    engine.start(made, host="127.0.0.1", port=1)

    def ended() -> bool | None:
        found = engine.find(f"{wanted.name}-other")
        return (found is not None and found.exit_code == 2 and found.started != "") or None

    docker_engine.process.wait_for(ended, what="the container's end")
    assert any(line.startswith("panic: ") for line in engine.log(made, 60))
    engine.stop(made)
    engine.remove(made)
    engine.remove(made)
    assert engine.remove_volume(wanted.volume)


def test_what_could_not_be_made_whole_is_gone(engine: ContainerEngine) -> None:
    wanted = spec(files=b"no tar" * 1000)
    with pytest.raises(RemoteError, match=f"create container {wanted.name}: the Docker engine says: ") as caught:
        engine.create(wanted)
    assert caught.value.exit_code == 6
    assert engine.find(wanted.name) is None
    engine.remove_volume(wanted.volume)


def test_an_image_that_is_not_there(engine: ContainerEngine) -> None:
    assert engine.image_layers("none:1") is None
    assert not engine.remove_image("none:1")
    with pytest.raises(NotFound, match="no such image"):
        engine.create(spec(image="none:1"))


def test_an_image_in_use_stays(engine: ContainerEngine) -> None:
    wanted = spec()
    made = engine.create(wanted)
    try:
        assert not engine.remove_image(IMAGE)
        assert engine.image_layers(IMAGE)
    finally:
        engine.remove(made)
        engine.remove_volume(wanted.volume)


def test_volumes(engine: ContainerEngine) -> None:
    name = f"v-{secrets.token_hex(4)}"
    assert engine.volume_labels(name) is None
    engine.create_volume(name, {"who": "test"})
    assert engine.volume_labels(name) == {"who": "test"}
    assert engine.remove_volume(name)
    assert not engine.remove_volume(name)


@pytest.mark.parametrize("pieces", [[b"no tar" * 1000], [b"x" * 5_000_000] * 4])
def test_an_archive_that_is_none(engine: ContainerEngine, pieces: list[bytes]) -> None:
    with pytest.raises(RemoteError, match="load x: the Docker engine ") as caught:
        engine.load_image(pieces, what="load x")
    assert caught.value.exit_code == 6


def test_what_the_archive_raises_comes_out(engine: ContainerEngine, docker_engine: Engine) -> None:
    with docker_engine.client() as client:
        client.images.get(IMAGE).tag("cut", "off")
        saved = b"".join(client.images.get("cut:off").save(named="cut:off"))
    engine.remove_image("cut:off")

    def cut() -> Iterator[bytes]:
        yield saved[: len(saved) - 2000]
        yield b""
        raise HostError("the disk fails")

    before = sorted(docker_engine.command("images", "-a", "-q").split())
    with pytest.raises(HostError, match="the disk fails"):
        engine.load_image(cut(), what="load x")
    assert engine.image_layers("cut:off") is None
    assert sorted(docker_engine.command("images", "-a", "-q").split()) == before


def test_an_archive_in_any_pieces(engine: ContainerEngine, docker_engine: Engine) -> None:
    with docker_engine.client() as client:
        client.images.get(IMAGE).tag("pieces", "1")
        saved = b"".join(client.images.get("pieces:1").save(named="pieces:1"))
    engine.remove_image("pieces:1")
    assert engine.image_layers("pieces:1") is None
    # An empty piece is not the end of the body.
    engine.load_image([saved[:1], b"", saved[1:100_000], b"", saved[100_000:]], what="load x")
    assert engine.image_layers("pieces:1") == engine.image_layers(IMAGE)
    assert engine.remove_image("pieces:1")


def test_an_engine_that_goes_away(docker_engine: Engine, tmp_path: Path) -> None:
    link = tmp_path / "docker.sock"
    link.symlink_to(docker_engine.socket)
    with open_containers({"DOCKER_HOST": f"unix://{link}"}) as opened:
        link.unlink()
        # A connection that is open may go on; a new one can't be made.
        opened._client.close()
        with pytest.raises(Unreachable, match="the Docker engine failed") as caught:
            opened.find("x")
    assert caught.value.exit_code == 6


def test_a_full_disk_is_told_as_such() -> None:
    from docker.errors import APIError

    with pytest.raises(NoSpace, match="disk is full") as caught:
        with engine_errors("load x", "site"):
            raise APIError("x", explanation="write /var/lib/docker/x: no space left on device")
    assert caught.value.exit_code == 7
    assert "docker info" in caught.value.hint


def test_a_port_that_another_container_has(engine: ContainerEngine, docker_engine: Engine) -> None:
    config = b'{"version": "0.1", "storage": {"inmemory": {}}, "http": {"addr": ":5000"}}'
    first = spec(files=files(**{"config.yml": config}))
    made = engine.create(first)
    engine.start(made, host="127.0.0.1", port=0)
    with docker_engine.client() as client:
        port = int(client.containers.get(first.name).ports["5000/tcp"][0]["HostPort"])
    second = spec(host_port=port)
    other = engine.create(second)
    try:
        with pytest.raises(SiteError, match=f"can't be published at 127.0.0.1:{port}: .*listens there"):
            engine.start(other, host="127.0.0.1", port=port)
    finally:
        for each, of in ((other, second), (made, first)):
            engine.remove(each)
            engine.remove_volume(of.volume)


def test_log_lines_are_cleaned_and_few(engine: ContainerEngine, docker_engine: Engine) -> None:
    wanted = spec(command=("\x1b[31mred",))
    made = engine.create(wanted)
    engine.start(made, host="127.0.0.1", port=1)
    docker_engine.process.wait_for(lambda: engine.log(made, 2) or None, what="its log")
    assert len(engine.log(made, 2)) <= 2
    assert "\x1b" not in "".join(engine.log(made, 10))
    engine.remove(made)
    engine.remove_volume(wanted.volume)
