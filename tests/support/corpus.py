"""The real input of the tests: images of real programs from Debian packages, in a registry's storage directory.

Made once per machine (about two minutes on two cores, 0.7 GB) below `${XDG_CACHE_HOME:-~/.cache}/airbundle-tests`, in
a directory named after the recipe, and then served read-only: `run_registry(dir, storage=corpus.storage,
read_only=True)`. Repositories lie below their upstream host (`docker.io/library/redis`, `host_5000/x`), as mirrors
have them.

    python -m tests.support.corpus      # makes it, says what it does
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from airbundle.bundle.digest import hex_of
from tests.support import debian, engine, images
from tests.support.debian import Apt, Compressor
from tests.support.images import Artifact, Blob, Family
from tests.support.storage import Storage

BIG_LAYER = 256 * 1024 * 1024


@dataclass(frozen=True)
class Recipe:
    """How an image is made: a base and a layer of `packages`; with two `platforms`, for a foreign one, too."""

    ref: str
    packages: tuple[str, ...]
    command: str
    family: Family = "oci"
    compressor: Compressor = "gzip"
    platforms: int = 1
    features: tuple[str, ...] = ()


RECIPES = (
    Recipe("docker.io/library/haproxy:2.6", ("haproxy",), "/usr/sbin/haproxy"),
    Recipe(
        *("docker.io/library/redis:7.0", ("redis-server",), "/usr/bin/redis-server"),
        platforms=2,
        features=("attestation",),
    ),
    Recipe("docker.io/library/postgres:15", ("postgresql",), "/usr/bin/pg_ctlcluster", family="docker"),
    Recipe("docker.io/coturn/coturn:4.6", ("coturn",), "/usr/bin/turnserver", compressor="zstd"),
    Recipe(
        *("docker.io/clamav/clamav:1.4", ("clamav-daemon",), "/usr/sbin/clamd"),
        features=("signature",),
    ),
    Recipe("docker.io/library/nginx:1.22", ("nginx",), "/usr/sbin/nginx", family="docker", platforms=2),
    Recipe(
        *("quay.io/prometheus/prometheus:v2.42.0", ("prometheus",), "/usr/bin/prometheus"),
        features=("referrer",),
    ),
    Recipe(
        *("quay.io/prometheus/alertmanager:v0.25.0", ("prometheus-alertmanager",), "/usr/bin/prometheus-alertmanager"),
        family="docker",
    ),
    Recipe(
        *(
            "quay.io/prometheus/node-exporter:v1.5.0",
            ("prometheus-node-exporter",),
            "/usr/bin/prometheus-node-exporter",
        ),
        platforms=2,
        features=("referrer", "signature"),
    ),
    Recipe(
        *("quay.io/prometheus/pushgateway:v1.5.1", ("prometheus-pushgateway",), "/usr/bin/prometheus-pushgateway"),
        features=("digest-only",),
    ),
    Recipe("ghcr.io/pgbouncer/pgbouncer:1.18", ("pgbouncer",), "/usr/sbin/pgbouncer", compressor="zstd"),
    Recipe("docker.io/library/eclipse-temurin:17-jre", ("openjdk-17-jre-headless",), "/usr/bin/java"),
)
_DEBIAN = Recipe("docker.io/library/debian:12-slim", (), "/bin/bash", platforms=2)
_MIRROR = Recipe(
    "registry.internal:5000/platform/apt-mirror:2026.1",
    ("golang-go", "openjdk-17-jdk-headless"),
    "/bin/sh",
    features=("big-layer",),
)
_REGISTRY = Recipe("docker.io/library/registry:2", (), "/bin/registry", features=("registry",))


@dataclass(frozen=True)
class CorpusImage:
    """One image as upstream has it.

    Attributes:
        ref: full name with a tag; for `digest-only` a name with a digest.
        digest, media_type: of the index or manifest.
        platforms: in the index's order, without attestations; one for a plain image.
        features: what it is there for: `index`, `docker`, `zstd`, `attestation`, `referrer`, `signature`, `big-layer`,
            `digest-only`, `registry`.
    """

    ref: str
    digest: str
    media_type: str
    platforms: tuple[str, ...]
    features: tuple[str, ...]

    @property
    def site_name(self) -> str:
        """Name and tag at a private registry without prefix (design §5)."""
        name, at, digest = self.ref.partition("@")
        host, _, path = name.partition("/")
        tag = f":airbundle-{hex_of(digest)[:12]}" if at else ""
        return f"{host.replace(':', '_')}/{path}{tag}"


@dataclass(frozen=True)
class Corpus:
    """The images and the storage directory they lie in; `size` is all blobs in bytes."""

    storage: Path
    images: tuple[CorpusImage, ...]
    size: int

    def having(self, *features: str) -> list[CorpusImage]:
        """Return the images that have all `features`."""
        return [image for image in self.images if set(features) <= set(image.features)]

    @property
    def hosts(self) -> list[str]:
        """The upstream hosts, to be mirrored."""
        return sorted({image.ref.partition("/")[0] for image in self.images})


def cache_root() -> Path:
    """Return where things made once per machine lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "airbundle-tests"


