"""How a release travels: an artifact of its description and of each file it names (design §3, docs/format.md).

Its config is the description, JSON in the words of `bundle.yaml`, so that deltas have it, too; its layers are values
files, manifests and what runs before the release changes, byte for byte, each titled with its path below the inventory.
The chart travels as itself: the description names it as the lock does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from airbundle.bundle.clamav_artifact import FILE_TYPE, TITLE
from airbundle.bundle.fields import Field, ListOf, MapOf, Record, Text
from airbundle.bundle.inventory import ChartRequest, KubernetesTarget, ManifestRequest
from airbundle.bundle.inventory_fields import KUBERNETES
from airbundle.bundle.inventory_reader import read_kubernetes
from airbundle.bundle.oci import Descriptor, canonical_json
from airbundle.bundle.reading import Reading
from airbundle.bundle.release import RELEASE, Release, read_release
from airbundle.bundle.terms import API_VERSION, INSIDE_PATH, check_inside, normal_path, one_of
from airbundle.bundle.yamldoc import load
from airbundle.errors import DocumentError, UsageError, VerificationError

KIND = "release"
DESCRIPTION_TYPE = "application/vnd.airbundle.release.v1+json"
DESCRIPTION_LIMIT = 1024 * 1024
FILES_LIMIT = 2000
"""Most files of one release: its manifest is small content, which is held in memory."""

BUILT = "kustomization.built.yaml"
"""What stands for a kustomization, in its directory: the manifests that it makes. Its sources are not carried."""

_NAME = Text("a name", limit=4096)
_DOCUMENT = Record(
    "a carried release",
    {
        "apiVersion": Field(one_of(API_VERSION), "The form of this document", required=True),
        "kind": Field(one_of("Release"), "Release", required=True),
        "release": Field(RELEASE, "As in bundle.yaml", required=True),
        "chart": Field(_NAME, "What the lock calls the chart that is deployed"),
        "manifests": Field(INSIDE_PATH, "The file, or the directory, of the manifests that are deployed"),
        "kubernetes": Field(KUBERNETES, "The cluster that it was meant for"),
        "variants": Field(MapOf(_NAME, ListOf(INSIDE_PATH)), "Further value sets of the chart"),
    },
    one_of=("chart", "manifests"),
)


@dataclass(frozen=True)
class CarriedRelease:
    """A release as a bundle carries it.

    Attributes:
        chart: what the lock calls its chart (`ChartRequest.requested`); empty for manifests.
        manifests: path of its manifests, a file or a directory; empty for a chart.
        kubernetes: the cluster that it was meant for.
        variants: name → further values files, laid over those of the release.
        files: path below the inventory → media type, digest and size of each file it carries.
    """

    release: Release
    chart: str = ""
    manifests: str = ""
    kubernetes: KubernetesTarget = field(default_factory=KubernetesTarget)
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, Descriptor] = field(default_factory=dict)

    def manifest_files(self) -> list[str]:
        """Return the paths of its manifests, sorted."""
        return self.files_below([self.manifests])

    def files_below(self, paths: Sequence[str]) -> list[str]:
        """Return the paths that are one of `paths` or below one: in the order of `paths`, sorted within each."""
        found = (sorted(path for path in self.files if _is_below(path, top)) for top in paths)
        return list(dict.fromkeys(path for each in found for path in each))


def release_paths(request: Union[ChartRequest, ManifestRequest]) -> list[str]:
    """Return what a release has of local files and directories, each once: all of it is carried."""
    release = request.release
    paths = list(release.paths) if release else []
    if isinstance(request, ManifestRequest):
        paths.append(request.path)
    else:
        paths += [path for files in request.variants.values() for path in files]
    return list(dict.fromkeys(paths))


def describe_release(
    request: Union[ChartRequest, ManifestRequest], kubernetes: KubernetesTarget, *, manifests: str = ""
) -> bytes:
    """Return the bytes of the description of a request's release; equal arguments give equal bytes.

    Args:
        request: what is asked for.
        kubernetes: the cluster that it is meant for.
        manifests: the path of its manifests where it is not what the request names.
    """
    assert request.release is not None  # noqa: S101 - what has none is not carried as one
    release = {name: value for name, value in request.release.meaning().items() if value not in ("", ())}
    body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "Release", "release": release}
    if isinstance(request, ManifestRequest):
        body["manifests"] = manifests or request.path
    else:
        body["chart"] = request.requested
        if request.variants:
            body["variants"] = {name: list(paths) for name, paths in request.variants.items()}
    target = {"version": kubernetes.version, "apiVersions": sorted(kubernetes.api_versions)}
    return canonical_json({**body, "kubernetes": {name: value for name, value in target.items() if value}})


def release_layers(files: Mapping[str, Descriptor]) -> tuple[Descriptor, ...]:
    """Return the layers of a release's artifact; `files` has digest and size of each file by its path."""
    return tuple(Descriptor(FILE_TYPE, file.digest, file.size, {TITLE: path}) for path, file in sorted(files.items()))


def read_carried(raw: bytes, layers: Sequence[Descriptor], *, where: str) -> CarriedRelease:
    """Read a release that a bundle carries.

    Args:
        raw: the description, verified.
        layers: of the artifact's manifest.
        where: its name, for errors.

    Raises:
        VerificationError: it is not as airbundle writes it; says what was found.
    """
    try:
        reading = Reading(load(raw, where=where))
        top = reading.record(_DOCUMENT)
        release = read_release(top.record("release"))
        reading.finish("build the bundle again")
    except DocumentError as error:
        raise VerificationError(error.problem, hint=error.hint, findings=error.findings) from None
    assert release is not None  # noqa: S101 - required, so it was found
    carried = CarriedRelease(
        release,
        chart=top.text("chart"),
        manifests=normal_path(top.text("manifests")) if top.text("manifests") else "",
        kubernetes=read_kubernetes(top.record("kubernetes")),
        variants={name: tuple(map(normal_path, paths)) for name, paths in top.mapping("variants").items()},
        files=_files(layers, where),
    )
    _check_whole(carried, where)
    return carried


def _files(layers: Sequence[Descriptor], where: str) -> dict[str, Descriptor]:
    files: dict[str, Descriptor] = {}
    for layer in layers:
        path = layer.annotations.get(TITLE, "")
        try:
            check_inside(path)
        except UsageError:
            path = ""
        if not path or path != normal_path(path) or path in files or len(files) >= FILES_LIMIT:
            found = repr(layer.annotations.get(TITLE, ""))
            raise VerificationError(f"{where}: found the file {found}, expected at most {FILES_LIMIT} different paths")
        files[path] = layer
    return files


def _check_whole(carried: CarriedRelease, where: str) -> None:
    release = carried.release
    values = [*release.values, *(path for paths in carried.variants.values() for path in paths)]
    lacking = [path for path in values if path not in carried.files]
    lacking += [path for path in (*release.before, *release.restore) if not carried.files_below([path])]
    if carried.manifests and not carried.manifest_files():
        lacking.append(carried.manifests)
    if lacking:
        raise VerificationError(f"{where}: files that it names are not in it: {', '.join(map(repr, lacking))}")


def _is_below(path: str, top: str) -> bool:
    return top in {path, "."} or path.startswith(f"{top}/")
