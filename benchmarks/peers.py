"""Other programs doing the same work: all images into one file, and from that file into an empty registry.

An adapter says which commands do a job: one for each image, or one for all of them. Each peer gets the flags that spare
it what is no part of the work: compression, lists of packages, asking for signatures, names that it makes up.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from benchmarks.cost import NOTHING, Cost, run

TOOLS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "airbundle-tests" / "bin"
"""Where scripts/test keeps the Go programs that it builds."""

Words = list[Union[str, Path]]


@dataclass(frozen=True)
class Job:
    """What is moved, and where.

    Attributes:
        host: of the registry, which speaks plain HTTP.
        images: digest of each image's manifest, by the name of its repository; the tag is `1`.
        file: to make, or to load.
        scratch: an empty directory for all that lies in between.
    """

    host: str
    images: Mapping[str, str]
    file: Path
    scratch: Path


@dataclass(frozen=True)
class Way:
    """How a peer does a job.

    Attributes:
        commands: in their order, given the job; what they read besides (a list of images) is written here, and not
            measured.
        note: the commands in a few words.
    """

    commands: Callable[[Job], list[Words]]
    note: str

    def run(self, job: Job, env: Mapping[str, str]) -> Cost:
        """Do the job with nothing left over from an earlier one, and leave nothing but what was asked for.

        Raises:
            Failed: a command ended with an error.
        """
        job.scratch.mkdir()
        try:
            own = {**env, "HOME": str(job.scratch), "TMPDIR": str(job.scratch)}
            return sum((run(command, own)[0] for command in self.commands(job)), NOTHING)
        finally:
            shutil.rmtree(job.scratch)


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Attributes:
        file: name of the file that it makes.
        build: from the registry into one file.
        load: from that file into a registry.
    """

    name: str
    file: str
    build: Way
    load: Way


def find_peers(path: str) -> list[Peer]:
    """Return the peers that are on this machine, and say which are not.

    Args:
        path: directories to look in, as in PATH.
    """
    found = {name: shutil.which(name, path=path) for name in ADAPTERS}
    missing = [name for name, program in found.items() if not program]
    if missing:
        print(f"not on the PATH, and left out: {', '.join(missing)}", file=sys.stderr)
    return [ADAPTERS[name](program) for name, program in found.items() if program]


def _skopeo(program: str) -> Peer:
    def remote(job: Job, image: str) -> str:
        return f"docker://{job.host}/{image}:1"

    def layout(job: Job, image: str) -> str:
        return f"oci:{job.scratch}/layout:{_short(image)}"

    return _by_layout(
        "skopeo",
        lambda job, image: [program, "copy", "-q", "--src-tls-verify=false", remote(job, image), layout(job, image)],
        lambda job, image: [program, "copy", "-q", "--dest-tls-verify=false", layout(job, image), remote(job, image)],
    )


def _regctl(program: str) -> Peer:
    def copy(job: Job, *names: str) -> Words:
        return [program, "--host", f"reg={job.host},tls=disabled", "image", "copy", *names]

    def remote(job: Job, image: str) -> str:
        return f"{job.host}/{image}:1"

    def layout(job: Job, image: str) -> str:
        return f"ocidir://{job.scratch}/layout:{_short(image)}"

    return _by_layout(
        "regctl",
        lambda job, image: copy(job, remote(job, image), layout(job, image)),
        lambda job, image: copy(job, layout(job, image), remote(job, image)),
    )


def _by_layout(name: str, pull: Callable[[Job, str], Words], push: Callable[[Job, str], Words]) -> Peer:
    """Return a peer that copies image by image to `layout` in the scratch directory, and from there."""
    tar = ("tar", "-C")
    return Peer(
        name,
        f"{name}.tar",
        Way(
            lambda job: [*(pull(job, image) for image in job.images), [*tar, job.scratch, "-cf", job.file, "layout"]],
            "one command an image, then tar",
        ),
        Way(
            lambda job: [[*tar, job.scratch, "-xf", job.file], *(push(job, image) for image in job.images)],
            "untar, then one command an image",
        ),
    )


def _hauler(program: str) -> Peer:
    def store(job: Job, *words: str | Path) -> Words:
        return [program, "--log-level", "error", "store", *words, "--store", job.scratch / "store"]

    def build(job: Job) -> list[Words]:
        listed = job.scratch / "images.txt"
        listed.write_text("".join(f"{job.host}/{image}:1\n" for image in job.images))
        return [store(job, "sync", "--image-txt", listed, "--exclude-extras"), store(job, "save", "-f", job.file)]

    def load(job: Job) -> list[Words]:
        return [store(job, "load", "-f", job.file), store(job, "copy", "--plain-http", f"registry://{job.host}")]

    return Peer(
        "hauler",
        "haul.tar.zst",
        Way(build, "store sync, then store save (always zstd)"),
        Way(load, "store load, then store copy"),
    )


def _imgpkg(program: str) -> Peer:
    def copy(*words: str | Path) -> Words:
        return [program, "copy", "--registry-insecure", "--registry-anon", *words]

    def build(job: Job) -> list[Words]:
        lock = job.scratch / "images.lock"
        images = [{"image": f"{job.host}/{image}@{digest}"} for image, digest in job.images.items()]
        document = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": images}
        lock.write_text(json.dumps(document))
        return [copy("--lock", lock, "--to-tar", job.file)]

    return Peer(
        "imgpkg",
        "imgpkg.tar",
        Way(build, "copy --lock --to-tar"),
        Way(
            lambda job: [copy("--tar", job.file, "--to-repo", f"{job.host}/bench")],
            "copy --tar --to-repo: all into one repository",
        ),
    )


def _zarf(program: str) -> Peer:
    zarf = (program, "--plain-http", "--log-level", "error")

    def build(job: Job) -> list[Words]:
        package = job.scratch / "package"
        package.mkdir()
        images = [f"{job.host}/{image}:1" for image in job.images]
        document = {
            "kind": "ZarfPackageConfig",
            "metadata": {"name": "bench", "uncompressed": True, "architecture": "amd64"},
            "components": [{"name": "images", "required": True, "images": images}],
        }
        (package / "zarf.yaml").write_text(json.dumps(document))
        return [[*zarf, "package", "create", package, "-o", job.file.parent, "--confirm", "--skip-sbom"]]

    def load(job: Job) -> list[Words]:
        mirror = ("package", "mirror-resources", job.file, "--images", "--no-img-checksum", "--confirm")
        return [[*zarf, *mirror, "--registry-url", job.host]]

    return Peer(
        "zarf",
        "zarf-package-bench-amd64.tar",
        Way(build, "package create, without SBOM and compression"),
        Way(load, "package mirror-resources"),
    )


def _short(image: str) -> str:
    return image.rpartition("/")[2]


ADAPTERS: Mapping[str, Callable[[str], Peer]] = {
    "skopeo": _skopeo,
    "regctl": _regctl,
    "hauler": _hauler,
    "imgpkg": _imgpkg,
    "zarf": _zarf,
}
