"""A registry in a container, for tests: the bundle that carries it, how it is asked for, and who asks it."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import MANIFEST_LIMIT, OCI_LAYER, Descriptor, Platform
from airbundle.bundle.statement import Base
from airbundle.installer.container import ContainerConfig, RunningRegistry, ensure_container
from airbundle.installer.load import LoadResult, load
from airbundle.installer.load_plan import plan_load
from airbundle.installer.target import parse_target
from airbundle.progress import SILENT
from airbundle.store.plan import BaseBundle
from airbundle.store.reader import BundleFile
from tests.installer.bundles import content
from tests.support.bundles import write_bundle
from tests.support.engine import Engine, registry_files, registry_image
from tests.support.images import Artifact, Blob, image, index, layer, tiny_image
from tests.support.process import START_LIMIT, program
from tests.support.skopeo import skopeo
from tests.support.tls import Authority

REGISTRY = "docker.io/library/registry:2"
NEWER = "docker.io/library/registry:2.8.3"
REDIS = "docker.io/library/redis:7.2"
APP = "quay.io/team/app:v1"


def other_registry_image() -> Artifact:
    """Return another build of registry:2."""
    files = {**registry_files(), "etc/other": b"another build"}
    return image(
        [layer(files, level=1)],
        Volumes={"/var/lib/registry": {}},
        Entrypoint=["/bin/registry"],
        Cmd=["serve", "/etc/docker/registry/config.yml"],
    )


def app() -> Artifact:
    """Return a two-platform index."""
    return index([tiny_image("app"), tiny_image("app", platform="linux/arm64")])


def write(
    path: Path, images: Mapping[str, Artifact] | None = None, *, carried: Mapping[str, Sequence[Artifact]] | None = None
) -> Path:
    """Write a bundle; by default with a registry and two images to load."""
    given = {REGISTRY: registry_image(), REDIS: tiny_image("redis"), APP: app()} if images is None else images
    write_bundle(path, content(given, carried=carried), installer=None, checksum=False)
    return path


def write_delta(path: Path) -> Path:
    """Write a bundle with the registry's image, whose layers only its base has."""
    made = content({REGISTRY: registry_image()})
    base = BaseBundle(Base("test", "0.9.0", 1, sha256(b"")), set(made.content.others))
    write_bundle(path, made, installer=None, checksum=False, base=base)
    return path


def zstd_registry_image() -> Artifact:
    """Return an image with a layer packed with zstd."""
    packed = layer(registry_files(), compression="none")
    done = subprocess.run([program("zstd", "zstd"), "-q", "-c"], input=packed.data, capture_output=True, check=True)
    descriptor = Descriptor(f"{OCI_LAYER}+zstd", sha256(done.stdout), len(done.stdout))
    return image([Blob(descriptor, done.stdout, packed.diff_id)], Entrypoint=["/bin/registry"])


@dataclass
class Site:
    """One container's configuration on one engine."""

    engine: Engine
    authority: Authority
    config: ContainerConfig
    bundle: BundleFile
    directory: Path
    said: list[str] = field(default_factory=list)

    def ensure(self, bundle: BundleFile | None = None) -> RunningRegistry:
        """Make it run."""
        return ensure_container(bundle or self.bundle, self.config, SILENT, environ=self.engine.env)

    def change(self, **fields: Any) -> None:
        """Ask for something else from now on."""
        self.config = replace(self.config, **fields)

    def new_certificate(self) -> None:
        """Give it another certificate of the same CA, with another key."""
        made = self.authority.issue()
        self.change(certificate=made.cert, key=made.key)

    def load(self) -> LoadResult:
        """Load the bundle into it, as install does."""

        def manifest(descriptor: Descriptor) -> bytes | None:
            digest = descriptor.digest
            return self.bundle.read_small(digest, MANIFEST_LIMIT) if self.bundle.has_blob(digest) else None

        target = parse_target(self.config.here, ca_file=self.authority.ca_file)
        with target.client() as client:
            return load(self.bundle, plan_load(self.bundle.index, manifest), client, target.host, reporter=SILENT)

    def pull(self, name: str) -> str:
        """Copy an image out of it with skopeo, all platforms, and return its digest."""
        certs = self.directory / "certs"
        certs.mkdir(exist_ok=True)
        (certs / "ca.crt").write_bytes(self.authority.ca_pem)
        target = self.directory / f"pulled-{len(list(self.directory.iterdir()))}"
        host = self.config.here.partition("://")[2]
        skopeo("copy", "--all", "--src-cert-dir", str(certs), f"docker://{host}/{name}", f"oci:{target}:x")
        descriptor = json.loads((target / "index.json").read_bytes())["manifests"][0]
        raw = (target / "blobs/sha256" / descriptor["digest"][7:]).read_bytes()
        assert sha256(raw) == descriptor["digest"]
        return str(descriptor["digest"])

    def client(self) -> httpx.Client:
        """Return an HTTP client that trusts the site's CA only."""
        context = ssl.create_default_context(cafile=str(self.authority.ca_file))
        return httpx.Client(verify=context, trust_env=False, base_url=self.config.here)

    def answers(self) -> bool:
        """Tell whether it answers over TLS."""
        try:
            with self.client() as http:
                return http.get("/v2/").status_code == 200
        except httpx.TransportError:
            return False

    def wait(self) -> None:
        """Wait until it answers by itself."""
        self.engine.process.wait_for(lambda: self.answers() or None, what="the registry", limit=START_LIMIT)

    def inspect(self) -> dict[str, Any]:
        """Return what the engine says of the container."""
        with self.engine.client() as client:
            found: dict[str, Any] = client.api.inspect_container(self.config.name)
        return found

    def containers(self) -> list[str]:
        """Return the names of this site's containers, whatever they do."""
        with self.engine.client() as client:
            names = [str(each.name) for each in client.containers.list(all=True)]
        return sorted(name for name in names if name.startswith(self.config.name))

    def volumes(self) -> list[str]:
        """Return the names of this site's volumes."""
        with self.engine.client() as client:
            names = [str(each.name) for each in client.volumes.list()]
        return sorted(name for name in names if name.startswith(self.config.name))


def on_platform(artifact: Artifact, platform: str) -> Artifact:
    """Return an image as a child of an index for `platform`."""
    return replace(artifact, descriptor=replace(artifact.descriptor, platform=Platform.parse(platform)))
