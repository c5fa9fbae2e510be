"""What a release is at a site: its chart and values, or its manifests, as objects with every image pinned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from airbundle.bundle.chart import chart_files
from airbundle.bundle.chart_metadata import metadata_of
from airbundle.bundle.digest import sha256
from airbundle.bundle.durations import parse_duration
from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.oci import canonical_json
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.bundle.values_file import ValuesFile
from airbundle.deploy.desired import Desired, desired_objects, images_of
from airbundle.deploy.pins import PinTable
from airbundle.errors import CheckFailed, Finding
from airbundle.installer.image_pins import ImagePins
from airbundle.installer.post_render import keep_name, missing_images
from airbundle.installer.render_source import ReleaseSource
from airbundle.installer.verify import Trusted
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Rendering
from airbundle.scan.pin import Pinned, pin_images
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.helm_template import DEFAULT_NAMESPACE

KEEP_NAMES = "keep-names"


@dataclass(frozen=True)
class Material:
    """A release as it is to be.

    Attributes:
        release: with the site's choices.
        namespace: where it goes.
        chart: the chart's own name; empty for manifests.
        archive: the chart, packed.
        values: in order, later ones win.
        objects: in the order in which they are applied; with hooks and tests.
        images: names with digests that it runs.
        inputs: digest of all that decides what it is.
    """

    release: Release
    namespace: str
    chart: str
    archive: bytes = field(repr=False)
    values: tuple[ValuesFile, ...] = field(repr=False)
    objects: tuple[Desired, ...] = field(repr=False)
    images: tuple[str, ...]
    inputs: str

    @property
    def running(self) -> list[Desired]:
        """Its objects without hooks and tests."""
        return [each for each in self.objects if each.phase == "run"]

    @property
    def text(self) -> bytes:
        """Its objects as documents: what is applied of a release of manifests, and kept."""
        return "".join(f"---\n{json.dumps(each.body, sort_keys=True)}\n" for each in self.running).encode()

    @property
    def timeout(self) -> float:
        """Seconds that it may take to become well."""
        return timeout_of(self.release)


def timeout_of(release: Release | None) -> float:
    """Return the seconds that a release may take to become well."""
    return parse_duration((release or Release("any")).timeout).total_seconds()


class Materials:
    """Renders the releases of a bundle for a site's cluster. For many threads at once.

    Use as a context manager: helm's files go with it.
    """

    def __init__(self, trusted: Trusted, site: SiteDir, cluster: ClusterWriter, tools: Path | None = None) -> None:
        self.pins: PinTable = ImagePins.of(trusted.bundle, site.site).table
        self._cluster = cluster
        self._source = ReleaseSource(trusted, site, None, tools=tools)
        self._lock = Lock()

    def __enter__(self) -> Materials:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.__exit__()

    def of(self, carried: CarriedRelease, release: Release) -> Material:
        """Return what a release is, rendered for the cluster as it is now.

        Args:
            carried: as the bundle has it.
            release: with the site's choices.

        Raises:
            CheckFailed: it can't be rendered, or an image that is certain to run is not in the bundle.
            HostError: there is no helm.
        """
        return self.with_values(carried, release)

    def with_values(
        self, carried: CarriedRelease, release: Release, given: Sequence[ValuesFile] | None = None
    ) -> Material:
        """Return what a release is; as `of`, but with other values than the bundle's and the site's, where given."""
        with self._lock:
            source = self._opened(carried)
            values, findings = source.values(carried, release) if given is None else (list(given), [])
            _raise(release, findings)
            renderings, problems = source.renderings(carried, release, values)
            archive = source.chart(carried.chart) if carried.chart else b""
        pinned, more = self._pinned(release, renderings)
        objects, odd = desired_objects(pinned, _namespace(release), self.scope, f"release {release.name}")
        _raise(release, [*problems, *more, *odd])
        chart = _chart_name(archive, carried.chart) if archive else ""
        inputs = _inputs(release, archive, values, objects, pinned)
        return Material(
            release, _namespace(release), chart, archive, tuple(values), tuple(objects), images_of(objects), inputs
        )

    def manifests(self, carried: CarriedRelease, release: Release, paths: Sequence[str]) -> list[Desired]:
        """Return the objects of further manifests of a release, such as those of `before`, pinned as the rest.

        Raises:
            CheckFailed: one can't be read, or an image that is certain to run is not in the bundle.
        """
        with self._lock:
            renderings, findings = self._opened(carried).manifests(carried, release, paths)
        pinned, more = self._pinned(release, renderings)
        objects, odd = desired_objects(pinned, _namespace(release), self.scope, f"release {release.name}")
        _raise(release, [*findings, *more, *odd])
        return objects

    def _opened(self, carried: CarriedRelease) -> ReleaseSource:
        """Return what renders for the cluster as it is now: releases that came up meanwhile may have brought kinds."""
        given = carried.kubernetes.api_versions
        versions = tuple(sorted({*self._cluster.api_versions(), *given}))
        self._source.render_for(KubernetesTarget(self._cluster.version(), versions))
        return self._source

    def _pinned(self, release: Release, renderings: Sequence[Rendering]) -> tuple[list[Pinned], list[Finding]]:
        findings = [finding for rendering in renderings for finding in read_manifests(rendering)[1]]
        keeps = release.images == KEEP_NAMES
        pinned = [pin_images(each, keep_name if keeps else self.pins.of_image) for each in renderings]
        if not keeps:
            findings += [finding for each in pinned for finding in missing_images(each, self.pins)]
        return pinned, findings

    def scope(self, api_version: str, kind: str) -> bool | None:
        """Tell whether objects of a kind have namespaces; None for a kind that the cluster does not know."""
        resource = self._cluster.resource_of(api_version, kind)
        return resource.namespaced if resource else None


def _namespace(release: Release) -> str:
    return release.namespace or DEFAULT_NAMESPACE


def _chart_name(archive: bytes, what: str) -> str:
    wanted = ("Chart.yaml", "requirements.yaml")
    files = {path: data for path, data in chart_files(archive, what=what) if path in wanted}
    return metadata_of(files, what=what).name


def _raise(release: Release, findings: Sequence[Finding]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise CheckFailed(f"the release {release.name} can't be deployed as it is", findings=errors)


def _inputs(
    release: Release,
    archive: bytes,
    values: Sequence[ValuesFile],
    objects: Sequence[Desired],
    pinned: Sequence[Pinned],
) -> str:
    """Return the digest of what decides what a release is.

    A chart's render is no part of it: some charts render other passwords each time. The pins are, as far as it uses
    them: another image elsewhere in the bundle is no reason to deploy this release again.
    """
    body: dict[str, object] = {"namespace": _namespace(release), "images": release.images}
    if archive:
        images: Mapping[str, str] = {written: name for each in pinned for written, name in each.images.items()}
        body.update(chart=sha256(archive), values=[file.text for file in values], pins=images)
    else:
        body.update(objects=[each.body for each in objects])
    return sha256(canonical_json(body))
