"""Images of real programs that run in a cluster, in a registry's storage directory, under their upstream names.

Redis, PostgreSQL, HAProxy, coturn, nginx and busybox are Debian's packages, on the corpus's base; cert-manager is built
from its Go module; Synapse is from its wheels, on Debian's Python. Nothing in them was configured by a package's
scripts: commands, users and files are the charts' business. Made once per machine (`site-images-…` of `cache_root()`),
read-only after:

    with run_registry(tmp_path, storage=real_images().storage, read_only=True) as registry:
        registry.registries_yaml(*HOSTS)

    python -m tests.support.real_images     # makes them, says what it did
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airbundle.bundle.oci import Descriptor
from tests.support import debian, images
from tests.support.cert_manager import cert_manager, cert_manager_images
from tests.support.corpus import Corpus, cache_root, corpus, recipe
from tests.support.debian import Apt
from tests.support.images import Blob
from tests.support.locks import once_per_machine
from tests.support.storage import Storage

HOSTS = ("docker.io", "quay.io")
BUSYBOX = "docker.io/library/busybox:1.35"
NGINX = "docker.io/library/nginx:1.22"
REDIS = "docker.io/library/redis:7.0"
POSTGRES = "docker.io/library/postgres:15"
HAPROXY = "docker.io/library/haproxy:2.6"
COTURN = "docker.io/coturn/coturn:4.6"
SYNAPSE = "docker.io/matrixdotorg/synapse:v1.163.2"
PACKAGES = {
    BUSYBOX: ("busybox",),
    NGINX: ("nginx-light",),
    REDIS: ("redis-server",),
    POSTGRES: ("postgresql",),
    HAPROXY: ("haproxy",),
    COTURN: ("coturn",),
}

_FORM = 2
"""Counts what is made differently from before."""


@dataclass(frozen=True)
class RealImages:
    """What was made: a storage directory, and the names in it."""

    storage: Path
    names: tuple[str, ...]


def real_images(*, synapse: bool = False) -> RealImages:
    """Return the images; make those that this machine hasn't got. Safe to call from many processes at once.

    cert-manager's are among them where it was built. Synapse's 230 MB are made when asked for.
    """
    upstream = corpus()
    home = cache_root() / f"site-images-{recipe()}-{_FORM}"
    with once_per_machine("site-images"):
        making = _Making(home, upstream)
        making.packaged()
        if cert_manager() is not None:
            making.cert_manager()
        if synapse:
            making.synapse()
    return RealImages(making.storage.root, tuple(sorted(making.storage.tags())))


class _Making:
    def __init__(self, home: Path, upstream: Corpus) -> None:
        self.work = home / "work"
        self.storage = Storage(home / "storage")
        self.corpus = upstream
        self._from = Storage(upstream.storage)
        self._has = self.storage.tags()
        self._lists = False  # whether apt's are of today

    def lacks(self, name: str) -> bool:
        """Tell whether an image is yet to be made."""
        return name not in self._has

    def packaged(self) -> None:
        """Make the images of Debian's packages."""
        for name, packages in PACKAGES.items():
            if self.lacks(name):
                self._put(name, [self._base(), self._packages(*packages)])

    def cert_manager(self) -> None:
        """Make cert-manager's images."""
        for name, image in cert_manager_images().items():
            if self.lacks(name):
                image.put(self.storage, *name.rsplit(":", 1))

    def synapse(self) -> None:
        """Make Synapse: the wheels that PyPI has for Debian's Python, and what they need beside."""
        if not self.lacks(SYNAPSE):
            return
        target = self.work / "synapse"
        shutil.rmtree(target, ignore_errors=True)
        wheels = f"matrix-synapse[redis]=={SYNAPSE.rpartition(':v')[2]}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", f"--target={target}"]
        command += ["--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64", wheels]
        subprocess.run(command, check=True)
        found = {
            f"opt/synapse/{path.relative_to(target)}": path.read_bytes() for path in target.rglob("*") if path.is_file()
        }
        program = images.layer(found, level=1)
        below = [self._base(), self._packages("python3", "python3-psycopg2", "ca-certificates")]
        entry = ["/usr/bin/python3", "-m", "synapse.app.homeserver"]
        self._put(SYNAPSE, [*below, program], Entrypoint=entry, Env=["PYTHONPATH=/opt/synapse", "PYTHONUNBUFFERED=1"])
        shutil.rmtree(target)

    def _put(self, name: str, layers: list[Blob], **config: Any) -> None:
        image = images.image(layers, platform=f"linux/{debian.host_architecture()}", **config)
        image.put(self.storage, *name.rsplit(":", 1))

    def _packages(self, *packages: str) -> Blob:
        """Make a layer of Debian packages, without what the base has."""
        self.work.mkdir(parents=True, exist_ok=True)
        architecture = debian.host_architecture()
        # A pool of its own: apt does not tell of what it finds in there already.
        apt = Apt(self.work / "apt", self.work / f"pool-{packages[0]}", architecture)
        base = self._from.blob_path(self._base().descriptor.digest)
        apt.status.write_text(debian.status_in(base, architecture))
        if not self._lists:
            apt.update()
            self._lists = True
        target = self.work / "layer"
        made = debian.package_layer(apt.fetch(packages), target)
        self.storage.put_file(target, move=True)
        return made

    def _base(self) -> Blob:
        """Return the layer of Debian's base for this machine, which the corpus's images have at the bottom, too."""
        listed = next(item for item in self.corpus.images if "debian" in item.ref)
        index = self._read(listed.digest)
        name = debian.host_architecture()
        child = next(each for each in index["manifests"] if each["platform"]["architecture"] == name)
        manifest = self._read(child["digest"])
        config = self._read(manifest["config"]["digest"])
        layer = Descriptor.from_json(manifest["layers"][0], what="the base layer")
        self._adopt_blob(layer.digest)
        return Blob(layer, None, config["rootfs"]["diff_ids"][0])

    def _read(self, digest: str) -> Any:
        return json.loads(self._from.blob_path(digest).read_bytes())

    def _adopt_blob(self, digest: str) -> None:
        target = self.storage.blob_path(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._from.blob_path(digest), target)


if __name__ == "__main__":
    made = real_images(synapse=True)
    print(f"{len(made.names)} images in {made.storage}: {', '.join(made.names)}")
