"""The release engineer of the tests on clusters: real images under their upstream names, a key, built bundles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airbundle.builder.installer_parts import ensure_parts, pinned_parts
from airbundle.store.cache import Cache
from tests.support.corpus import cache_root
from tests.support.locks import once_per_machine
from tests.support.real_images import HOSTS, RealImages, real_images
from tests.support.registries import Registry, run_registry
from tests.support.sealed import AIRBUNDLE, CHECKOUT

PASSPHRASE = "correct horse battery staple"


class Desk:
    """A directory with a release key, and an upstream that has the real images.

    Attributes:
        root: the directory.
        upstream: registry:2, the mirror of docker.io and quay.io.
        key, public_key: the release key, whose passphrase is in `env`.
        env: the environment of commands: nothing of the user's own configuration, no proxies.
    """

    def __init__(self, root: Path, upstream: Registry, made: RealImages) -> None:
        self.root = root
        self.upstream = upstream
        self.images = made
        self.key = root / "release.key"
        self.public_key = root / "release.pub"
        self.registries = root / "registries.yaml"
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        own = {name: str(root / name.lower()) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        self.env = {**kept, **own, "AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE}

    def prepare(self) -> None:
        """Make the key and say where upstream is."""
        self.registries.write_text(json.dumps(self.upstream.registries_yaml(*HOSTS)))
        cache = Path(self.env["XDG_CACHE_HOME"]) / "airbundle"
        kept = cache_root() / "installer-parts"
        with once_per_machine("installer-parts"):
            ensure_parts(pinned_parts(), Cache(kept))
            shutil.copytree(kept, cache, dirs_exist_ok=True)
        if not self.key.exists():
            self.run("key", "generate", "-o", self.key)

    def run(self, *words: str | Path) -> dict[str, Any]:
        """Run `airbundle … --json`, which must end well, on this machine, and return its document."""
        command = [*AIRBUNDLE, *map(str, words), "--json"]
        done = subprocess.run(command, env=self.env, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"airbundle {' '.join(map(str, words))}: {done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def build(self, inventory: Path, *words: str | Path) -> Path:
        """Lock and build an inventory's signed bundle into `dist`, and return it."""
        dist = self.root / "dist"
        dist.mkdir(exist_ok=True)
        self.run("lock", inventory, "--registries", self.registries)
        document = self.run("build", inventory, "--registries", self.registries, "--key", self.key, "-o", dist, *words)
        return Path(document["path"])


@contextmanager
def open_desk(root: Path, *, synapse: bool = False) -> Iterator[Desk]:
    """Have a desk in `root` for the length of a `with` block.

    Args:
        root: a directory of the caller's own; what it has is used again.
        synapse: whether upstream has Synapse, which takes a while to make, once per machine.
    """
    made = real_images(synapse=synapse)
    with run_registry(root / "upstream", storage=made.storage, read_only=True) as upstream:
        desk = Desk(root, upstream, made)
        desk.prepare()
        yield desk