def recipe() -> str:
    """Return a name for what would be made: it changes with the recipe's sources and the distribution's release."""
    digest = hashlib.sha256(debian.release()["VERSION_CODENAME"].encode())
    for path in (debian.__file__, images.__file__, __file__):
        digest.update(_meaning(Path(str(path)).read_text()).encode())
    return digest.hexdigest()[:12]


def _meaning(source: str) -> str:
    """Return what a module does: the same text for the same code, whatever its comments and docstrings say."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]  # it has one
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def corpus() -> Corpus:
    """Return the corpus; make it first if this machine hasn't got it. Safe to call from many processes at once."""
    home = cache_root() / f"corpus-{recipe()}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "corpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "corpus.json").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _Build(home).run()
            _forget_old(home)
    os.utime(home)
    body = json.loads((home / "corpus.json").read_text())
    listed = tuple(
        CorpusImage(**{**item, "platforms": tuple(item["platforms"]), "features": tuple(item["features"])})
        for item in body["images"]
    )
    return Corpus(home / "storage", listed, body["size"])


def _forget_old(current: Path) -> None:
    week_ago = time.time() - 7 * 86400
    for other in current.parent.glob("corpus-*"):
        if other != current and other.stat().st_mtime < week_ago:
            shutil.rmtree(other, ignore_errors=True)


