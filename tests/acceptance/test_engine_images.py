"""Images that only a Docker engine has: from the engine into a lock, a bundle, a private registry, and back out."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airbundle.bundle.digest import sha256
from tests.support.engine import Engine, run_engine
from tests.support.images import noise
from tests.support.measure import Measured, disk_use, run_measured
from tests.support.process import program
from tests.support.registries import Registry, run_registry
from tests.support.tls import Authority

MIB = 1024 * 1024
LARGE = 320
"""MiB: more than twice what a process may take. 1100 went as well."""
NAME = "airbundle-test/app:dev"
PATIENCE = 120.0
"""Seconds until a test gives up waiting; no performance bar."""


@dataclass
class Desk:
    """A directory with an inventory, and an engine."""

    root: Path
    engine: Engine

    def run(self, *words: object, cache: str = "cache") -> Measured:
        """Run airbundle with an environment that names the engine."""
        return run_measured(self.command(*words, cache=cache), cwd=self.root, env=self.env)

    def command(self, *words: object, cache: str = "cache") -> list[str | Path]:
        """Return the command line."""
        return [sys.executable, "-m", "airbundle", *map(str, words), "--json", "--cache-dir", str(self.root / cache)]

    @property
    def env(self) -> dict[str, str]:
        """The environment."""
        return {**self.engine.env, "XDG_STATE_HOME": str(self.root / "state"), "HOME": str(self.root)}

    def do(self, *words: object, cache: str = "cache") -> dict[str, Any]:
        """Run airbundle, which must end well."""
        done = self.run(*words, cache=cache)
        assert done.code == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def fail(self, code: int, *words: object, cache: str = "cache") -> str:
        """Run airbundle, which must end with `code`, and return its only error's message."""
        done = self.run(*words, cache=cache)
        assert done.code == code, done.stderr
        assert "Traceback" not in done.stderr
        (error,) = json.loads(done.stdout)["errors"]
        assert error["hint"]
        return str(error["message"])

    def inventory(self, *names: str) -> Path:
        """Write an inventory of the engine's images."""
        directory = self.root / "inventory"
        directory.mkdir(exist_ok=True)
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Bundle",
            "metadata": {"name": "local", "version": "1.0.0"},
            "images": [{"ref": f"docker-daemon:{name}", "as": f"internal/{name}"} for name in names],
        }
        (directory / "bundle.yaml").write_text(json.dumps(document))
        return directory


