"""Must show 4: other people's programs read the very same file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import Workshop
from tests.support.corpus import CorpusImage, cache_root
from tests.support.engine import Engine
from tests.support.process import program, running


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program that must end well; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=env, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


LARGE = ("postgres", "eclipse-temurin", "clamav", "prometheus/prometheus")


def readable(workshop: Workshop) -> list[CorpusImage]:
    """Return images that every reader can take (docker 20.10 has no zstd), less those that only cost time."""
    chosen = [image for image in workshop.corpus.images if not {"zstd", "big-layer"} & set(image.features)]
    return [image for image in chosen if not any(name in image.ref for name in LARGE)]


@pytest.fixture(scope="module")
def file(workshop: Workshop) -> Path:
    """A bundle of all images that every reader can take, with charts, signatures and referrers."""
    inventory = workshop.write_inventory("readers", readable(workshop))
    workshop.lock(inventory)
    workshop.build(inventory, workshop.root / "readers.airbundle")
    return workshop.root / "readers.airbundle"


def test_gnu_tar(built: BuiltCorpus, tmp_path: Path) -> None:
    listed = run("tar", "-tf", built.path).splitlines()
    assert listed[:3] == ["oci-layout", "index.json", "manifest.json"]
    blobs = [name for name in listed if name.startswith("blobs/sha256/")]
    run("tar", "-xf", built.path, "-C", tmp_path)
    try:
        sums = run("sha256sum", *blobs, cwd=tmp_path)
        assert [f"blobs/sha256/{line.split()[0]}" for line in sums.splitlines()] == blobs
    finally:
        shutil.rmtree(tmp_path / "blobs")


def test_skopeo(workshop: Workshop, file: Path) -> None:
    oci = [image for image in readable(workshop) if "docker" not in image.features]  # skopeo 1.9 selects no others
    chosen = [next(image for image in oci if "index" in image.features), oci[-1]]
    for image in chosen:
        raw = subprocess.run(
            [program("skopeo", "skopeo"), "inspect", "--raw", f"oci-archive:{file}:{image.ref}"],
            capture_output=True,
            check=False,
        )
        assert sha256(raw.stdout) == image.digest, raw.stderr


def test_podman_load(workshop: Workshop, file: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="ab-podman-"))  # podman wants short paths
    podman = [program("podman", "podman"), "--root", f"{home}/root", "--runroot", f"{home}/run"]
    podman += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    try:
        run(*podman, "load", "--input", file)
        names = run(*podman, "images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        assert set(names) == {full_name(image) for image in readable(workshop)}
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], capture_output=True, check=False)
        shutil.rmtree(home, ignore_errors=True)


def full_name(image: CorpusImage) -> str:
    """Return the name in the bundle."""
    name, at, digest = image.ref.partition("@")
    return f"{name}:airbundle-{digest[7:19]}" if at else image.ref


def test_docker_load(workshop: Workshop, file: Path, docker_engine: Engine) -> None:
    said = docker_engine.command("load", "--input", str(file))
    loaded = {line.partition(": ")[2] for line in said.splitlines() if line.startswith("Loaded image: ")}
    short = {name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in loaded}
    expected = {full_name(image) for image in readable(workshop)}
    assert short == {name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in expected}


@pytest.fixture
def ctr(tmp_path: Path) -> Iterator[list[str]]:
    """A containerd of its own; the words that begin a `ctr` command."""
    address = tmp_path / "containerd.sock"
    config = tmp_path / "config.toml"
    # Content is all that is asked of it: no CRI, and no snapshots of what is in the bundle.
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    command: list[str | Path] = [program("containerd", "containerd"), "--config", config, "--address", address]
    command += ["--root", tmp_path / "root", "--state", tmp_path / "state", "--log-level", "warn"]
    ctr = [program("ctr", "containerd"), "--address", str(address), "--namespace", "k8s.io"]

    def answers() -> bool | None:
        return subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0 or None

    with running(command, tmp_path / "containerd.log") as daemon:
        daemon.wait_for(answers, what="containerd")
        yield ctr
    shutil.rmtree(tmp_path)


def test_ctr_images_import(workshop: Workshop, built: BuiltCorpus, ctr: list[str]) -> None:
    run(*ctr, "images", "import", "--all-platforms", "--no-unpack", built.path)
    lines = run(*ctr, "images", "list").splitlines()[1:]
    found = {line.split()[0]: line.split()[2] for line in lines}
    assert found == {full_name(image): image.digest for image in workshop.corpus.images}


def test_regctl(workshop: Workshop, file: Path, tmp_path: Path) -> None:
    regctl = cache_root() / "bin" / "regctl"
    assert regctl.exists(), "regctl is missing: scripts/test builds it"
    env = {**os.environ, "HOME": str(tmp_path)}
    for image in readable(workshop):
        target = f"ocidir://{tmp_path}/layout:one"
        run(regctl, "image", "import", "--name", full_name(image), target, file, env=env)
        assert run(regctl, "manifest", "digest", target, env=env).strip() == image.digest
        assert json.loads(run(regctl, "manifest", "get", "--format", "raw-body", target, env=env))
