"""Everything that is not a registry image becomes a locked root whose bytes are in the cache (design §3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from airbundle.builder.images import carried_children
from airbundle.builder.render_kustomize import has_kustomization, kustomize
from airbundle.builder.tools import Tool
from airbundle.bundle.chart import materialise_chart
from airbundle.bundle.chart_index import chart_ref
from airbundle.bundle.chart_metadata import ChartMetadata
from airbundle.bundle.clamav_artifact import FILE_TYPE, TITLE, clamav_artifacts
from airbundle.bundle.content import Materialised
from airbundle.bundle.digest import hex_of
from airbundle.bundle.image_source import DOCKER_DAEMON
from airbundle.bundle.inventory import (
    CVDUPDATE,
    CaRequest,
    ChartRequest,
    ClamavRequest,
    FileRequest,
    ImageRequest,
    ManifestRequest,
)
from airbundle.bundle.lock import CACHE, REGISTRY, LockedRoot
from airbundle.bundle.lockmatch import clamav_origin
from airbundle.bundle.oci import (
    EMPTY_DESCRIPTOR,
    EMPTY_JSON,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    airbundle_type,
    artifact_manifest,
)
from airbundle.bundle.release_artifact import (
    BUILT,
    DESCRIPTION_TYPE,
    FILES_LIMIT,
    describe_release,
    release_layers,
    release_paths,
)
from airbundle.bundle.tool import tool_ref
from airbundle.crypto.ca import check_bundled
from airbundle.errors import DocumentError, UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.store.cache import Cache
from airbundle.store.chart_dir import read_local_chart
from airbundle.store.docker_archive import materialise_docker_archive
from airbundle.store.host import read_bounded
from airbundle.store.inventory_dir import InventoryDir
from airbundle.store.oci_layout import materialise_layout_image
from airbundle.transfer.charts import OCI_SCHEME, ChartSource
from airbundle.transfer.clamav import collect_databases
from airbundle.transfer.docker_engine import engine_image_id, materialise_engine_image
from airbundle.transfer.files import fetch_file
from airbundle.transfer.helm import Helm
from airbundle.transfer.registry import RegistryClient

CA_CERTIFICATE = "ca.crt"
CA_KEY = "ca.key"
_PEM_LIMIT = 1024 * 1024


@dataclass
class SourceResolver:
    """Materialises charts, files, databases, CAs and images that are not in registries.

    Attributes:
        helm: the program, where it was found already.
    """

    opened: InventoryDir
    client: RegistryClient
    cache: Cache
    reporter: Reporter = SILENT
    helm: Helm | None = None

    charts: ChartSource = field(init=False)

    def __post_init__(self) -> None:
        self.charts = ChartSource(self.client, self.helm)

    def close(self) -> None:
        """Remove what helm kept."""
        self.charts.close()

    def image(self, request: ImageRequest) -> LockedRoot:
        """Return the root of an image from an engine, a layout or an archive.

        Raises:
            NotFound: the source has no such image, or lacks a platform that is wanted.
            HostError, RemoteError: the source can't be read, or the engine fails.
            VerificationError: what came is no image.
        """
        source = request.source
        if source.transport == DOCKER_DAEMON:
            made = materialise_engine_image(source.name, self.cache)
        elif source.transport == "docker-archive":
            made = materialise_docker_archive(self._path(request), source.name, self.cache)
        else:
            what = f"{request.where} {request.requested}".strip()

            def choose(manifest: Manifest) -> Sequence[Descriptor]:
                return carried_children(manifest, request.platforms, what=what)

            made = materialise_layout_image(self._path(request), source.name, self.cache, choose=choose)
        root = _locked("image", request.target.full_name, request.requested, request.requested, made)
        return replace(root, platforms=request.platforms)

    def image_id(self, request: ImageRequest) -> str:
        """Return the ID that an engine's image has now. Raises NotFound, RemoteError, HostError."""
        return engine_image_id(request.source.name)

    def _path(self, request: ImageRequest) -> Path:
        return self.opened.resolve(request.source.path, where=request.where)

    def chart_version(self, request: ChartRequest) -> str:
        """Return the version that a chart's range means upstream now.

        Raises:
            RemoteError: the repository fails, or has nothing that fits.
        """
        return self.charts.resolve(request.repo, request.name, request.version)

    def chart(self, request: ChartRequest) -> Sequence[LockedRoot]:
        """Return the root of a chart: upstream's own artifact from a registry, Helm's artifact made of an archive.

        Raises:
            RemoteError: upstream fails, or has no such chart or version.
            VerificationError: what came is no chart.
        """
        if request.path:
            return [self._local_chart(request)]
        return [self._oci_chart(request) if request.repo.startswith(OCI_SCHEME) else self._http_chart(request)]

    def _oci_chart(self, request: ChartRequest) -> LockedRoot:
        reference = self.charts.oci_reference(request.repo, request.name, request.version)
        descriptor, raw, metadata = self.charts.oci_chart(reference)
        self.cache.add(raw, descriptor.media_type)
        return LockedRoot(
            kind="chart",
            ref=chart_ref(request.repo, metadata.name, metadata.version),
            requested=request.requested,
            source=REGISTRY,
            origin=reference.name,
            descriptor=descriptor,
            info=_chart_info(metadata),
        )

    def _http_chart(self, request: ChartRequest) -> LockedRoot:
        fetched = self.charts.fetch(request.repo, request.name, request.version)
        what = f"chart {request.repo} {request.name}"
        made = materialise_chart(
            fetched.archive, self.cache, what=what, provenance=fetched.provenance, info=_chart_info(fetched.metadata)
        )
        ref = chart_ref(request.repo, fetched.metadata.name, fetched.metadata.version)
        return _locked("chart", ref, request.requested, request.repo, made)

    def _local_chart(self, request: ChartRequest) -> LockedRoot:
        local = read_local_chart(self.opened.files(request.path, where=request.where), what=request.path)
        metadata = local.metadata
        if metadata.name != request.name or (request.version and metadata.version != request.version):
            raise UsageError(
                f"{request.where}: found the chart {metadata.name} {metadata.version} in {request.path}, "
                f"expected {request.name} {request.version}".rstrip(),
                hint="write the chart's own name and version into the inventory",
            )
        made = materialise_chart(
            local.archive, self.cache, what=request.path, provenance=local.provenance, info=_chart_info(metadata)
        )
        return _locked("chart", chart_ref("", metadata.name, metadata.version), request.requested, request.path, made)

    def file(self, request: FileRequest) -> Sequence[LockedRoot]:
        """Return the root of a file, fetched from its URL or read from beside the inventory."""
        if request.url:
            digest = fetch_file(self.client.http, request.url, request.digest, self.cache, FILE_TYPE).digest
        else:
            path = self.opened.resolve(request.path, where=request.where)
            digest = self.cache.add_file(path, FILE_TYPE, expected=request.digest).digest
        made = self._artifact("file", [(request.name, digest)], {"name": request.name})
        ref = f"file/{request.name}:{hex_of(digest)[:12]}"
        return [_locked("file", ref, request.requested, request.requested, made)]

    def release(self, request: ChartRequest | ManifestRequest) -> Sequence[LockedRoot]:
        """Return the root of a release: how it is deployed, with its values files and manifests as they are now.

        Raises:
            DocumentError: a file of it can't be carried, or a kustomization can't be built.
            UsageError: it has more files than a release can have.
        """
        assert request.release is not None  # noqa: S101 - asked for only where there is one
        where, name = request.release.where, request.release.name
        carried = {path: self._carried(path, where) for path in release_paths(request)}
        files = {name: file for found in carried.values() for name, file in found.items()}
        if len(files) > FILES_LIMIT:
            raise UsageError(
                f"{where}: the release {name} has {len(files)} files, expected at most {FILES_LIMIT}",
                hint="make several releases of it, or a chart",
            )
        built = _within(request.path, BUILT) if isinstance(request, ManifestRequest) else ""
        manifests = built if built and built in carried[request.path] else ""
        described = describe_release(request, self.opened.inventory.kubernetes, manifests=manifests)
        description = self.cache.add(described, DESCRIPTION_TYPE)
        made = self._manifest("release", release_layers(files), {"name": name}, config=description)
        ref = f"release/{name}:{hex_of(made.descriptor.digest)[:12]}"
        return [_locked("release", ref, f"release {name}", _deployed(request), made)]

    def _carried(self, path: str, where: str) -> dict[str, Descriptor]:
        """Return what is carried of a path: its files, or of a kustomization what it makes."""
        named = self.opened.files(path, where=where)
        if not has_kustomization(inner for inner, _ in named):
            if any(inner == BUILT for inner, _ in named):
                raise DocumentError(
                    f"{where}: {_within(path, BUILT)} has a name that airbundle gives to what a kustomization makes, "
                    "and would be deployed alone",
                    hint="give it another name",
                )
            return {_within(path, inner): self.cache.add_file(real, FILE_TYPE) for inner, real in named}
        built, findings = kustomize(self.opened, path, where=where)
        if built is None:
            raise DocumentError(f"{where}: the kustomization {path} can't be built", findings=findings)
        return {_within(path, BUILT): self.cache.add(built, FILE_TYPE)}

    def tool(self, tool: Tool) -> Sequence[LockedRoot]:
        """Return the root of a program that the site is to have."""
        file = self.cache.add_file(tool.path, FILE_TYPE)
        info = {"name": tool.key, "architecture": tool.architecture}
        made = self._artifact("tool", [(tool.name, file.digest)], info)
        return [_locked("tool", tool_ref(tool.name, tool.architecture, file.digest), tool.key, tool.origin, made)]

    def ca(self, request: CaRequest) -> Sequence[LockedRoot]:
        """Return the root of a bundled CA: its certificate and its encrypted key, byte for byte.

        Raises:
            UsageError: a file is too large, or the certificate does not parse.
        VerificationError: the key is not encrypted, or the certificate is no CA's, or lacks its root.
        """
        certificate = self._small(request.cert, request.where)
        key = self._small(request.key, request.where)
        info = check_bundled(certificate, key)
        files = [
            (CA_CERTIFICATE, self.cache.add(certificate, FILE_TYPE).digest),
            (CA_KEY, self.cache.add(key, FILE_TYPE).digest),
        ]
        made = self._artifact("ca", files, {"subject": info.subject})
        return [_locked("ca", f"ca/internal:{hex_of(files[0][1])[:12]}", "ca", request.cert, made)]

    def clamav(self, request: ClamavRequest) -> Sequence[LockedRoot]:
        """Return a root for each database family; what is doubtful about them goes to the reporter."""
        where = request.where
        source = None if request.source == CVDUPDATE else self.opened.resolve(request.source, where=where)
        collected = collect_databases(
            request,
            source=source,
            custom=[self.opened.resolve(path, where=where) for path in request.custom],
            state=self.cache.root / "clamav",
            now=datetime.now(timezone.utc),
            reporter=self.reporter,
        )
        for warning in collected.warnings:
            self.reporter.warn(str(warning))
        roots = []
        for artifact in clamav_artifacts(collected.files):
            for file in artifact.files:
                self.cache.add_file(file.path, FILE_TYPE, expected=file.digest)
            self.cache.add(EMPTY_JSON, EMPTY_DESCRIPTOR.media_type)
            self.cache.add(artifact.manifest, OCI_MANIFEST)
            blobs = (EMPTY_DESCRIPTOR, *artifact.layers)
            made = Materialised(artifact.descriptor, blobs=blobs, info=artifact.info)
            roots.append(_locked("clamav", artifact.ref, artifact.name, clamav_origin(request, artifact.name), made))
        return roots

    def _artifact(self, kind: str, files: Sequence[tuple[str, str]], info: dict[str, str]) -> Materialised:
        """Put an artifact of named files, whose bytes the cache has, into the cache."""
        layers = tuple(
            Descriptor(FILE_TYPE, digest, self.cache.path(digest).stat().st_size, {TITLE: name})
            for name, digest in files
        )
        self.cache.add(EMPTY_JSON, EMPTY_DESCRIPTOR.media_type)
        return self._manifest(kind, layers, info, config=EMPTY_DESCRIPTOR)

    def _manifest(
        self, kind: str, layers: tuple[Descriptor, ...], info: dict[str, str], *, config: Descriptor
    ) -> Materialised:
        artifact_type = airbundle_type(kind)
        made = self.cache.add(artifact_manifest(artifact_type, layers, config=config), OCI_MANIFEST)
        descriptor = replace(made, artifact_type=artifact_type)
        return Materialised(descriptor, blobs=(config, *layers), info=info)

    def _small(self, path: str, where: str) -> bytes:
        return read_bounded(self.opened.resolve(path, where=where), _PEM_LIMIT)


def _locked(kind: str, ref: str, requested: str, origin: str, made: Materialised) -> LockedRoot:
    return LockedRoot(
        kind=kind,
        ref=ref,
        requested=requested,
        source=CACHE,
        origin=origin,
        descriptor=made.descriptor,
        children=made.manifests,
        blobs=made.blobs,
        info=made.info,
    )


def _within(path: str, inner: str) -> str:
    return "/".join(part for part in (path, inner) if part not in ("", "."))


def _deployed(request: ChartRequest | ManifestRequest) -> str:
    return request.path if isinstance(request, ManifestRequest) else request.requested


def _chart_info(metadata: ChartMetadata) -> dict[str, str]:
    facts = {"name": metadata.name, "version": metadata.version, "appVersion": metadata.app_version}
    return {key: value for key, value in facts.items() if value}
