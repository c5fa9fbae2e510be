"""`bundle.yaml`: what the release engineer asks for (design §8), as values, and the digest of its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.image_source import ImageSource
from airbundle.bundle.oci import canonical_json
from airbundle.bundle.own_names import OwnName, declared
from airbundle.bundle.reference import Reference
from airbundle.bundle.release import Release

INVENTORY_NAME = "bundle.yaml"
DEFAULT_PLATFORMS = ("linux/amd64",)
DEFAULT_DATABASES = ("main", "daily", "bytecode")
CVDUPDATE = "cvdupdate"


@dataclass(frozen=True)
class ImageRequest:
    """An image that is asked for.

    Attributes:
        requested: in the inventory's own words; what `lock --update NAME` and the lock call it.
        source: where it comes from.
        target: its full name in the bundle.
        platforms: what is carried of an index; empty: all (`sparse: false`).
        where: `bundle.yaml:12 images[3]`.
    """

    requested: str
    source: ImageSource
    target: Reference
    platforms: tuple[str, ...]
    where: str = field(default="", compare=False)

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        source = self.source
        wanted = str(source.own_name) if source.transport == "registry" else source.name
        return {
            "source": [source.transport, source.path, wanted],
            "target": str(self.target),
            "platforms": sorted(self.platforms),
        }


@dataclass(frozen=True)
class ChartRequest:
    """A chart that is asked for: from a repository (`repo`, http(s) or oci) or a directory or archive (`path`).

    Attributes:
        version: may be a range, and is empty for a local chart whose version is its own.
        variants: name → further values files that sites may use, laid over the release's.
    """

    name: str
    repo: str = ""
    path: str = ""
    version: str = ""
    release: Release | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    @property
    def requested(self) -> str:
        """What the lock calls it: `REPO NAME VERSION` or `PATH NAME`, in one spelling."""
        return " ".join(part for part in (*self.identity, self.version) if part)

    @property
    def identity(self) -> tuple[str, str]:
        """Source and name in one spelling: scheme and host are lower case, no slash ends the URL."""
        scheme, mark, rest = self.repo.partition("://")
        host, slash, path = rest.partition("/")
        return (f"{scheme.lower()}{mark}{host.lower()}{slash}{path}".rstrip("/") or self.path, self.name)

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        release = self.release.meaning() if self.release else None
        body = {"source": list(self.identity), "version": self.version, "release": release}
        # What is not there is left out, so that locks from before there were variants still fit.
        return {**body, "variants": dict(self.variants)} if self.variants else body


@dataclass(frozen=True)
class ManifestRequest:
    """Kubernetes manifests: a file or a directory below the inventory."""

    path: str
    release: Release | None = None
    where: str = field(default="", compare=False)

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        return {"path": self.path, "release": self.release.meaning() if self.release else None}


@dataclass(frozen=True)
class FileRequest:
    """A file called `name` at the site: from `url` with its `sha256:…` digest, or from a local `path`."""

    name: str
    url: str = ""
    path: str = ""
    digest: str = ""
    where: str = field(default="", compare=False)

    @property
    def requested(self) -> str:
        """What the lock calls it."""
        return self.url or self.path

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        return {"name": self.name, "url": self.url, "path": self.path, "digest": self.digest}


@dataclass(frozen=True)
class ClamavRequest:
    """ClamAV databases: `source` is `cvdupdate` or a directory; `custom` are signature files of one's own."""

    source: str
    databases: tuple[str, ...] = DEFAULT_DATABASES
    custom: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        return {"source": self.source, "databases": sorted(self.databases), "custom": sorted(self.custom)}


@dataclass(frozen=True)
class CaRequest:
    """The internal CA: made at the `site`, `bundled` (certificate and encrypted key are files), or `external`."""

    mode: str = "site"
    cert: str = ""
    key: str = ""
    permitted: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        return {"mode": self.mode, "cert": self.cert, "key": self.key, "permitted": sorted(self.permitted)}


