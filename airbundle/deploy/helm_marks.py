"""What helm writes on objects, and reads there: whose they are, and that an object outlives its release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airbundle.deploy.objects import ObjectKey, holds_data, key_of
from airbundle.errors import DocumentError

KEEP = "helm.sh/resource-policy"
_RELEASE, _NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_MANAGED = "app.kubernetes.io/managed-by"


def kept(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object so that helm never deletes it, when it holds data; any other as it is.

    helm deletes what a new version of a chart lacks, and what an uninstalled release had: volumes, too.
    """
    try:
        key = key_of(body)
    except DocumentError:
        return body
    if not holds_data(key) or is_marked(body):
        return body
    return _with(body, "annotations", {KEEP: "keep"})


def is_marked(body: Mapping[str, Any]) -> bool:
    """Tell whether helm is told to keep an object."""
    return _texts(body, "annotations").get(KEEP) == "keep"


def keep_mark(key: ObjectKey) -> dict[str, Any]:
    """Return what is applied to an object that is there to tell helm to keep it, and nothing else of it."""
    metadata: dict[str, Any] = {"name": key.name, "annotations": {KEEP: "keep"}}
    if key.namespace:
        metadata["namespace"] = key.namespace
    return {"apiVersion": key.api_version, "kind": key.kind, "metadata": metadata}


def owned(body: Mapping[str, Any], release: str, namespace: str) -> Mapping[str, Any]:
    """Return an object so that helm takes it for one of a release, which it is about to apply itself."""
    body = _with(body, "labels", {_MANAGED: "Helm"})
    return _with(body, "annotations", {_RELEASE: release, _NAMESPACE: namespace})


def owner(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the release that an object is of; None when helm did not make it."""
    annotations = _texts(body, "annotations")
    name = annotations.get(_RELEASE)
    return (str(annotations.get(_NAMESPACE) or ""), str(name)) if name else None


def _with(body: Mapping[str, Any], field: str, texts: Mapping[str, str]) -> Mapping[str, Any]:
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, field: {**_texts(body, field), **texts}}}


def _texts(body: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    metadata = body.get("metadata")
    found = metadata.get(field) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}
