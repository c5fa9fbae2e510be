"""What Argo CD's Applications deploy: charts of repositories, and what lies beside the inventory.

Source: Argo CD's declarative setup, argoproj.io/v1alpha1 Application.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airbundle.builder.render_flux import as_values
from airbundle.builder.render_objects import Deployed, Object, entries, mapping, nested, not_followed, text
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.terms import normal_path
from airbundle.bundle.values_file import ValuesFile, parse_values
from airbundle.errors import DocumentError, Finding
from airbundle.transfer.problems import clean

ARGO = "argoproj.io"
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
Exists = Callable[[str], bool]


def argo_deploys(by: Object, exists: Exists) -> tuple[list[Deployed], list[Finding]]:
    """Return what one of Argo CD's objects deploys.

    Args:
        by: the object.
        exists: tells whether the inventory has something at a path.
    """
    if (by.group, by.kind) == (ARGO, "ApplicationSet"):
        hint = "list what its Applications deploy in the inventory"
        return [], [not_followed(by, "an ApplicationSet makes its Applications in the cluster", hint=hint)]
    if (by.group, by.kind) != (ARGO, "Application"):
        return [], []
    spec = by.spec
    deployed: list[Deployed] = []
    findings: list[Finding] = []
    for source in [*entries([spec.get("source")]), *entries(spec.get("sources"))]:
        if source.get("ref") and not (source.get("chart") or source.get("path")):
            continue  # only lends values files to the others
        made, about = _source(by, source, text(mapping(spec.get("destination")).get("namespace")), exists)
        deployed += [made] if made else []
        findings += about
    return deployed, findings


def _source(
    by: Object, source: Mapping[str, Any], namespace: str, exists: Exists
) -> tuple[Deployed | None, list[Finding]]:
    helm = mapping(source.get("helm"))
    url, name = text(source.get("repoURL")), text(source.get("chart"))
    path = normal_path(text(source.get("path")) or ".").lstrip("/")
    chart = None
    if name:
        repository = url if "://" in url else f"oci://{url}"
        chart = ChartRequest(name, repository, version=text(source.get("targetRevision")) or "*", where=by.source)
    elif path == "." or not exists(path):
        hint = "put what it has beside the inventory, or list its charts and images there"
        return None, [not_followed(by, f"{path!r} of {url}, which is not fetched", hint=hint)]
    elif exists(f"{path}/Chart.yaml"):
        chart = ChartRequest(path.rsplit("/", 1)[-1], path=path, where=by.source)
    if chart is None:
        return Deployed(by, path=path, release=by.name, namespace=namespace), []
    release = text(helm.get("releaseName")) or by.name
    listed = helm.get("valueFiles")
    files = [file for file in map(text, listed if isinstance(listed, list) else ()) if file]
    findings = [
        not_followed(by, f"its values file {file}", hint="list the chart with its values in the inventory")
        for file in files
        if file.startswith("$") or "://" in file
    ]
    try:
        values = tuple(_values(by, helm))
    except DocumentError as error:
        return None, [*findings, *error.findings]
    inside = tuple(file for file in files if not file.startswith("$") and "://" not in file)
    return Deployed(by, chart, "", release, namespace, values, inside), findings


def _values(by: Object, helm: Mapping[str, Any]) -> Iterator[ValuesFile]:
    """Yield the values of a source; `valuesObject` stands in the place of `values`, parameters win."""
    written, whole = text(helm.get("values")), mapping(helm.get("valuesObject"))
    label = f"{by} helm.values"
    if whole:
        yield as_values(f"{label}Object", whole)
    elif written:
        body, warnings = parse_values(written, label)
        yield ValuesFile(label, written, body, tuple(warnings))
    for parameter in entries(helm.get("parameters")):
        name, value = text(parameter.get("name")), text(parameter.get("value"))
        if name:
            forced = parameter.get("forceString") is True
            where = clean(f"{by} helm.parameters {name}")
            yield as_values(where, nested(name, value if forced else _typed(value), where))


def _typed(value: str) -> Any:
    """Return what `--set` makes of a value: true, false, null and whole numbers are such."""
    if value in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[value]
    return int(value) if _WHOLE_NUMBER.fullmatch(value) else value
