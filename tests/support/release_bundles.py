"""Signed bundles with releases, made in moments from small charts and manifests, and the run of a site over them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airbundle.bundle.chart_pack import pack_chart
from airbundle.bundle.digest import sha256
from airbundle.bundle.inventory import ChartRequest, KubernetesTarget, ManifestRequest
from airbundle.bundle.oci import HELM_CHART, HELM_CONFIG, OCI_MANIFEST, Descriptor, artifact_manifest
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import DESCRIPTION_TYPE, KIND, describe_release, release_layers
from airbundle.installer.journal import Journal
from airbundle.installer.options import Options
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import SiteRun
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Gate, open_trusted
from airbundle.progress import SILENT
from airbundle.store.site_dir import open_site
from airbundle.transfer.cluster_write import open_cluster_writer
from tests.installer.bundles import Key, content, make_key, sign_and_write
from tests.support.bundles import make
from tests.support.images import Artifact, Blob, tiny_image

ARTIFACT = "application/vnd.airbundle.release.v1"
DOMAIN = "shop.internal"
HERE = f"registry.{DOMAIN}:5443"


@dataclass
class Shelf:
    """What goes into a bundle; each call of `chart` and `manifests` adds a release."""

    root: Path
    images: Mapping[str, Artifact] = field(default_factory=lambda: {"docker.io/library/app:1": tiny_image("app")})
    charts: dict[str, Artifact] = field(default_factory=dict)
    releases: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    def chart(self, release: Release, files: Mapping[str, str], given: Mapping[str, str] | None = None) -> None:
        """Add a chart with its release; `given` has its values files and other local files."""
        text = f"apiVersion: v2\nname: {release.name}\nversion: 1.0.0\n"
        raw = {"Chart.yaml": text.encode(), **{path: data.encode() for path, data in files.items()}}
        archive = pack_chart(raw, what=release.name)[1]
        config = json.dumps({"apiVersion": "v2", "name": release.name, "version": "1.0.0"}).encode()
        request = ChartRequest(release.name, path=f"charts/{release.name}", release=release)
        self.charts[f"local/charts/{release.name}:1.0.0"] = _artifact(
            "", _blob(HELM_CONFIG, config), [_blob(HELM_CHART, archive)]
        )
        self._release(request, release, given or {})

    def manifests(self, release: Release, files: Mapping[str, str]) -> None:
        """Add a release of manifests; those of it lie in `manifests/`."""
        self._release(ManifestRequest("manifests", release), release, files)

    def _release(self, request: ChartRequest | ManifestRequest, release: Release, files: Mapping[str, str]) -> None:
        blobs = {path: _blob("application/octet-stream", text.encode()) for path, text in files.items()}
        layers = release_layers({path: blob.descriptor for path, blob in blobs.items()})
        description = _blob(DESCRIPTION_TYPE, describe_release(request, KubernetesTarget()))
        held = {blob.descriptor.digest: blob for blob in blobs.values()}
        made = _artifact(ARTIFACT, description, [Blob(layer, held[layer.digest].data) for layer in layers])
        self.releases[KIND, f"release/{release.name}:{made.descriptor.digest[7:19]}"] = made

    def write(self, key: Key, version: str = "1.0.0", serial: int = 1767225600, name: str = "test") -> Path:
        """Write the bundle and return its path."""
        given: Any = {"name": name, "version": version, "serial": serial}
        made = content(self.images, charts=self.charts, others=self.releases, **given)
        # What the lock calls a chart is not what registries call it.
        asked = {ref: f"charts/{_name_in(ref)} {_name_in(ref)}" for ref in self.charts}
        roots = tuple(replace(root, requested=asked.get(root.ref, root.requested)) for root in made.lock.roots)
        everything = [*self.images.values(), *self.charts.values(), *self.releases.values()]
        made = make(everything, roots, lock=replace(made.lock, roots=roots))
        return sign_and_write(self.root / f"{name}-{version}-{serial}.airbundle", made, key)


def _name_in(ref: str) -> str:
    return ref.rpartition("/")[2].partition(":")[0]


def _blob(media_type: str, data: bytes) -> Blob:
    return Blob(Descriptor(media_type, sha256(data), len(data)), data)


def _artifact(artifact_type: str, config: Blob, layers: list[Blob]) -> Artifact:
    raw = artifact_manifest(artifact_type, tuple(blob.descriptor for blob in layers), config=config.descriptor)
    descriptor = Descriptor(OCI_MANIFEST, sha256(raw), len(raw), artifact_type=artifact_type)
    return Artifact(descriptor, raw, (config, *layers))


@dataclass
class Host:
    """The operator's host: a state directory, a site file, a key, and the way to a cluster."""

    root: Path
    kubeconfig: Path
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if (self.root / "state").is_dir():
            return
        self.key = make_key(self.root, "release")
        (self.root / "state").mkdir()
        self.site()

    @classmethod
    def at(cls, root: Path, kubeconfig: Path) -> Host:
        """Return a host that is there already, for another process; it makes no bundles."""
        return cls(root, kubeconfig)

    def site(self, **changes: Any) -> None:
        """Write the site file."""
        body = {"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": "berlin"}, "domain": DOMAIN}
        (self.root / "site.yaml").write_text(json.dumps({**body, **changes}))

    @contextmanager
    def run(self, bundle: Path, **changes: Any) -> Iterator[SiteRun]:
        """Give a run over a bundle; a new deployment is begun unless there is one of the same bundle."""
        state = StateDirectory(self.root / "state")
        with open_trusted([bundle], state, Gate((self.root / "release.pub",))) as trusted:
            site = open_site(self.root / "site.yaml")
            site_state = SiteState(state, site.site.name)
            site_state.make()
            latest, statement = site_state.latest(), trusted.statement
            digest = sha256(trusted.bundle.statement_raw)
            if latest is None or latest.statement != digest:
                deployment = Deployment(
                    (latest.number if latest else 0) + 1,
                    statement.name,
                    statement.version,
                    statement.serial,
                    digest,
                    "2026-01-01T00:00:00Z",
                    releases=latest.releases if latest else (),
                )
                site_state.write(deployment)
            with open_cluster_writer(self.kubeconfig) as cluster:
                run = SiteRun(
                    trusted,
                    site,
                    Options(domain=DOMAIN),
                    state,
                    site_state,
                    Journal(site_state.journal),
                    cluster,
                    SILENT,
                )
                yield replace(run, **changes)
