"""Dependencies that an unpacked chart names and does not have in `charts/`: had as any other chart is."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping
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
) -> tuple[dict[str, bytes], list[str], list[Finding]]:
    """Return the files of a chart's directory with the dependencies that lack.

    Versions are those of Chart.lock where it names them. A dependency that can't be had is taken out of Chart.yaml: the
    rest of the chart is worth looking at.

    Args:
        files: content by path below the chart's directory.
        request: the chart; its path is that of the directory.
        finder: has other charts.
        depth: of how many charts this one is a dependency.

    Returns:
        The files, the names of the dependencies that were had, and findings that name those that were not.

    Raises:
        UsageError: it is no chart.
    """
    try:
        metadata = metadata_of(files, what=request.path)
        missing = missing_dependencies(metadata, files, what=request.path)
        pinned = _pinned(files, request.path)
    except VerificationError as error:
        raise UsageError(error.problem, hint="`helm lint` tells more") from None
    complete, added, findings = dict(files), [], []
    for dependency in missing:
        version = pinned.get(dependency.name, dependency.version)
        try:
            archive = _archive(dependency, version, request, finder, depth)
        except AirbundleError as error:
            findings.append(_lacks(dependency, version, request, error))
            continue
        complete[f"charts/{dependency.name}-airbundle.tgz"] = archive
        added.append(dependency.name)
    if findings:
        lacking = {dependency.name for dependency in missing} - set(added)
        complete.update(_without(complete, lacking, request.path))
    return complete, added, findings


def _without(files: Mapping[str, bytes], names: Collection[str], what: str) -> dict[str, bytes]:
    """Return Chart.yaml and requirements.yaml without some dependencies."""
    changed = {}
    for path in ("Chart.yaml", "requirements.yaml"):
        body = load_yaml(files[path], what=f"{what}/{path}") if path in files else None
        if not isinstance(body, dict):
            continue
        entries = body.get("dependencies")
        if isinstance(entries, list):
            kept = [entry for entry in entries if not isinstance(entry, dict) or entry.get("name") not in names]
            changed[path] = json.dumps({**body, "dependencies": kept}).encode()
    return changed


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
        found = finder.find(ChartRequest(dependency.name, path=path, where=where), depth=depth + 1)
        errors = [finding for finding in found.findings if finding.severity == "error"]
        if errors:
            raise UsageError(errors[0].message, hint=errors[0].hint)
        return found.load()
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
