"""What Flux's objects deploy: HelmRelease with its sources and values, Kustomization of manifests beside the inventory.

Sources: Flux API reference, helm.toolkit.fluxcd.io/v2, source.toolkit.fluxcd.io/v1, kustomize.toolkit.fluxcd.io/v1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airbundle.builder.render_objects import (
    Deployed,
    Object,
    Objects,
    entries,
    held_text,
    mapping,
    nested,
    not_followed,
    text,
)
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.terms import normal_path
from airbundle.bundle.values_file import ValuesFile, parse_values
from airbundle.errors import DocumentError, Finding
from airbundle.transfer.problems import clean

HELM = "helm.toolkit.fluxcd.io"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
_BESIDE = "put what it has beside the inventory, or list its charts and images there"
Exists = Callable[[str], bool]


def flux_deploys(by: Object, objects: Objects, exists: Exists) -> tuple[Deployed | None, list[Finding]]:
    """Return what one of Flux's objects deploys; None where it deploys nothing, or that can't be told.

    Args:
        by: the object.
        objects: all that are known, with the sources, ConfigMaps and Secrets that it names.
        exists: tells whether the inventory has something at a path.
    """
    if (by.group, by.kind) == (HELM, "HelmRelease"):
        return _helm_release(by, objects, exists)
    if (by.group, by.kind) == (KUSTOMIZE, "Kustomization"):
        return _kustomization(by, objects, exists)
    return None, []


def _helm_release(by: Object, objects: Objects, exists: Exists) -> tuple[Deployed | None, list[Finding]]:
    chart, paths, why = _chart(by, objects, exists)
    if chart is None:
        return None, [not_followed(by, why, hint=_BESIDE)]
    values, findings = _values(by, objects)
    spec = by.spec
    target = text(spec.get("targetNamespace"))
    name = text(spec.get("releaseName")) or "-".join(part for part in (target, by.name) if part)
    deployed = Deployed(
        by, chart, release=name[:53].rstrip("-"), namespace=target or by.namespace, values=values, value_paths=paths
    )
    return deployed, findings


def _chart(by: Object, objects: Objects, exists: Exists) -> tuple[ChartRequest | None, tuple[str, ...], str]:
    """Return the chart of a HelmRelease, the values files in it, and why it can't be told."""
    reference = mapping(by.spec.get("chartRef"))
    namespace = text(reference.get("namespace")) or by.namespace
    kind, name = text(reference.get("kind")), text(reference.get("name"))
    if not reference:
        return _from_template(mapping(mapping(by.spec.get("chart")).get("spec")), by, by.namespace, objects, exists)
    source = objects.find(kind, namespace, name, by.variant)
    if source is None:
        return None, (), f"{kind} {namespace}/{name} is not among the objects"
    if kind == "HelmChart":
        return _from_template(source.spec, by, source.namespace, objects, exists)
    if kind == "OCIRepository":
        return _from_oci(source)
    return None, (), f"a chart of a {kind}"


def _from_template(
    spec: Mapping[str, Any], by: Object, namespace: str, objects: Objects, exists: Exists
) -> tuple[ChartRequest | None, tuple[str, ...], str]:
    chart, version = text(spec.get("chart")), text(spec.get("version")) or "*"
    files = spec.get("valuesFiles")
    paths = tuple(path for path in map(text, files if isinstance(files, list) else ()) if path)
    reference = mapping(spec.get("sourceRef"))
    kind, name = text(reference.get("kind")), text(reference.get("name"))
    namespace = text(reference.get("namespace")) or namespace
    where = by.source
    if kind in ("GitRepository", "Bucket"):
        path = normal_path(chart)
        if chart and exists(f"{path}/Chart.yaml"):
            return ChartRequest(path.rsplit("/", 1)[-1], path=path, where=where), paths, ""
        return None, (), f"the chart {chart!r} of {kind} {namespace}/{name}, which is not fetched"
    source = objects.find(kind, namespace, name, by.variant)
    url = text(source.spec.get("url")) if source else ""
    if not url or not chart:
        return None, (), f"the chart {chart!r} of {kind} {namespace}/{name}, which is not among the objects"
    return ChartRequest(chart, url, version=version, where=where), paths, ""


