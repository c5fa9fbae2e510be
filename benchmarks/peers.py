"""Other programs doing the same work: all images into one file, and from that file into an empty registry."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from benchmarks.cost import NOTHING, Cost, run

TOOLS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "airbundle-tests" / "bin"
"""Where scripts/test keeps the Go programs that it builds."""

Words = list[Union[str, Path]]
Copy = Callable[[str, str], Words]


@dataclass(frozen=True)
class Peer:
    """A program that copies images one by one, from a registry to a directory and back.

    Attributes:
        pull, push: the command for one image, given the registry's host (or the directory) and the image.
        before: commands that prepare it for a registry over plain HTTP.
    """

    name: str
    pull: Callable[[str, str, Path], Words]
    push: Callable[[str, str, Path], Words]
    before: Callable[[str], Iterable[Words]] = lambda _host: ()

    def build(self, host: str, images: Iterable[str], directory: Path, file: Path, env: dict[str, str]) -> Cost:
        """Pull all images and make one file of them."""
        directory.mkdir()
        cost = self._prepare(host, env)
        for image in images:
            cost += run(self.pull(host, image, directory), env)[0]
        cost += run(["tar", "-C", directory, "-cf", file, "."], env)[0]
        shutil.rmtree(directory)
        return cost

    def load(self, host: str, images: Iterable[str], directory: Path, file: Path, env: dict[str, str]) -> Cost:
        """Unpack that file and push all images."""
        directory.mkdir()
        cost = self._prepare(host, env) + run(["tar", "-C", directory, "-xf", file], env)[0]
        for image in images:
            cost += run(self.push(host, image, directory), env)[0]
        shutil.rmtree(directory)
        return cost

    def _prepare(self, host: str, env: dict[str, str]) -> Cost:
        for command in self.before(host):
            run(command, env)
        return NOTHING


def find_peers() -> list[Peer]:
    """Return the peers that are on this machine."""
    path = f"{TOOLS}:{os.environ.get('PATH', '')}"
    found = []
    skopeo, regctl = shutil.which("skopeo", path=path), shutil.which("regctl", path=path)
    if skopeo:
        found.append(_skopeo(skopeo))
    if regctl:
        found.append(_regctl(regctl))
    return found


def _skopeo(program: str) -> Peer:
    def layout(image: str, directory: Path) -> str:
        return f"oci:{directory}:{image.rpartition('/')[2]}"

    return Peer(
        "skopeo",
        lambda host, image, directory: [
            *(program, "copy", "-q", "--src-tls-verify=false"),
            *(f"docker://{host}/{image}:1", layout(image, directory)),
        ],
        lambda host, image, directory: [
            *(program, "copy", "-q", "--dest-tls-verify=false"),
            *(layout(image, directory), f"docker://{host}/{image}:1"),
        ],
    )


def _regctl(program: str) -> Peer:
    def layout(image: str, directory: Path) -> str:
        return f"ocidir://{directory}:{image.rpartition('/')[2]}"

    return Peer(
        "regctl",
        lambda host, image, directory: [program, "image", "copy", f"{host}/{image}:1", layout(image, directory)],
        lambda host, image, directory: [program, "image", "copy", layout(image, directory), f"{host}/{image}:1"],
        lambda host: [[program, "registry", "set", "--tls", "disabled", host]],
    )