@dataclass(frozen=True)
class KubernetesTarget:
    """The cluster that charts are rendered for: its version and what API versions it has beside its own."""

    version: str = ""
    api_versions: tuple[str, ...] = ()

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock."""
        return {"version": self.version, "apiVersions": sorted(self.api_versions)}


@dataclass(frozen=True)
class Inventory:
    """A whole inventory.

    Attributes:
        expires: `90d`, a date, or `never`; `durations.expires_at` tells when that is.
        platforms: of images that say nothing of their own.
        site: names that values ask of each site, beside those that every bundle knows.
        operators: files with the team's own knowledge of what operators run (docs/scan.md).
        where: the document's name, for errors.
    """

    name: str
    version: str
    expires: str = "never"
    platforms: tuple[str, ...] = DEFAULT_PLATFORMS
    images: tuple[ImageRequest, ...] = ()
    charts: tuple[ChartRequest, ...] = ()
    manifests: tuple[ManifestRequest, ...] = ()
    files: tuple[FileRequest, ...] = ()
    clamav: ClamavRequest | None = None
    ca: CaRequest = CaRequest()
    kubernetes: KubernetesTarget = KubernetesTarget()
    operators: tuple[str, ...] = ()
    site: tuple[OwnName, ...] = ()
    where: str = field(default=INVENTORY_NAME, compare=False)

    @property
    def releases(self) -> tuple[Release, ...]:
        """Releases of charts and manifests, in the document's order."""
        found = [chart.release for chart in self.charts] + [manifest.release for manifest in self.manifests]
        return tuple(release for release in found if release is not None)

    def own_paths(self) -> list[tuple[str, str]]:
        """Return each local file or directory whose content belongs to the inventory, with the place that names it.

        They are charts, manifests, values, files, signatures, the CA and knowledge of operators; all relative to the
        inventory's directory.
        """
        named: list[tuple[str, str]] = []
        named += [(chart.path, chart.where) for chart in self.charts]
        named += [(manifest.path, manifest.where) for manifest in self.manifests]
        named += [(path, release.where) for release in self.releases for path in release.paths]
        named += [(path, chart.where) for chart in self.charts for paths in chart.variants.values() for path in paths]
        named += [(file.path, file.where) for file in self.files]
        if self.clamav is not None:
            named += [(path, self.clamav.where) for path in self.clamav.custom]
        named += [(self.ca.cert, self.ca.where), (self.ca.key, self.ca.where)]
        named += [(path, self.where) for path in self.operators]
        return [(path, where) for path, where in named if path]

    def digest(self, local_files: Mapping[str, str]) -> str:
        """Return the digest of what the inventory means; comments, spelling and order do not count.

        Args:
            local_files: path → digest of what lies at each of `own_paths`.
        """
        clamav = self.clamav.meaning() if self.clamav else None
        body = {
            "metadata": [self.name, self.version],
            "expires": self.expires,
            "images": _sorted(image.meaning() for image in self.images),
            "charts": _sorted(chart.meaning() for chart in self.charts),
            "manifests": [manifest.meaning() for manifest in self.manifests],
            "files": _sorted(file.meaning() for file in self.files),
            "clamav": clamav,
            "ca": self.ca.meaning(),
            "kubernetes": self.kubernetes.meaning(),
            "local": dict(local_files),
        }
        if self.operators:  # as with variants of charts
            body["operators"] = list(self.operators)
        if self.site:
            body["site"] = declared(self.site)
        return sha256(canonical_json(body))


def _sorted(meanings: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(meanings, key=canonical_json)


def parse_inventory(raw: bytes, *, where: str = INVENTORY_NAME) -> Inventory:
    """Read `bundle.yaml`; local files are not touched.

    Args:
        raw: the file's bytes.
        where: its name, for errors.

    Raises:
        DocumentError: it does not parse; every finding is listed, with line, field, found and expected.
    """
    # The description of the fields is needed by those who read, not by those who only hold an inventory.
    from airbundle.bundle.inventory_reader import read_inventory

    return read_inventory(raw, where)