class _Build:
    """Makes the corpus in `home`: bases and packages, layers of them, then the images."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.work = home / "work"
        self.work.mkdir()
        self.storage = Storage(home / "storage")
        self.made: list[CorpusImage] = []
        host = debian.host_architecture()
        self.architectures = (host, "arm64" if host == "amd64" else "amd64")
        self.apts = {
            name: Apt(self.work / f"apt-{name}", self.work / f"pool-{name}", name) for name in self.architectures
        }

    def run(self) -> None:
        """Make everything; `corpus.json` is written last."""
        host = self.architectures[0]
        with ThreadPoolExecutor(2) as pool:
            bases = dict(zip(self.architectures, pool.map(self.base, self.architectures)))
            for architecture, apt in self.apts.items():
                apt.status.write_text(debian.status_in(self.tar(host), architecture))
            packages = dict(pool.map(self.fetch, _jobs(self.architectures)))
            big = pool.submit(self.mirror_layer)
            layers = dict(zip(packages, pool.map(self.layer, packages.items())))
            self.keep(_DEBIAN, images.index([_image(_DEBIAN, name, [bases[name]]) for name in bases]))
            for recipe in RECIPES:
                children = [
                    _image(recipe, name, [bases[name], layers[recipe, name]])
                    for name in self.architectures[: recipe.platforms]
                ]
                self.keep(recipe, _whole(recipe, children))
            self.keep(_MIRROR, _image(_MIRROR, host, [bases[host], big.result()]))
        self.keep(_REGISTRY, engine.registry_image())
        self.finish()

    def tar(self, architecture: str) -> Path:
        """Return where a base lies."""
        return self.work / f"base-{architecture}.tar"

    def base(self, architecture: str) -> Blob:
        """Make a base and its layer."""
        apt = self.apts[architecture]
        apt.update()
        debian.bootstrap(apt, self.tar(architecture))
        target = self.work / f"base-{architecture}.layer"
        return self.stored(debian.tar_layer(self.tar(architecture), target), target)

    def fetch(self, job: tuple[Recipe, str]) -> tuple[tuple[Recipe, str], list[Path]]:
        """Download a recipe's packages."""
        return job, self.apts[job[1]].fetch(job[0].packages)

    def layer(self, item: tuple[tuple[Recipe, str], list[Path]]) -> Blob:
        """Make the layer of a recipe for one architecture."""
        (recipe, architecture), packages = item
        target = self.work / f"{RECIPES.index(recipe)}-{architecture}.layer"
        made = debian.package_layer(packages, target, compressor=recipe.compressor, family=recipe.family)
        return self.stored(made, target)

    def mirror_layer(self) -> Blob:
        """Make the big layer: an APT mirror of more than 256 MiB, which no compression makes smaller."""
        apt = self.apts[self.architectures[0]]
        apt.fetch(_MIRROR.packages)
        packages = sorted(apt.pool.glob("*.deb"))
        if sum(path.stat().st_size for path in packages) <= BIG_LAYER:
            raise RuntimeError("the packages of the big layer are too small: add to _MIRROR.packages")
        target = self.work / "mirror.layer"
        made = debian.files_layer(packages, "srv/apt/pool", target, compressor=_MIRROR.compressor)
        return self.stored(made, target)

    def stored(self, blob: Blob, file: Path) -> Blob:
        """Move a layer's bytes to the storage."""
        assert self.storage.put_file(file, move=True) == blob.descriptor.digest
        return blob

    def keep(self, recipe: Recipe, artifact: Artifact) -> None:
        """Put an image below its name, with referrer and signature if it is to have them."""
        name, _, tag = recipe.ref.rpartition(":")
        stored = name.replace(":", "_")  # a host's port is no part of a repository
        features = set(recipe.features)
        features.update({"index"} if artifact.descriptor.is_index else ())
        features.update({"docker"} if recipe.family == "docker" else ())
        features.update({"zstd"} if recipe.compressor == "zstd" else ())
        artifact.put(self.storage, stored, *([] if "digest-only" in features else [tag]))
        fallback = images.referrers_tag(artifact.digest)
        if "referrer" in features:
            listed = images.referrers_index([images.referrer(artifact.descriptor)])
            listed.put(self.storage, stored, fallback)
        if "signature" in features:
            images.cosign_signature(artifact.descriptor, name).put(self.storage, stored, f"{fallback}.sig")
        ref = f"{name}@{artifact.digest}" if "digest-only" in features else recipe.ref
        carried = [child.descriptor for child in artifact.children] or [artifact.descriptor]
        platforms = [str(item.platform) for item in carried if "unknown" not in str(item.platform)]
        self.made.append(
            CorpusImage(ref, artifact.digest, artifact.descriptor.media_type, tuple(platforms), tuple(sorted(features)))
        )

    def finish(self) -> None:
        """Forget the work and write the list."""
        shutil.rmtree(self.work)
        size = sum(path.stat().st_size for path in self.home.glob("storage/**/data"))
        body = {"size": size, "images": [asdict(item) for item in self.made]}
        (self.home / "corpus.json").write_text(json.dumps(body, indent=1))


def _jobs(architectures: Sequence[str]) -> list[tuple[Recipe, str]]:
    return [(recipe, name) for recipe in RECIPES for name in architectures[: recipe.platforms]]


def _image(recipe: Recipe, architecture: str, layers: Sequence[Blob]) -> Artifact:
    if recipe.family == "docker":  # the same bytes, by Docker's name for them
        layers = [
            replace(item, descriptor=replace(item.descriptor, media_type=images.DOCKER_LAYER_GZIP)) for item in layers
        ]
    return images.image(layers, platform=f"linux/{architecture}", family=recipe.family, Cmd=[recipe.command])


def _whole(recipe: Recipe, children: Sequence[Artifact]) -> Artifact:
    if recipe.platforms == 1:
        return children[0]
    attested = [images.attestation(child) for child in children] if "attestation" in recipe.features else []
    return images.index([*children, *attested], family=recipe.family)


if __name__ == "__main__":
    began = time.monotonic()
    whole = corpus()
    print(
        f"{len(whole.images)} images, {whole.size / 1e6:.0f} MB in {whole.storage} ({time.monotonic() - began:.1f} s)"
    )
