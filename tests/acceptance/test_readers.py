"""Must show 4: other people's programs read the very same file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from tests.acceptance.conftest import BuiltCorpus
from tests.acceptance.workshop import Workshop
from tests.support.containerd import run_containerd
from tests.support.corpus import CorpusImage, cache_root
from tests.support.engine import REGISTRY_IMAGE, Engine
from tests.support.process import program


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program that must end well; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=env, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


LARGE = ("postgres", "eclipse-temurin", "clamav", "prometheus/prometheus")


@dataclass(frozen=True)
class Readable:
    """A bundle, and the images that it has."""

    path: Path
    images: tuple[CorpusImage, ...]

    @property
    def names(self) -> set[str]:
        """The full names of its images."""
        return {full_name(image) for image in self.images}


@pytest.fixture(scope="module")
def for_all(workshop: Workshop) -> Readable:
    """A bundle that each of six readers takes whole: no zstd (docker 20.10), and none that only cost time."""
    images = [image for image in workshop.corpus.images if not {"zstd", "big-layer"} & set(image.features)]
    images = [image for image in images if not any(name in image.ref for name in LARGE)]
    inventory = workshop.write_inventory("readers", images)
    workshop.lock(inventory)
    workshop.build(inventory, workshop.root / "readers.airbundle", "--allow-missing", "*")  # its charts run more
    bundle = Readable(workshop.root / "readers.airbundle", tuple(images))
    kinds = {root["kind"] for root in workshop.do("inspect", bundle.path)["roots"]}
    assert {"image", "chart", "signature", "referrer"} <= kinds
    assert {"index", "docker", "digest-only"} <= {feature for image in images for feature in image.features}
    return bundle


@pytest.fixture(params=["for all", "corpus"])
def bundle(request: pytest.FixtureRequest, workshop: Workshop, built: BuiltCorpus, for_all: Readable) -> Readable:
    """The one file for all readers, and the whole corpus, with images of zstd layers and a large one."""
    return for_all if request.param == "for all" else Readable(built.path, workshop.corpus.images)


@pytest.fixture(scope="module")
def with_zstd(workshop: Workshop) -> Readable:
    """A bundle of four images; two have zstd layers, and one of those is the first by name."""
    words = ("coturn", "pgbouncer", "node-exporter", "pushgateway")
    images = [image for image in workshop.corpus.images if any(word in image.ref for word in words)]
    inventory = workshop.write_inventory("zstd", images, charts=False)
    workshop.lock(inventory)
    workshop.build(inventory, workshop.root / "zstd.airbundle")
    return Readable(workshop.root / "zstd.airbundle", tuple(images))


def full_name(image: CorpusImage) -> str:
    """Return the name in the bundle."""
    name, at, digest = image.ref.partition("@")
    return f"{name}:airbundle-{digest[7:19]}" if at else image.ref


def test_gnu_tar(bundle: Readable, tmp_path: Path) -> None:
    listed = run("tar", "-tf", bundle.path).splitlines()
    assert listed[:3] == ["oci-layout", "index.json", "manifest.json"]
    blobs = [name for name in listed if name.startswith("blobs/sha256/")]
    run("tar", "-xf", bundle.path, "-C", tmp_path)
    try:
        sums = run("sha256sum", *blobs, cwd=tmp_path)
        assert [f"blobs/sha256/{line.split()[0]}" for line in sums.splitlines()] == blobs
    finally:
        shutil.rmtree(tmp_path / "blobs")


def test_skopeo(bundle: Readable) -> None:
    oci = [image for image in bundle.images if "docker" not in image.features]  # skopeo 1.9 selects no others
    for image in oci:
        raw = subprocess.run(
            [program("skopeo", "skopeo"), "inspect", "--raw", f"oci-archive:{bundle.path}:{full_name(image)}"],
            capture_output=True,
            check=False,
        )
        assert sha256(raw.stdout) == image.digest, raw.stderr


@pytest.mark.parametrize("name", ["for_all", "with_zstd"])  # it unpacks all: the whole corpus takes a minute
def test_podman_load(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Readable = request.getfixturevalue(name)
    home = Path(tempfile.mkdtemp(prefix="ab-podman-"))  # podman wants short paths
    podman = [program("podman", "podman"), "--root", f"{home}/root", "--runroot", f"{home}/run"]
    podman += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    try:
        run(*podman, "load", "--input", bundle.path)
        names = run(*podman, "images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        assert set(names) == bundle.names
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], capture_output=True, check=False)
        shutil.rmtree(home, ignore_errors=True)


def familiar(names: Iterable[str]) -> set[str]:
    """Return names as Docker shows them."""
    return {name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in names}


def docker_has(engine: Engine, names: Iterable[str]) -> set[str]:
    """Return which of `names` an engine has, and take them from it again."""
    had = set(engine.command("images", "--format", "{{.Repository}}:{{.Tag}}").split()) & familiar(names)
    if gone := had - {REGISTRY_IMAGE}:  # which other tests use
        engine.command("rmi", "--force", *sorted(gone))
    return had


def test_docker_load(for_all: Readable, docker_engine: Engine) -> None:
    said = docker_engine.command("load", "--input", str(for_all.path))
    loaded = {line.partition(": ")[2] for line in said.splitlines() if line.startswith("Loaded image: ")}
    assert familiar(loaded) == familiar(for_all.names) == docker_has(docker_engine, for_all.names)


def test_an_engine_without_zstd_loads_all_else(with_zstd: Readable, docker_engine: Engine) -> None:
    every = with_zstd.names
    without = {full_name(image) for image in with_zstd.images if "zstd" not in image.features}
    assert without < every
    with docker_engine.client() as client:
        old = int(client.version()["Version"].partition(".")[0]) < 23
    assert not docker_has(docker_engine, every)
    try:
        docker_engine.command("load", "--input", str(with_zstd.path))
        failed = False
    except RuntimeError:
        failed = True
    assert failed is old
    assert docker_has(docker_engine, every) == familiar(without if old else every)


@pytest.fixture
def ctr(tmp_path: Path) -> Iterator[list[str]]:
    """A containerd of its own; the words that begin a `ctr` command."""
    with run_containerd(tmp_path) as command:
        yield command
    shutil.rmtree(tmp_path)


def test_ctr_images_import(bundle: Readable, ctr: list[str]) -> None:
    run(*ctr, "images", "import", "--all-platforms", "--no-unpack", bundle.path)
    lines = run(*ctr, "images", "list").splitlines()[1:]
    found = {line.split()[0]: line.split()[2] for line in lines}
    assert found == {full_name(image): image.digest for image in bundle.images}


def test_regctl(bundle: Readable, tmp_path: Path) -> None:
    regctl = cache_root() / "bin" / "regctl"
    assert regctl.exists(), "regctl is missing: scripts/test builds it"
    env = {**os.environ, "HOME": str(tmp_path)}
    for image in bundle.images:
        target = f"ocidir://{tmp_path}/layout:one"
        run(regctl, "image", "import", "--name", full_name(image), target, bundle.path, env=env)
        assert run(regctl, "manifest", "digest", target, env=env).strip() == image.digest
        assert json.loads(run(regctl, "manifest", "get", "--format", "raw-body", target, env=env))
    shutil.rmtree(tmp_path / "layout")
