"""What a release of a bundle deploys at a site, as renders: a chart with its values, or manifests, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from airbundle.bundle.chart import ARCHIVE_LIMIT
from airbundle.bundle.content import BlobSource
from airbundle.bundle.index import CHART, ref_of
from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.oci import HELM_CHART, MANIFEST_LIMIT, Descriptor, parse_manifest
from airbundle.bundle.own_names import names_at
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.bundle.template_yaml import fill_yaml
from airbundle.bundle.values_file import VALUES_LIMIT, ValuesFile, read_values
from airbundle.errors import DocumentError, Finding, VerificationError
from airbundle.installer.tools import unpack_helm
from airbundle.installer.verify import Trusted
from airbundle.scan.model import Origin, Rendering
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_template import OUTPUT_LIMIT, TIMEOUT, HelmTemplate
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import TooLong

_SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_COMPLAINT = 600


class ReleaseSource:
    """Renders the releases of a bundle at a site; a context manager: helm's files go with it."""

    def __init__(
        self, trusted: Trusted, site: SiteDir, kubernetes: KubernetesTarget | None, *, tools: Path | None = None
    ) -> None:
        """Make it.

        Args:
            trusted: the bundle.
            site: the site file, with the values beside it.
            kubernetes: the cluster to render for; None for the one that the inventory names.
            tools: where the bundle's helm is unpacked; by default into a private directory that goes with this.
        """
        self._trusted = trusted
        self._site = site
        self._kubernetes = kubernetes
        self._names = names_at(site.site, trusted.bundle.lock.site)
        self._tools = tools
        self._home = HelmHome()
        self._helm: Helm | None = None

    def __enter__(self) -> ReleaseSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._home.close()

    def render_for(self, kubernetes: KubernetesTarget) -> None:
        """Render for this cluster from now on."""
        self._kubernetes = kubernetes

    def renderings(
        self, carried: CarriedRelease, release: Release, given: Sequence[ValuesFile] | None = None
    ) -> tuple[list[Rendering], list[Finding]]:
        """Return the renders of a release, and what is to be said of them.

        Args:
            carried: as the bundle has it.
            release: with the site's choices.
            given: values to take instead of the bundle's and the site's.

        Raises:
            HostError: there is no helm.
            VerificationError: the bundle lacks its chart.
        """
        values, findings = self.values(carried, release) if given is None else (list(given), [])
        if any(finding.severity == "error" for finding in findings):
            return [], findings
        if carried.chart:
            output, problem = self._template(carried, release, values)
            origin = Origin(f"chart {carried.chart}", release.name, release.namespace)
            return ([Rendering(origin, output)] if output is not None else []), [*findings, *problem]
        renderings, more = self.manifests(carried, release, [carried.manifests])
        return renderings, [*findings, *more]

    def values(self, carried: CarriedRelease, release: Release) -> tuple[list[ValuesFile], list[Finding]]:
        """Return the values of a release, the bundle's and then the site's, and what is to be said of them."""
        raw = [(path, self._read(carried.files[path], VALUES_LIMIT)) for path in release.values]
        raw += self._site.read_values(release.name, VALUES_LIMIT)
        values: list[ValuesFile] = []
        findings: list[Finding] = []
        for path, data in raw:
            try:
                values.append(read_values(data, self._names, path))
            except DocumentError as error:
                findings += error.findings
        return values, [*findings, *(finding for file in values for finding in file.findings)]

    def _template(
        self, carried: CarriedRelease, release: Release, values: Sequence[ValuesFile]
    ) -> tuple[bytes | None, list[Finding]]:
        self._helm = helm = self._helm or self._find_helm()
        what = f"render {release.name}"
        target = self._kubernetes or carried.kubernetes
        template = HelmTemplate(release.name, release.namespace, self.chart(carried.chart), values, target)
        try:
            with TemporaryDirectory(dir=self._home.path) as directory:
                arguments = template.arguments(Path(directory))
                done = helm.ended(
                    "template", *arguments, home=self._home, what=what, timeout=TIMEOUT, output_limit=OUTPUT_LIMIT
                )
                complaint = template.told(done.complaint, Path(directory), carried.chart)
            problem = clean(complaint, _COMPLAINT) or done.ending if done.code else ""
        except TooLong as error:
            problem = error.problem
        if problem:
            message = f"the chart {carried.chart} can't be rendered: {problem}"
            return None, [Finding(message, where=f"release {release.name}", code="render")]
        return done.output, []

    def _find_helm(self) -> Helm:
        return Helm.find(side="site", carried=unpack_helm(self._trusted, self._tools or self._home.path))

    def manifests(
        self, carried: CarriedRelease, release: Release, paths: Sequence[str]
    ) -> tuple[list[Rendering], list[Finding]]:
        """Return manifests of a release, filled in, and what is to be said of them.

        Args:
            carried: as the bundle has it.
            release: with the site's choices.
            paths: files and directories, below the inventory.
        """
        renderings: list[Rendering] = []
        findings: list[Finding] = []
        unbuilt = [path for path in carried.files_below(paths) if _is_kustomization(path, paths)]
        if unbuilt:
            message = f"{unbuilt[0]}: the bundle carries this kustomization's sources, and not what it makes"
            hint = "build the bundle again, with this version of airbundle"
            return [], [Finding(message, where=f"release {release.name}", code="kustomize", hint=hint)]
        for path in carried.files_below(paths):
            name = PurePosixPath(path).name
            if name in _KUSTOMIZATIONS:
                continue  # of a directory below: its plain files are deployed, as a scan reads them
            if path not in paths and (not name.endswith(_SUFFIXES) or name.startswith(".")):
                continue
            try:
                text = self._read(carried.files[path], OUTPUT_LIMIT).decode()
                output = fill_yaml(text, self._names, path).encode()
                renderings.append(Rendering(Origin(path, release.name, release.namespace), output))
            except UnicodeDecodeError:
                findings.append(Finding("the manifest is not UTF-8", where=path, code="manifest"))
            except DocumentError as error:
                findings += error.findings
        return renderings, findings

    def chart(self, requested: str) -> bytes:
        """Return the archive of a chart of the bundle.

        Raises:
            VerificationError: the bundle lacks it.
        """
        bundle = self._trusted.bundle
        refs = {root.ref for root in bundle.lock.roots if root.kind == CHART and root.requested == requested}
        for root in bundle.roots(CHART):
            if ref_of(root) in refs:
                manifest = parse_manifest(bundle.read_small(root.digest, MANIFEST_LIMIT), what=requested)
                archives = [layer for layer in manifest.layers if layer.media_type == HELM_CHART]
                if len(archives) == 1:
                    return self._read(archives[0], ARCHIVE_LIMIT)
        raise VerificationError(f"{bundle.path.name}: the chart {requested!r} of a release is not in it")

    def _read(self, blob: Descriptor, limit: int) -> bytes:
        blobs = self._trusted.blobs
        if not blobs.has_blob(blob.digest):
            blobs.find(blob.digest)  # a delta leaves it out
        return read_blob(blobs, blob, limit)


def _is_kustomization(path: str, paths: Sequence[str]) -> bool:
    """Tell whether a file is what one of `paths` is a kustomization by."""
    whole = PurePosixPath(path)
    return whole.name in _KUSTOMIZATIONS and str(whole.parent) in paths


def read_blob(source: BlobSource, blob: Descriptor, limit: int) -> bytes:
    """Return the verified bytes of a blob that may be anywhere.

    Raises:
        VerificationError: it has more than `limit` bytes, or others than its digest says.
    """
    if blob.size > limit:
        raise VerificationError(f"{blob.digest}: {blob.size} bytes are more than the {limit} allowed")
    whole = bytearray(blob.size)

    def write(offset: int, data: memoryview) -> None:
        whole[offset : offset + len(data)] = data

    source.copy_blob(blob, write)
    return bytes(whole)
