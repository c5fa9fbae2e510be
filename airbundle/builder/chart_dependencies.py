"""Dependencies that an unpacked chart names and does not have in `charts/`: had as any other chart is."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airbundle.bundle.chart_metadata import Dependency, metadata_of
from airbundle.bundle.chart_pack import missing_dependencies
from airbundle.bundle.chart_yaml import load_yaml
from airbundle.bundle.inventory import ChartRequest
from airbundle.errors import AirbundleError, Finding, UsageError, VerificationError

if TYPE_CHECKING:
    from airbundle.builder.chart_finder import ChartFinder

_FILE = "file://"
_DEPTH_LIMIT = 8


def with_dependencies(
    files: Mapping[str, bytes], request: ChartRequest, finder: ChartFinder, depth: int = 0
) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of a chart's directory with the dependencies that lack, and the names of those.

    Versions are those of Chart.lock where it names them.

    Args:
        files: content by path below the chart's directory.
        request: the chart; its path is that of the directory.
        finder: has other charts.
        depth: of how many charts this one is a dependency.

    Raises:
        UsageError: it is no chart, or dependencies can't be had; each is named.
    """
    try:
        metadata = metadata_of(files, what=request.path)
        missing = missing_dependencies(metadata, files, what=request.path)
        pinned = _pinned(files, request.path)
    except VerificationError as error:
        raise UsageError(error.problem, hint="`helm lint` tells more") from None
    complete, findings = dict(files), []
    for dependency in missing:
        version = pinned.get(dependency.name, dependency.version)
        try:
            archive = _archive(dependency, version, request, finder, depth)
        except AirbundleError as error:
            findings.append(_lacks(dependency, version, request, error))
            continue
        complete[f"charts/{dependency.name}-airbundle.tgz"] = archive
    if findings:
        names = ", ".join(sorted(dependency.name for dependency in missing))
        raise UsageError(f"{request.path}: dependencies can't be had: {names}", findings=findings)
    return complete, [dependency.name for dependency in missing]


def _pinned(files: Mapping[str, bytes], what: str) -> dict[str, str]:
    raw = files.get("Chart.lock", files.get("requirements.lock"))
    body = load_yaml(raw, what=f"{what}/Chart.lock") if raw else None
    entries = body.get("dependencies") if isinstance(body, dict) else None
    return {
        str(entry["name"]): str(entry["version"])
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and entry.get("name") and entry.get("version")
    }


def _archive(dependency: Dependency, version: str, request: ChartRequest, finder: ChartFinder, depth: int) -> bytes:
    repository = dependency.repository
    where = request.where
    if repository.startswith(_FILE):
        path = posixpath.normpath(posixpath.join(request.path, repository[len(_FILE) :]))
        if path.startswith(("/", "..")):
            raise UsageError(f"{repository} leads out of the inventory")
        if depth >= _DEPTH_LIMIT:
            raise UsageError(f"dependencies are nested deeper than {_DEPTH_LIMIT}")
        return finder.find(ChartRequest(dependency.name, path=path, where=where), depth=depth + 1).load()
    if finder.directory is None and not repository.startswith(("http://", "https://", "oci://")):
        raise UsageError(
            f"its repository is {repository or 'nowhere'!r}; expected https://… or oci://…",
            hint="put its archive into charts/",
        )
    return finder.find(ChartRequest(dependency.name, repository, version=version, where=where)).load()


def _lacks(dependency: Dependency, version: str, request: ChartRequest, error: AirbundleError) -> Finding:
    name = " ".join(part for part in (dependency.name, version) if part)
    return Finding(
        f"{request.path}: its dependency {name} is not in charts/ and can't be had: {error.problem}",
        request.where,
        "chart-dependency",
        hint=error.hint or f"run `helm dependency build {request.path}`, or put its archive into charts/",
    )
