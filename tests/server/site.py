"""A bundle with something of every kind, and the ways to ask the server for it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from airbundle.bundle.chart import materialise_chart
from airbundle.bundle.chart_index import chart_ref
from airbundle.bundle.clamav import HEADER_SIZE, parse_header, parse_name
from airbundle.bundle.clamav_artifact import TITLE, ClamavFile, clamav_artifacts
from airbundle.bundle.digest import sha256
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor, airbundle_type, artifact_manifest
from airbundle.bundle.serving import ServedBundle, ServerConfig
from airbundle.server.app import App, make_app
from airbundle.store.cache import Cache
from tests.support.bundles import SERIAL, Made, locked, make, write_bundle
from tests.support.clamav import make_cdiff, make_cvd
from tests.support.helm import package, write_chart
from tests.support.images import (
    Artifact,
    Blob,
    cosign_signature,
    image,
    index,
    layer,
    noise,
    referrer,
    tiny_image,
)

REDIS = "docker.io/library/redis:7.2"
APP = "quay.io/team/app:v1"
SPARSE = "quay.io/team/sparse:v1"
BIG = "registry.example:5000/team/big:1"
BUILT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
FILE = b"a tool\n" * 1000


def artifact(raw: bytes, descriptor: Descriptor, blobs: Mapping[Descriptor, bytes]) -> Artifact:
    """Return an artifact of these bytes."""
    return Artifact(descriptor, raw, tuple(Blob(each, data) for each, data in blobs.items()))


def chart_artifact(archive: Path, repo: str) -> tuple[str, Artifact]:
    """Return a chart's name in the bundle, and Helm's artifact for it."""
    cache = Cache(archive.parent / "cache")
    made = materialise_chart(archive.read_bytes(), cache, what=archive.name, provenance=b"a provenance")
    ref = chart_ref(repo, made.info["name"], made.info["version"])
    blobs = {blob: cache.read(blob.digest, blob.size) for blob in made.blobs}
    return ref, artifact(cache.read(made.descriptor.digest, made.descriptor.size), made.descriptor, blobs)


def file_artifact(files: Mapping[str, bytes]) -> Artifact:
    """Return an artifact that carries files by name."""
    layers = {
        Descriptor("application/octet-stream", sha256(data), len(data), {TITLE: name}): data
        for name, data in files.items()
    }
    raw = artifact_manifest(airbundle_type("file"), tuple(layers))
    return artifact(raw, Descriptor(OCI_MANIFEST, sha256(raw), len(raw)), layers)


def clamav_roots(directory: Path, files: Mapping[str, bytes]) -> dict[str, Artifact]:
    """Return the artifacts of databases, by their names in the bundle."""
    directory.mkdir(parents=True, exist_ok=True)
    checked = []
    for name, data in files.items():
        path = directory / name
        path.write_bytes(data)
        parsed = parse_name(name)
        assert parsed is not None
        header = parse_header(data[:HEADER_SIZE], what=name) if parsed.kind == "database" else None
        checked.append(ClamavFile(name, path, len(data), sha256(data), parsed.family, header))
    return {
        each.ref: artifact(
            each.manifest,
            each.descriptor,
            {blob: file.path.read_bytes() for blob, file in zip(each.layers, each.files)},
        )
        for each in clamav_artifacts(checked)
    }


@dataclass(frozen=True)
class Site:
    """A bundle and what is in it.

    Attributes:
        images: by full name.
        charts: archives by file name.
    """

    path: Path
    made: Made
    images: Mapping[str, Artifact]
    referrer: Artifact
    signature: Artifact
    charts: Mapping[str, bytes]
    databases: Mapping[str, bytes]

    @property
    def served(self) -> ServedBundle:
        return ServedBundle((self.path,))

    @property
    def big(self) -> bytes:
        """The bytes of the one large layer."""
        data = self.images[BIG].blobs[1].data
        assert data is not None
        return data


def make_site(directory: Path, *, volume_size: int | None = None) -> Site:
    """Write the bundle into `directory`."""
    app = index([tiny_image("app"), tiny_image("app", platform="linux/arm64")])
    sparse = index([tiny_image("sparse"), tiny_image("sparse", platform="linux/arm64")])
    images = {
        REDIS: tiny_image("redis", family="docker"),
        APP: app,
        SPARSE: sparse,
        BIG: image([layer({"big": noise("big", 3_000_000)}, compression="none")]),
    }
    sbom = referrer(images[REDIS].descriptor)
    signature = cosign_signature(images[REDIS].descriptor, REDIS)
    tag = "sha256-" + images[REDIS].digest[7:] + ".sig"
    signed = replace(signature.descriptor, annotations={"dev.airbundle.ref": f"docker.io/library/redis:{tag}"})
    roots: list[LockedRoot] = [
        locked(REDIS, images[REDIS], referrers=[sbom, signed]),
        locked(APP, app),
        locked(SPARSE, sparse, children=sparse.children[:1]),
        locked(BIG, images[BIG]),
    ]
    artifacts = [*images.values(), sbom, signature]
    archives = _charts(directory)
    for repo, archive in archives.items():
        ref, chart = chart_artifact(archive, repo)
        roots.append(locked(ref, chart, kind="chart"))
        artifacts.append(chart)
    databases = {
        "daily.cvd": make_cvd("daily", 27001, BUILT),
        "daily-27001.cdiff": make_cdiff(27001),
        "local.ndb": b"Test:0:*:41414141\n",
    }
    others = {
        "clamav": clamav_roots(directory / "clamav", databases),
        "file": {"file/tool:1": file_artifact({"tool": FILE})},
    }
    for kind, found in others.items():
        roots += [locked(ref, each, kind=kind) for ref, each in found.items()]
        artifacts += found.values()
    made = make(artifacts, roots)
    path = directory / "site-1.0.0.airbundle"
    write_bundle(path, made, volume_size=volume_size)
    charts = {archive.name: archive.read_bytes() for archive in archives.values()}
    return Site(path, made, images, sbom, signature, charts, databases)


def _charts(directory: Path) -> dict[str, Path]:
    home, sources = directory / "helm", directory / "sources"
    return {
        "https://charts.example.com/stable": package(write_chart(sources, "web", "1.2.3"), directory, home=home),
        "oci://ghcr.io/team/charts": package(write_chart(sources, "db", "2.0.0+build.5"), directory, home=home),
        "": package(write_chart(sources, "mine", "0.1.0"), directory, home=home),
    }


def newer(made: Made, *, seconds: int = 60) -> Lock:
    """Return the lock of `made` as a later build would have it."""
    moment = datetime.fromtimestamp(SERIAL + seconds, timezone.utc)
    return replace(made.lock, version="1.0.1", serial=SERIAL + seconds, created=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


@dataclass
class Answer:
    """What a WSGI application answered."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """The specification's error code."""
        import json

        return cast(str, json.loads(self.body)["errors"][0]["code"])


def ask(app: App, path: str, method: str = "GET", query: str = "", **headers: str) -> Answer:
    """Ask an application directly; header names are written with `_`."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    answered: list[Any] = []

    def start(status: str, found: list[tuple[str, str]], error: Any = None) -> Any:
        answered.append((int(status.partition(" ")[0]), {name.title(): value for name, value in found}))

    chunks: Iterable[bytes] = app(environ, start)
    body = b"".join(chunks)
    status, found = answered[0]
    assert method != "HEAD" or not body
    if method != "HEAD" and status != 304:
        assert int(found["Content-Length"]) == len(body)
    return Answer(status, found, body)


def app_of(*bundles: Path, **settings: Any) -> App:
    """Return the application over bundles."""
    return make_app(ServerConfig(tuple(ServedBundle((path,)) for path in bundles), **settings))
