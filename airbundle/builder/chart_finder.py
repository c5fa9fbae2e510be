"""Where the charts of an inventory are had, to be rendered: the lock's own, upstream's, or those of a directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from airbundle.builder.chart_dependencies import with_dependencies
from airbundle.builder.sources import SourceResolver
from airbundle.bundle.chart import ARCHIVE_LIMIT
from airbundle.bundle.chart_pack import pack_chart
from airbundle.bundle.digest import sha256
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.lock import CACHE, Lock, LockedRoot
from airbundle.bundle.lockmatch import root_key
from airbundle.bundle.oci import HELM_CHART, MANIFEST_LIMIT, Descriptor, canonical_json, parse_manifest
from airbundle.bundle.semver import find, parse_version
from airbundle.errors import DigestMismatch, Finding, MissingContent, NotFound, VerificationError
from airbundle.store.chart_dir import read_chart_directory
from airbundle.store.host import host_errors, read_bounded

_ARCHIVE = ".tgz"


@dataclass(frozen=True)
class FoundChart:
    """A chart that can be had.

    Attributes:
        digest: of its bytes: another one whenever they are others.
        load: gives the archive; raises AirbundleError.
        findings: what is odd about where it comes from.
    """

    digest: str
    load: Callable[[], bytes] = field(repr=False)
    findings: tuple[Finding, ...] = ()


@dataclass
class ChartFinder:
    """Finds charts; for many threads.

    Attributes:
        sources: asks upstream, and has the inventory and the cache.
        lock: charts in it are taken as it says; None without one.
        directory: holds NAME-VERSION.tgz, in the place of all repositories; None to ask those.
    """

    sources: SourceResolver
    lock: Lock | None = None
    directory: Path | None = None
    _locked: dict[str, LockedRoot] = field(init=False)

    def __post_init__(self) -> None:
        roots = self.lock.roots if self.lock else ()
        self._locked = {root_key(root): root for root in roots if root.kind == "chart"}

    def find(self, request: ChartRequest, *, depth: int = 0) -> FoundChart:
        """Find a chart.

        Args:
            request: what is asked for.
            depth: of how many charts it is a dependency.

        Raises:
            RemoteError, MissingContent: upstream fails, or lacks it; the directory lacks it.
            UsageError: a local one is none.
            VerificationError: what came is no chart.
        """
        if request.path:
            return self._local(request, depth)
        root = self._locked.get(request.requested)
        if root is not None:
            return self._pinned(request, root)
        if self.directory is not None:
            return self._beside(request.name, request.version, self.directory)
        return self._of_root(self._resolve(request))

    def version_of(self, request: ChartRequest) -> str:
        """Return the version of a chart that the lock has for it; without one, that which is asked for."""
        root = self._locked.get(request.requested)
        return root.info.get("version", request.version) if root else request.version

    def _resolve(self, request: ChartRequest) -> LockedRoot:
        (root,) = self.sources.chart(request)
        return root

    def _of_root(self, root: LockedRoot) -> FoundChart:
        layer = self._layer(root)
        return FoundChart(layer.digest, partial(self._read, root, layer))

    def _pinned(self, request: ChartRequest, root: LockedRoot) -> FoundChart:
        try:
            layer = self._layer(root)
        except NotFound:
            if self.directory is None:
                raise
            return self._beside(request.name, root.info.get("version", request.version), self.directory)
        if self.directory is None or self.sources.cache.has(layer.digest, layer.size):
            return FoundChart(layer.digest, partial(self._again, request, root, layer))
        found = self._beside(request.name, root.info.get("version", request.version), self.directory)
        if found.digest == layer.digest:
            return found
        message = f"the chart {request.name} in {self.directory} is not the one that is locked"
        odd = Finding(message, request.where, "chart-differs", found.digest, layer.digest, severity="warning")
        return FoundChart(found.digest, found.load, (odd,))

    def _layer(self, root: LockedRoot) -> Descriptor:
        """Return the archive's descriptor; of a registry's chart its manifest says it."""
        layers = root.blobs
        if root.source != CACHE:
            raw = self._manifest(root)
            layers = parse_manifest(raw, root.descriptor.media_type, what=f"chart {root.ref}").layers
        archives = [layer for layer in layers if layer.media_type == HELM_CHART]
        if len(archives) != 1:
            raise VerificationError(f"chart {root.ref}: found {len(archives)} archives in it, expected one")
        return archives[0]

    def _manifest(self, root: LockedRoot) -> bytes:
        cache = self.sources.cache
        try:
            return cache.read(root.descriptor.digest, MANIFEST_LIMIT)
        except (NotFound, DigestMismatch):
            if self.directory is not None:
                raise NotFound(f"the manifest of the chart {root.ref} is not in the cache") from None
        descriptor, raw = self.sources.client.repository(root.origin).fetch_manifest(root.descriptor.digest)
        cache.add(raw, descriptor.media_type)
        return raw

    def _again(self, request: ChartRequest, root: LockedRoot, layer: Descriptor) -> bytes:
        """Return a locked chart's archive; what the cache has lost upstream may still have."""
        try:
            return self._read(root, layer)
        except NotFound:
            made = self._resolve(
                ChartRequest(request.name, request.repo, version=root.info.get("version", request.version))
            )
        if self._layer(made).digest != layer.digest:
            raise MissingContent(
                f"chart {root.ref}: the locked archive is no longer in the cache, and upstream has another one now",
                hint=f"`airbundle lock --update {request.name}` pins it anew",
            )
        return self._read(made, layer)

    def _read(self, root: LockedRoot, layer: Descriptor) -> bytes:
        cache = self.sources.cache
        try:
            return cache.read(layer.digest, ARCHIVE_LIMIT)
        except (NotFound, DigestMismatch):
            if root.source == CACHE:
                raise NotFound(f"the archive of the chart {root.ref} is not in the cache") from None
        archive = self.sources.client.repository(root.origin).read_blob(layer.digest, ARCHIVE_LIMIT)
        cache.add(archive, HELM_CHART)
        return archive

    def _beside(self, name: str, version: str, directory: Path) -> FoundChart:
        """Find NAME-VERSION.tgz in a directory; a range means the highest that is there."""
        with host_errors("read", directory):
            names = [path.name for path in directory.iterdir()]
        start = f"{name}-"
        there = [text[len(start) : -len(_ARCHIVE)] for text in names if text.startswith(start) and _ends(text)]
        versions = [text for text in there if parse_version(text) is not None]
        chosen = find(versions, version)
        if chosen is None:
            raise NotFound(
                f"{directory} has no {name}-{version or 'VERSION'}{_ARCHIVE}"
                + (f"; it has {', '.join(sorted(versions))}" if versions else ""),
                hint=f"`helm pull {name} --destination {directory}` where its repository can be reached",
            )
        archive = read_bounded(directory / f"{name}-{chosen}{_ARCHIVE}", ARCHIVE_LIMIT)
        return FoundChart(sha256(archive), lambda: archive)

    def _local(self, request: ChartRequest, depth: int) -> FoundChart:
        found = dict(self.sources.opened.files(request.path, where=request.where))
        if set(found) == {""}:
            archive = read_bounded(found[""], ARCHIVE_LIMIT)
            return FoundChart(sha256(archive), lambda: archive)
        files = read_chart_directory(found, what=request.path)
        complete, added, lacking = with_dependencies(files, request, self, depth)
        digest = sha256(canonical_json([[name, sha256(data)] for name, data in sorted(complete.items())]))
        odd = (*([_incomplete(request, added)] if added else []), *lacking)
        return FoundChart(digest, lambda: pack_chart(complete, what=request.path)[1], odd)


def _ends(name: str) -> bool:
    return name.endswith(_ARCHIVE)


def _incomplete(request: ChartRequest, added: list[str]) -> Finding:
    message = f"{request.path}: dependencies are not in charts/ and were fetched: {', '.join(added)}"
    hint = f"run `helm dependency build {request.path}`: `lock` wants them there"
    return Finding(message, request.where, "chart-dependency", hint=hint, severity="warning")