def build_image(engine: Engine, name: str, seed: str) -> str:
    """Build an image of two layers in the engine and return its ID."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        files = {"Dockerfile": b'FROM scratch\nCOPY a /a\nCOPY b /b\nCMD ["/a"]\n', "a": b"a", "b": noise(seed, MIB)}
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    context.seek(0)
    with engine.client() as client:
        image, _ = client.images.build(fileobj=context, custom_context=True, tag=name)
    return str(image.id)


def remove(engine: Engine, name: str) -> None:
    """Take an image from the engine."""
    with engine.client() as client:
        client.images.remove(name, force=True)


@pytest.fixture
def desk(tmp_path: Path, docker_engine: Engine) -> Iterator[Desk]:
    """A desk whose engine has the image NAME."""
    build_image(docker_engine, NAME, "first")
    yield Desk(tmp_path, docker_engine)
    with docker_engine.client() as client:
        for image in client.images.list(name=NAME.partition(":")[0]):
            client.images.remove(image.id, force=True)


def test_from_the_engine_to_a_client(desk: Desk, authority: Authority) -> None:
    image_id = build_image(desk.engine, NAME, "first")
    inventory = desk.inventory(NAME)
    desk.do("lock", inventory, "--no-installer")
    desk.do("key", "generate", "-o", desk.root / "release.key", "--passphrase-file", passphrase(desk))
    key = ["--key", desk.root / "release.key", "--passphrase-file", passphrase(desk)]
    bundle = desk.root / "local.airbundle"
    desk.do("build", inventory, "--no-installer", *key, "-o", bundle)
    with run_registry(desk.root / "registry", tls=authority) as registry:
        target = ["--registry", registry.url, "--registry-ca", registry.ca_file, "--key", desk.root / "release.pub"]
        desk.do("load", bundle, *target, "--state-dir", desk.root / "site")
        pulled = pull(registry, f"docker.io/internal/{NAME}", desk.root)
    # Pulled and saved, it is the image that the engine has: by its ID, and after loading it into the engine again.
    with tarfile.open(pulled) as archive:
        names = archive.getnames()
    assert f"{image_id.partition(':')[2]}.json" in names
    remove(desk.engine, NAME)
    desk.engine.command("load", "--input", str(pulled))
    with desk.engine.client() as client:
        assert client.images.get(NAME).id == image_id


def passphrase(desk: Desk) -> Path:
    """Return a file with a passphrase."""
    path = desk.root / "passphrase"
    path.write_text("secret\n")
    return path


def pull(registry: Registry, name: str, directory: Path) -> Path:
    """Pull an image with skopeo and return it as `docker save` has it."""
    certs = directory / "certs"
    certs.mkdir()
    shutil.copy(str(registry.ca_file), certs / "ca.crt")
    archive = directory / "pulled.tar"
    command = [program("skopeo", "skopeo"), "copy", "--src-cert-dir", str(certs), f"docker://{registry.host}/{name}"]
    subprocess.run([*command, f"docker-archive:{archive}:{NAME}"], check=True, capture_output=True)
    return archive


def test_gone_or_changed_since_it_was_locked(desk: Desk) -> None:
    inventory = desk.inventory(NAME)
    desk.do("lock", inventory, "--no-installer")
    first, again = desk.root / "first.airbundle", desk.root / "again.airbundle"
    desk.do("build", inventory, "--no-installer", "-o", first)
    for change in ("changed", "gone"):
        if change == "changed":
            build_image(desk.engine, NAME, "second")
        else:
            remove(desk.engine, NAME)
        # The lock pinned the bytes: what the cache has is built, whatever became of the name.
        desk.do("build", inventory, "--no-installer", "-o", again)
        assert sha256(again.read_bytes()) == sha256(first.read_bytes())
        for path in desk.root.glob("again*"):
            path.unlink()
        # On another machine they are nowhere.
        message = desk.fail(4, "build", inventory, "--no-installer", "-o", again, cache=f"other-{change}")
        assert f"docker-daemon:{NAME}" in message
        assert sorted(path.name for path in desk.root.glob("again*")) == []
    message = desk.fail(4, "lock", inventory, "--no-installer", "--update", "all")
    assert f"docker-daemon:{NAME}" in message


def test_check_tells_that_it_changed(desk: Desk) -> None:
    inventory = desk.inventory(NAME)
    old = build_image(desk.engine, NAME, "first")
    desk.do("lock", inventory, "--no-installer")
    assert desk.run("lock", inventory, "--no-installer", "--check").code == 0
    new = build_image(desk.engine, NAME, "second")
    done = desk.run("lock", inventory, "--no-installer", "--check")
    assert done.code == 3, done.stderr
    (finding,) = json.loads(done.stdout)["errors"][0]["findings"]
    assert NAME in finding["message"] and finding["found"] == new and finding["expected"] == old
    remove(desk.engine, NAME)
    done = desk.run("lock", inventory, "--no-installer", "--check")
    assert done.code == 3 and "no longer has it" in done.stdout


def test_a_large_image_and_an_engine_that_stops(tmp_path: Path) -> None:
    """More than may be in memory is streamed; when the engine dies on the way nothing half-made is left."""
    with run_engine(tmp_path) as engine:
        desk = Desk(tmp_path, engine)
        import_large(engine, "large:1", LARGE)
        inventory = desk.inventory("large:1")
        with subprocess.Popen(
            [str(word) for word in desk.command("lock", inventory, "--no-installer")],
            cwd=desk.root,
            env=desk.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            end = time.monotonic() + PATIENCE
            while process.poll() is None and disk_use(desk.root / "cache") < 16 * MIB:
                assert time.monotonic() < end
            assert process.poll() is None, "it ended before the engine could be stopped"
            engine.process.stop(40)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 4, err
        assert "Traceback" not in err
        (error,) = json.loads(out)["errors"]
        assert "docker-daemon:large:1" in str(error)
        assert not (inventory / "airbundle.lock.json").exists()
        assert disk_use(desk.root / "cache") < MIB
        engine.restart()
        done = desk.run("lock", inventory, "--no-installer")
        assert done.code == 0, done.stderr
        assert done.peak_memory < 150 * MIB
        assert disk_use(desk.root / "cache") > LARGE * MIB
        done = desk.run("build", inventory, "--no-installer", "--no-checksum", "-o", desk.root / "large.airbundle")
        assert done.code == 0, done.stderr
        assert done.peak_memory < 150 * MIB
        (desk.root / "large.airbundle").unlink()
        shutil.rmtree(desk.root / "cache")


def import_large(engine: Engine, name: str, megabytes: int) -> None:
    """Import an image of one file of zeros, streamed."""
    read, write = os.pipe()
    command = ["docker", "import", "-", name]
    with subprocess.Popen(command, stdin=read, env=engine.env, stdout=subprocess.DEVNULL) as process:
        os.close(read)
        with os.fdopen(write, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
            info = tarfile.TarInfo("zeros")
            info.size = megabytes * MIB
            with open("/dev/zero", "rb") as zeros:
                tar.addfile(info, zeros)
    assert process.returncode == 0