def _from_oci(source: Object) -> tuple[ChartRequest | None, tuple[str, ...], str]:
    reference = mapping(source.spec.get("ref"))
    parent, _, name = text(source.spec.get("url")).rstrip("/").rpartition("/")
    version = text(reference.get("tag")).replace("_", "+") or text(reference.get("semver"))
    if not version and reference.get("digest"):
        return None, (), f"{source} is known by its digest alone; give it a tag as well"
    return ChartRequest(name, parent, version=version or "*", where=source.source), (), ""


def _values(by: Object, objects: Objects) -> tuple[tuple[ValuesFile, ...], list[Finding]]:
    """Return the values of a HelmRelease: those that it takes from elsewhere, then its own."""
    files: list[ValuesFile] = []
    findings: list[Finding] = []
    for entry in entries(by.spec.get("valuesFrom")):
        try:
            files += _values_from(entry, by, objects)
        except LookupError as error:
            if entry.get("optional") is not True:
                findings.append(
                    Finding(f"{by} takes values from {error.args[0]}", by.source, "values-from", severity="warning")
                )
        except DocumentError as error:
            findings += error.findings
    own = by.spec.get("values")
    if isinstance(own, dict) and own:
        files.append(as_values(f"{by} spec.values", own))
    return tuple(files), findings


def _values_from(entry: Mapping[str, Any], by: Object, objects: Objects) -> Iterator[ValuesFile]:
    kind, name = text(entry.get("kind")), text(entry.get("name"))
    key, target = text(entry.get("valuesKey")) or "values.yaml", text(entry.get("targetPath"))
    holder = objects.find(kind, by.namespace, name, by.variant)
    found = held_text(holder, key) if holder else None
    label = clean(f"{kind} {by.namespace}/{name} {key}")
    if found is None:
        raise LookupError(f"{label}, which is not among the objects")
    if target:
        yield as_values(label, nested(target, found, label))
    else:
        body, warnings = parse_values(found, label)
        yield ValuesFile(label, found, body, tuple(warnings))


def as_values(name: str, body: Mapping[str, Any]) -> ValuesFile:
    """Return values that stand in an object as a values file."""
    return ValuesFile(name, json.dumps(body), body)


def _kustomization(by: Object, objects: Objects, exists: Exists) -> tuple[Deployed | None, list[Finding]]:
    spec = by.spec
    path = normal_path(text(spec.get("path")) or ".").lstrip("/")
    reference = mapping(spec.get("sourceRef"))
    kind, name = text(reference.get("kind")), text(reference.get("name"))
    if path == "." or not exists(path):
        why = f"{path!r} of {kind} {text(reference.get('namespace')) or by.namespace}/{name}, which is not fetched"
        return None, [not_followed(by, why, hint=_BESIDE)]
    findings = [
        not_followed(by, f"its {name} change what is read from {path}", hint="write them into a kustomization there")
        for name in ("images", "patches", "components")
        if spec.get(name)
    ]
    build = mapping(spec.get("postBuild"))
    substitutions: dict[str, str] = {}
    for entry in entries(build.get("substituteFrom")):
        holder = objects.find(text(entry.get("kind")), by.namespace, text(entry.get("name")), by.variant)
        data = mapping(holder.body.get("data")) if holder else {}
        substitutions.update({key: held_text(holder, key) or "" for key in data} if holder else {})
    substitutions.update({key: text(value) for key, value in mapping(build.get("substitute")).items()})
    namespace = text(spec.get("targetNamespace"))
    return Deployed(by, path=path, release=by.name, namespace=namespace, substitutions=substitutions), findings
