"""What a release of a bundle deploys at a site, as renders: a chart with its values, or manifests, filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from airbundle.bundle.chart import ARCHIVE_LIMIT
from airbundle.bundle.content import BlobSource
from airbundle.bundle.index import CHART, ref_of
from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.oci import HELM_CHART, MANIFEST_LIMIT, Descriptor, parse_manifest
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.bundle.template import fill, site_names
from airbundle.bundle.values_file import VALUES_LIMIT, ValuesFile, read_values
from airbundle.errors import DocumentError, Finding, VerificationError
from airbundle.installer.verify import Trusted
from airbundle.scan.model import Origin, Rendering
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.problems import clean
from airbundle.transfer.programs import TooLong

OUTPUT_LIMIT = 32 * 1024 * 1024
"""Most bytes that one chart may render to, and that one manifest may have."""
TIMEOUT = 120.0
"""Seconds that one render may take."""
DEFAULT_NAMESPACE = "default"
_SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_COMPLAINT = 600
_ARCHIVE, _VALUES = "chart.tgz", "values-{}.yaml"
_SECRET = re.compile(r"pass|secret|token|key|credential|auth|private|salt|dsn", re.IGNORECASE)
_NO_SECRET = re.compile(r"existing|(?:name|ref|file|path|dir|enabled)$", re.IGNORECASE)
_SECRET_LENGTH = 4  # shorter ones are words of helm's own


class ReleaseSource:
    """Renders the releases of a bundle at a site; a context manager: helm's files go with it."""

    def __init__(self, trusted: Trusted, site: SiteDir, kubernetes: KubernetesTarget | None) -> None:
        """Make it; `kubernetes` is the cluster to render for, None for the one that the inventory names."""
        self._trusted = trusted
        self._site = site
        self._kubernetes = kubernetes
        self._names = site_names(site.site)
        self._home = HelmHome()
        self._helm: Helm | None = None

    def __enter__(self) -> ReleaseSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._home.close()

    def renderings(self, carried: CarriedRelease, release: Release) -> tuple[list[Rendering], list[Finding]]:
        """Return the renders of a release, and what is to be said of them.

        Args:
            carried: as the bundle has it.
            release: with the site's choices.

        Raises:
            HostError: there is no helm.
            VerificationError: the bundle lacks its chart.
        """
        values, findings = self._values(carried, release)
        if any(finding.severity == "error" for finding in findings):
            return [], findings
        if carried.chart:
            output, problem = self._template(carried, release, values)
            origin = Origin(f"chart {carried.chart}", release.name, release.namespace)
            return ([Rendering(origin, output)] if output is not None else []), [*findings, *problem]
        renderings, more = self._manifests(carried, release)
        return renderings, [*findings, *more]

    def _values(self, carried: CarriedRelease, release: Release) -> tuple[list[ValuesFile], list[Finding]]:
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
        self._helm = helm = self._helm or Helm.find(side="site")
        what = f"render {release.name}"
        try:
            with TemporaryDirectory(dir=self._home.path) as directory:
                arguments = self._arguments(carried, release, values, Path(directory))
                done = helm.ended(*arguments, home=self._home, what=what, timeout=TIMEOUT, output_limit=OUTPUT_LIMIT)
                complaint = _told(done.complaint, Path(directory), carried.chart, values)
            problem = clean(complaint, _COMPLAINT) or done.ending if done.code else ""
        except TooLong as error:
            problem = error.problem
        if problem:
            message = f"the chart {carried.chart} can't be rendered: {problem}"
            return None, [Finding(message, where=f"release {release.name}", code="render")]
        return done.output, []

    def _arguments(
        self, carried: CarriedRelease, release: Release, values: Sequence[ValuesFile], directory: Path
    ) -> list[str | Path]:
        chart = directory / _ARCHIVE
        chart.write_bytes(self._chart(carried.chart))
        target = self._kubernetes or carried.kubernetes
        arguments: list[str | Path] = ["template", "--include-crds"]
        arguments += ["--namespace", release.namespace or DEFAULT_NAMESPACE]
        arguments += ["--kube-version", target.version] if target.version else []
        arguments += [word for version in target.api_versions for word in ("--api-versions", version)]
        for number, file in enumerate(values):
            path = directory / _VALUES.format(number)
            path.write_text(file.text, encoding="utf-8")
            arguments += ["--values", path]
        return [*arguments, "--", release.name, chart]

    def _manifests(self, carried: CarriedRelease, release: Release) -> tuple[list[Rendering], list[Finding]]:
        renderings: list[Rendering] = []
        findings: list[Finding] = []
        for path in carried.manifest_files():
            name = PurePosixPath(path).name
            if name in _KUSTOMIZATIONS:
                message = f"{path}: kustomizations are not built at the site"
                hint = "put into the inventory what `kubectl kustomize` makes of it"
                return [], [Finding(message, where=f"release {release.name}", code="kustomize", hint=hint)]
            if path != carried.manifests and (not name.endswith(_SUFFIXES) or name.startswith(".")):
                continue
            try:
                output = fill(self._read(carried.files[path], OUTPUT_LIMIT).decode(), self._names, path).encode()
                renderings.append(Rendering(Origin(path, release.name, release.namespace), output))
            except UnicodeDecodeError:
                findings.append(Finding("the manifest is not UTF-8", where=path, code="manifest"))
            except DocumentError as error:
                findings += error.findings
        return renderings, findings

    def _chart(self, requested: str) -> bytes:
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


def _told(complaint: str, directory: Path, chart: str, values: Sequence[ValuesFile]) -> str:
    """Return what helm complains of with people's names for its files, and without values that may be secret."""
    complaint = complaint.replace(str(directory / _ARCHIVE), chart)
    for number, file in enumerate(values):
        complaint = complaint.replace(str(directory / _VALUES.format(number)), file.name)
    for secret in sorted({text for file in values for text in _secrets(file.body)}, key=len, reverse=True):
        complaint = complaint.replace(secret, "…")
    return complaint


def _secrets(value: Any, secret: bool = False) -> Iterator[str]:
    """Yield the texts of values below keys that sound like a secret's."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            told = _NO_SECRET.search(key) is not None
            yield from _secrets(inner, not told and (secret or _SECRET.search(key) is not None))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, secret)
    elif secret and value is not None and not isinstance(value, bool) and len(str(value)) >= _SECRET_LENGTH:
        yield str(value)


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
