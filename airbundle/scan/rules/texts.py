"""The texts of objects that a program will read: environment, arguments, configuration files, fields.

What only people read is left out: descriptions, comments, dashboards, definitions of custom resources, annotations
(which have a source of their own).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from airbundle.scan.model import Manifest

Source = Literal["environment", "argument", "config", "secret", "field", "annotation"]

DEPTH_LIMIT = 60
_SILENT_KINDS = frozenset(
    {
        "CustomResourceDefinition", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "PrometheusRule",
        "GrafanaDashboard", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "APIService",
        "ValidatingAdmissionPolicy", "PriorityClass", "SealedSecret",
    }
)  # fmt: skip
_FOR_PEOPLE = frozenset(
    {"description", "documentation", "docs", "summary", "runbook_url", "runbookUrl", "expr", "caBundle"}
)
_COMMENT = re.compile(r"^\s*(?:#|//|;|--|<!--|\{\{/\*)")
_TRAILING = re.compile(r"\s#\s.*$")
_PEM = "-----BEGIN "


@dataclass(frozen=True)
class Text:
    """One text of an object.

    Attributes:
        path: field path; a line of a file has `→ line N` behind it.
        name: what it is called: the variable, the key of the data, the field.
    """

    manifest: Manifest
    path: str
    name: str
    value: str = field(repr=False)
    source: Source

    def lines(self) -> Iterator[Text]:
        """Yield the lines without comments; a text of one line as it is."""
        if "\n" not in self.value.strip():
            yield self
            return
        for number, line in enumerate(self.value.split("\n"), 1):
            if line and not line.isspace() and not _COMMENT.match(line):
                yield Text(
                    self.manifest, f"{self.path} → line {number}", self.name, _TRAILING.sub("", line), self.source
                )


def holds_any(text: str, words: Collection[str]) -> bool:
    """Tell whether one of some lower-case words is in a text: much cheaper than a pattern over all of it."""
    lower = text.lower()
    return any(word in lower for word in words)


def texts_of(manifest: Manifest) -> Iterator[Text]:
    """Yield the texts of one object."""
    kind = manifest.kind
    if kind in _SILENT_KINDS:
        return
    annotations = manifest.metadata.get("annotations")
    if isinstance(annotations, dict):
        for key, value in annotations.items():
            if isinstance(value, str) and key != "kubectl.kubernetes.io/last-applied-configuration":
                yield Text(manifest, f"metadata.annotations.{key}", str(key), value, "annotation")
    if kind == "ConfigMap":
        yield from _config(manifest)
    elif kind == "Secret":
        yield from _secret(manifest)
    else:
        for key, value in manifest.body.items():
            if key not in {"apiVersion", "kind", "metadata", "status"}:
                yield from _walk(manifest, value, str(key), str(key), 0)


def secret_data(manifest: Manifest) -> dict[str, str]:
    """Return what a Secret holds, decoded; what is no text counts as empty text."""
    held: dict[str, str] = {}
    for key, value in _mapping(manifest.body.get("data")).items():
        held[str(key)] = _decoded(value)
    for key, value in _mapping(manifest.body.get("stringData")).items():
        held[str(key)] = value if isinstance(value, str) else ""
    return held


def _config(manifest: Manifest) -> Iterator[Text]:
    labels = _mapping(manifest.metadata.get("labels"))
    if any("dashboard" in str(label).lower() for label in labels):
        return
    for key, value in _mapping(manifest.body.get("data")).items():
        if isinstance(value, str) and not _is_dashboard(str(key), value):
            yield Text(manifest, f"data.{key}", str(key), value, "config")


def _is_dashboard(key: str, value: str) -> bool:
    return key.endswith(".json") and '"panels"' in value


def _secret(manifest: Manifest) -> Iterator[Text]:
    if str(manifest.body.get("type", "")).startswith("helm.sh/"):
        return
    for key, value in secret_data(manifest).items():
        if value and _PEM not in value:
            yield Text(manifest, f"data.{key}", key, value, "secret")


def _decoded(value: object) -> str:
    try:
        return base64.b64decode(value, validate=False).decode("utf-8") if isinstance(value, str) else ""
    except (binascii.Error, ValueError):
        return ""


def _walk(manifest: Manifest, node: Any, path: str, name: str, depth: int) -> Iterator[Text]:
    if isinstance(node, str):
        if node:
            yield Text(manifest, path, name, node, "field")
    elif isinstance(node, dict) and depth < DEPTH_LIMIT:
        for key, value in node.items():
            if key in _FOR_PEOPLE or (key == "metadata" and depth > 0):
                continue
            below = f"{path}.{key}"
            if key in {"args", "command"} and isinstance(value, list):
                yield from _arguments(manifest, value, below)
            elif key in {"env", "envs", "extraEnv"} and isinstance(value, list):
                yield from _environment(manifest, value, below)
            else:
                yield from _walk(manifest, value, below, str(key), depth + 1)
    elif isinstance(node, list) and depth < DEPTH_LIMIT:
        for index, value in enumerate(node):
            yield from _walk(manifest, value, f"{path}[{index}]", name, depth + 1)


def _arguments(manifest: Manifest, values: list[Any], path: str) -> Iterator[Text]:
    flag = ""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            continue
        before, equals, after = value.partition("=")
        if value.startswith("-") and equals and "\n" not in before:
            yield Text(manifest, f"{path}[{index}]", before.lstrip("-"), after, "argument")
        else:
            yield Text(manifest, f"{path}[{index}]", flag.lstrip("-"), value, "argument")
        flag = value if value.startswith("-") and not equals and "\n" not in value else ""


def _environment(manifest: Manifest, values: list[Any], path: str) -> Iterator[Text]:
    for index, entry in enumerate(values):
        if isinstance(entry, dict) and isinstance(entry.get("value"), str) and entry["value"]:
            name = str(entry.get("name", ""))
            yield Text(manifest, f"{path}[{index}]", name, entry["value"], "environment")


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
