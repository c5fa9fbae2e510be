"""One HTTP chart repository, asked by helm. Its index is fetched once; what it says of a digest is compared.

helm fetches index and archive; which version a range means is decided here, by helm's rules, so that a lock, a check
and OCI repositories agree.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from airbundle.bundle.chart import ARCHIVE_LIMIT, PROVENANCE_LIMIT, read_metadata
from airbundle.bundle.chart_index import INDEX_LIMIT, UpstreamChart, upstream_charts
from airbundle.bundle.chart_metadata import ChartMetadata
from airbundle.bundle.digest import sha256
from airbundle.bundle.semver import Version, find, parse_version
from airbundle.errors import DigestMismatch, HostError, NotFound, VerificationError
from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.http import HttpClient
from airbundle.transfer.programs import Done
from airbundle.transfer.retry import Attempts
from airbundle.transfer.wire import Fault

T = TypeVar("T")

_HELM_NAME = "upstream"
_UNVERIFIED = re.compile(r"Verification not found for .*")
_ABSENT = re.compile(r" : (?:403|404|410)\b")


@dataclass(frozen=True)
class FetchedChart:
    """A chart as upstream served it.

    Attributes:
        metadata: its Chart.yaml; name and version are those that were asked for.
        archive: the bytes of the `.tgz`.
        digest: theirs.
        repo: the repository's URL.
        provenance: the bytes of the `.prov` file, where upstream has one.
    """

    metadata: ChartMetadata
    archive: bytes = field(repr=False)
    digest: str
    repo: str
    provenance: bytes | None = field(default=None, repr=False)


class ChartRepository:
    """One HTTP chart repository. Its index is fetched once; for many threads, one at a time.

    Args:
        url: of the directory that holds `index.yaml`.
        http: gives trust, credentials and patience.
        helm: the program.
        credentials: further credentials; by default the usual places.
    """

    def __init__(self, url: str, http: HttpClient, helm: Helm, *, credentials: CredentialStore | None = None) -> None:
        self.url = url.rstrip("/")
        self._what = f"chart repository {self.url}"
        self._http = http
        self._helm = helm
        self._target = http.url(self.url, self._what)
        self._home = HelmHome()
        self._lock = threading.Lock()
        self._has_index = False
        self._known: dict[str, list[UpstreamChart]] = {}
        self._credentials = CredentialStore.from_environment() if credentials is None else credentials

    def versions(self, name: str) -> list[UpstreamChart]:
        """Return the versions of a chart, in the index's order.

        Raises:
            NotFound: the repository has no such chart, or there is no repository.
            VerificationError: its index is none.
            RemoteError: it can't be reached, wants other credentials, …
        """
        with self._lock:
            if name not in self._known:
                self._known[name] = upstream_charts(self._index(), name, what=self._what)
            return self._known[name]

    def resolve(self, name: str, version: str) -> UpstreamChart:
        """Return the version that a range means.

        Args:
            name: of the chart.
            version: a version, a range, or empty for the newest release.

        Raises:
            NotFound: no such chart, or no version in the range; says which there are.
            UsageError: no range.
        """
        charts = self.versions(name)
        chosen = find([chart.version for chart in charts], version)
        if chosen is None:
            what = f"chart {name} {version}".strip()
            raise NotFound(f"{what}: {self.url} does not have it{offered([c.version for c in charts])}")
        return next(chart for chart in charts if chart.version == chosen)

    def fetch(self, name: str, version: str) -> FetchedChart:
        """Fetch a chart.

        Args:
            name, version: as for `resolve`.

        Raises:
            DigestMismatch: the archive is not what the index says.
            VerificationError: it is no chart, or another one.
            NotFound, UsageError, RemoteError: as `resolve`.
        """
        chart = self.resolve(name, version)
        what = f"chart {name} {chart.version} of {self.url}"
        with self._lock:
            archive, provenance = self._pull(name, chart.version, what)
        digest = sha256(archive)
        if chart.digest and digest != chart.digest:
            raise DigestMismatch(
                f"{what}: found digest {digest}, expected {chart.digest} as its index says",
                hint="the archive was changed without the index; ask who runs the repository",
            )
        metadata = read_metadata(archive, what=what)
        if (metadata.name, metadata.version) != (name, chart.version):
            raise VerificationError(f"{what}: the archive holds {metadata.name} {metadata.version}")
        return FetchedChart(metadata, archive, digest, self.url, provenance)

    def _index(self) -> bytes:
        if not self._has_index:
            update = ("repo", "update", "--fail-on-repo-update-fail", _HELM_NAME)
            self._run(f"{self._what}: fetch index", lambda what: self._attempt(*update, what=what))
            self._has_index = True
        path = self._home.repository_cache / f"{_HELM_NAME}-index.yaml"
        return _read(path, INDEX_LIMIT, self._what)

    def _pull(self, name: str, version: str, what: str) -> tuple[bytes, bytes | None]:
        directory = self._home.path / "pulled"
        directory.mkdir(exist_ok=True)
        before = set(directory.iterdir())
        self._run(f"{what}: fetch", lambda what: self._attempt_pull(name, version, directory, what))
        new = sorted(set(directory.iterdir()) - before)
        try:
            signed = [path for path in new if path.name.endswith(".prov")]
            archives = [path for path in new if path not in signed]
            if len(archives) != 1:
                raise VerificationError(f"{what}: helm pulled {len(archives)} archives, expected one")
            provenance = _read(signed[0], PROVENANCE_LIMIT, what) if signed else None
            return _read(archives[0], ARCHIVE_LIMIT, what), provenance
        finally:
            for path in new:
                path.unlink()

    def _attempt_pull(self, name: str, version: str, directory: Path, what: str) -> None:
        arguments = ["pull", f"{_HELM_NAME}/{name}", "--version", version, "--prov", "--destination", str(directory)]
        if self._http.tls(self._target).insecure_skip_verify:
            arguments.append("--insecure-skip-tls-verify")  # `pull` does not take it from the repository's entry
        done = self._attempt(*arguments, what=what)
        warning = _UNVERIFIED.search(done.complaint + done.output.decode("utf-8", "replace"))
        if warning and not _ABSENT.search(warning.group()):
            raise Fault("the provenance file can't be fetched")

    def _attempt(self, *arguments: str | Path, what: str) -> Done:
        credential = self._http.registries.auth(self._target.host) or self._credentials.find(self._target.host)
        self._home.set_repository(_HELM_NAME, self.url, tls=self._http.tls(self._target), credential=credential)
        return self._helm.attempt(*arguments, home=self._home, what=what)

    def _run(self, what: str, attempt: Callable[[str], T]) -> T:
        def once(attempts: Attempts) -> T:  # noqa: ARG001 - the signature of an operation
            return attempt(what)

        return self._http.run(self._target, what, once)

    def close(self) -> None:
        """Remove what helm kept."""
        self._home.close()


def offered(versions: list[str]) -> str:
    """Return, for the end of an error, which versions there are."""
    known = [version for version in map(parse_version, versions) if version is not None]
    if not known:
        return ": it has no chart of this name"
    newest: list[Version] = sorted(known, reverse=True)[:5]
    return f"; the newest there are {', '.join(version.original for version in newest)}"


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise HostError(f"{what}: what helm fetched can't be read: {error}") from None
    if len(data) > limit:
        raise VerificationError(f"{what}: {path.name} has more than the {limit} bytes allowed")
    return data
