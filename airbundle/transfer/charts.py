"""Charts from upstream: HTTP repositories through helm, OCI ones through the registry client (design §5)."""

from __future__ import annotations

import logging
import threading

from airbundle.bundle.chart_metadata import ChartMetadata, parse_metadata
from airbundle.bundle.oci import HELM_CHART, HELM_CONFIG, Descriptor, parse_json, parse_manifest
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.bundle.semver import find, parse_version
from airbundle.errors import NotFound, UsageError, VerificationError
from airbundle.transfer.chart_repository import ChartRepository, FetchedChart, offered
from airbundle.transfer.helm import Helm
from airbundle.transfer.registry import RegistryClient

__all__ = ["ChartRepository", "ChartSource", "FetchedChart", "oci_repository"]

logger = logging.getLogger(__name__)

OCI_SCHEME = "oci://"
_CONFIG_LIMIT = 4 * 1024 * 1024


class ChartSource:
    """Charts from anywhere upstream; repositories and their indexes are shared. For many threads. A context manager.

    Args:
        client: for OCI charts; its HTTP client gives trust, credentials and patience to helm.
        helm: the program; found when it is first needed.
    """

    def __init__(self, client: RegistryClient, helm: Helm | None = None) -> None:
        self._client = client
        self._helm = helm
        self._lock = threading.Lock()
        self._repositories: dict[str, ChartRepository] = {}

    @property
    def helm(self) -> Helm:
        """The helm that is used."""
        with self._lock:
            return self._found_helm()

    def _found_helm(self) -> Helm:
        if self._helm is None:
            self._helm = Helm.find(side=self._client.http.side)
            logger.info("charts: helm %s, %s", self._helm.version, self._helm.program)
        return self._helm

    def repository(self, url: str) -> ChartRepository:
        """Return the HTTP repository at `url`; nothing is sent yet."""
        key = url.rstrip("/")
        with self._lock:
            if key not in self._repositories:
                self._repositories[key] = ChartRepository(url, self._client.http, self._found_helm())
            return self._repositories[key]

    def resolve(self, repo: str, name: str, version: str) -> str:
        """Return the version that a range means today, of a repository of either kind.

        Raises:
            NotFound, UsageError, VerificationError, RemoteError: see `ChartRepository.resolve`.
        """
        if repo.startswith(OCI_SCHEME):
            return self.oci_reference(repo, name, version).tag.replace("_", "+")
        return self.repository(repo).resolve(name, version).version

    def fetch(self, repo: str, name: str, version: str) -> FetchedChart:
        """Fetch a chart of an HTTP repository; see `ChartRepository.fetch`."""
        return self.repository(repo).fetch(name, version)

    def oci_reference(self, repo: str, name: str, version: str) -> Reference:
        """Return the full name of an OCI chart: a version is a tag, a range is looked up in the tags, as helm does.

        Args:
            repo: `oci://host/path`, the chart's parent.
            name: of the chart, the last part of its repository.
            version: a version, a range, or empty for the newest release.

        Raises:
            NotFound: no such chart, or no tag in the range.
            UsageError: no such name, or no range.
        """
        repository = oci_repository(repo, name)
        if version and parse_version(version) is not None:
            return parse_reference(f"{repository}:{version.replace('+', '_')}")
        tags = self._client.repository(repository).tags()
        # helm takes only strict versions for tags of charts, so that "v1" or "latest" are never chosen by a range.
        versions = [tag.replace("_", "+") for tag in tags if parse_version(tag.replace("_", "+"), strict=True)]
        chosen = find(versions, version)
        if chosen is None:
            raise NotFound(f"chart {repository} {version}: no tag fits{offered(versions)}")
        return parse_reference(f"{repository}:{chosen.replace('+', '_')}")

    def oci_chart(self, reference: Reference) -> tuple[Descriptor, bytes, ChartMetadata]:
        """Return an OCI chart's manifest, as upstream has it, and its metadata.

        Raises:
            VerificationError: it is no chart.
            NotFound, RemoteError: it is not there, or can't be reached.
        """
        what = f"chart {reference}"
        repository = self._client.repository(reference.name)
        descriptor, raw = repository.fetch_manifest(reference.wanted)
        manifest = parse_manifest(raw, descriptor.media_type, what=what)
        kinds = [layer.media_type for layer in manifest.layers]
        if manifest.config is None or manifest.config.media_type != HELM_CONFIG or kinds.count(HELM_CHART) != 1:
            found = manifest.kind_type or manifest.media_type
            raise VerificationError(f"{what}: found an artifact of type {found}, expected a chart ({HELM_CONFIG})")
        config = parse_json(repository.read_blob(manifest.config.digest, _CONFIG_LIMIT), what=f"{what}: config")
        return descriptor, raw, parse_metadata(config, what=f"{what}: config")

    def close(self) -> None:
        """Remove what helm kept."""
        with self._lock:
            for repository in self._repositories.values():
                repository.close()

    def __enter__(self) -> ChartSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def oci_repository(repo: str, name: str) -> str:
    """Return the repository of an OCI chart, `host/path/name`.

    Raises:
        UsageError: `repo` and `name` make no legal name.
    """
    parent = repo[len(OCI_SCHEME) :].strip("/")
    if not repo.startswith(OCI_SCHEME) or "/" not in f"{parent}/{name}":
        raise UsageError(f"chart repository {repo!r}: expected {OCI_SCHEME}host/path")
    return parse_reference(f"{parent}/{name}:x").name
