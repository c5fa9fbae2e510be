from __future__ import annotations

import builtins
import io
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import OCI_LAYER, parse_manifest
from airbundle.errors import HostError, NoPermission, NotFound, Unreachable
from airbundle.store.cache import Cache
from airbundle.transfer.docker_engine import materialise_engine_image
from tests.support.engine import Engine
from tests.support.images import noise

DOCKERFILE = """FROM scratch
COPY a /a
COPY b /b
COPY a /a
ENV X=1
CMD ["/a"]
"""


@pytest.fixture(scope="module")
def built(docker_engine: Engine) -> str:
    """An image of the engine: three layers, and steps that make none."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in {"Dockerfile": DOCKERFILE.encode(), "a": b"a", "b": noise("b", 3_000_000)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    context.seek(0)
    with docker_engine.client() as client:
        image, _ = client.images.build(fileobj=context, custom_context=True, tag="engine-test:dev")
    return str(image.id)


def inspected(engine: Engine, name: str) -> dict[str, Any]:
    with engine.client() as client:
        attributes: dict[str, Any] = client.images.get(name).attrs
    return attributes


def test_an_image_becomes_oci_under_its_diff_ids(docker_engine: Engine, built: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = materialise_engine_image("engine-test:dev", cache, environ=docker_engine.env)
    assert made.info == {"imageId": built}
    manifest = parse_manifest(cache.read(made.descriptor.digest, 10_000), what="app")
    assert manifest.config is not None
    assert manifest.config.digest == built
    diff_ids = inspected(docker_engine, built)["RootFS"]["Layers"]
    assert [layer.digest for layer in manifest.layers] == diff_ids
    assert {layer.media_type for layer in manifest.layers} == {OCI_LAYER}
    for blob in made.blobs:
        data = cache.read(blob.digest, 10_000_000)
        assert (len(data), sha256(data)) == (blob.size, blob.digest)
    assert str(made.descriptor.platform) == "linux/amd64"


def test_an_image_that_the_cache_has_is_not_streamed(
    docker_engine: Engine, built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    made = materialise_engine_image(built, cache, environ=docker_engine.env)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the image was streamed again")

    monkeypatch.setattr("docker.api.image.ImageApiMixin.get_image", refuse)
    assert materialise_engine_image("engine-test:dev", cache, environ=docker_engine.env) == made
    cache.path(made.blobs[1].digest).unlink()
    with pytest.raises(AssertionError, match="streamed again"):
        materialise_engine_image("engine-test:dev", cache, environ=docker_engine.env)


def test_an_image_that_is_not_there(docker_engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="docker-daemon:no-such:image: the Docker engine has no such image"):
        materialise_engine_image("no-such:image", Cache(tmp_path), environ=docker_engine.env)


def test_no_engine(tmp_path: Path) -> None:
    for where in (f"unix://{tmp_path}/none.sock", "tcp://127.0.0.1:1"):
        with pytest.raises(Unreachable, match=f"no Docker engine answers at {where}: ") as caught:
            materialise_engine_image("x", Cache(tmp_path), environ={"DOCKER_HOST": where})
        assert "DOCKER_HOST" in caught.value.hint
        assert caught.value.exit_code == 4


def test_a_socket_that_this_user_may_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(NoPermission, match="may not use the Docker engine") as caught:
        materialise_engine_image("x", Cache(tmp_path), environ={"DOCKER_HOST": f"unix://{tmp_path}/x.sock"})
    assert "group `docker`" in caught.value.hint


def test_without_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def without_docker(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "docker":
            raise ImportError(name)
        return genuine(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_docker)
    with pytest.raises(HostError, match="docker SDK") as caught:
        materialise_engine_image("x", Cache(tmp_path))
    assert "pip install" in caught.value.hint
