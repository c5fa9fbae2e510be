"""Chart.yaml as helm understands it: fields in helm's order, with helm's notion of text (`pkg/chart/metadata.go`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.chart_yaml import load_yaml, text_of
from airbundle.bundle.semver import parse_version
from airbundle.errors import VerificationError

METADATA_LIMIT = 1024 * 1024
"""Largest Chart.yaml in bytes."""

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,250}")


@dataclass(frozen=True)
class Dependency:
    """An entry of `dependencies`: another chart's name, version range and repository."""

    name: str
    version: str = ""
    repository: str = ""
    alias: str = ""
    condition: str = ""


@dataclass(frozen=True)
class ChartMetadata:
    """Chart.yaml, as helm understands it.

    Attributes:
        fields: Chart.yaml as JSON values, in helm's own order, empty ones left out; what helm keeps as the config
            of the artifact and in a repository's index.
    """

    name: str
    version: str
    app_version: str = ""
    description: str = ""
    kube_version: str = ""
    type: str = ""
    deprecated: bool = False
    dependencies: tuple[Dependency, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def file_name(self) -> str:
        """The archive's usual name."""
        return f"{self.name}-{self.version}.tgz"


def metadata_of(files: Mapping[str, bytes], *, what: str) -> ChartMetadata:
    """Return the metadata of a chart whose files are `files` (at least Chart.yaml, and requirements.yaml of old ones).

    Raises:
        VerificationError: Chart.yaml is missing or not as helm wants it.
    """
    raw = files.get("Chart.yaml")
    if raw is None:
        raise VerificationError(f"{what}: Chart.yaml is missing")
    body = _document(raw, f"{what}: Chart.yaml")
    if text_of(body.get("apiVersion"), what=what) in ("", "v1") and "requirements.yaml" in files:
        requirements = _document(files["requirements.yaml"], f"{what}: requirements.yaml")
        if requirements.get("dependencies"):
            body = {**body, "dependencies": requirements["dependencies"]}
    return parse_metadata(body, what=what)


def _document(raw: bytes, what: str) -> dict[str, Any]:
    if len(raw) > METADATA_LIMIT:
        raise VerificationError(f"{what}: {len(raw)} bytes are more than the {METADATA_LIMIT} allowed")
    body = load_yaml(raw, what=what)
    if not isinstance(body, dict):
        raise VerificationError(f"{what}: expected a mapping")
    return body


def parse_metadata(body: Mapping[str, Any], *, what: str) -> ChartMetadata:
    """Read metadata from a parsed Chart.yaml, an index entry or a config blob.

    Raises:
        VerificationError: a field has the wrong form, the name could lead outside, or the version is none.
    """
    fields = {"apiVersion": "v1", **_fields(body, _CHART_FIELDS, what)}
    fields = {name: fields[name] for name, _ in _CHART_FIELDS if name in fields}
    name, version = fields.get("name", ""), fields.get("version", "")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise VerificationError(f"{what}: {name[:100]!r} is no name of a chart; expected letters, digits, '-' and '.'")
    if parse_version(version) is None:
        raise VerificationError(f"{what}: {version[:100]!r} is no version; expected semver, such as 1.2.3")
    return ChartMetadata(
        name,
        version,
        app_version=fields.get("appVersion", ""),
        description=fields.get("description", ""),
        kube_version=fields.get("kubeVersion", ""),
        type=fields.get("type", ""),
        deprecated=fields.get("deprecated", False),
        dependencies=tuple(
            Dependency(
                item.get("name", ""),
                item.get("version", ""),
                item.get("repository", ""),
                item.get("alias", ""),
                item.get("condition", ""),
            )
            for item in fields.get("dependencies", ())
        ),
        fields=fields,
    )


def _text(value: Any, what: str) -> str:
    # helm turns white space into plain spaces and drops what can't be printed (chart.sanitizeString)
    text = text_of(value, what=what)
    return "".join(" " if c.isspace() else c for c in text if c.isspace() or c.isprintable())


def _plain_text(value: Any, what: str) -> str:
    return text_of(value, what=what)


def _flag(value: Any, what: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise VerificationError(f"{what}: found {str(value)[:50]!r}, expected true or false")


def _list(value: Any, what: str) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise VerificationError(f"{what}: found {type(value).__name__}, expected a list")


def _texts(value: Any, what: str) -> list[str]:
    return [_text(item, what) for item in _list(value, what)]


def _annotations(value: Any, what: str) -> dict[str, str]:
    if value is not None and not isinstance(value, dict):
        raise VerificationError(f"{what}: found {type(value).__name__}, expected a mapping")
    return {text_of(key, what=what): text_of(item, what=what) for key, item in sorted((value or {}).items(), key=str)}


def _maintainers(value: Any, what: str) -> list[dict[str, Any]]:
    return [_fields(item, _MAINTAINER_FIELDS, what) for item in _list(value, what) if item is not None]


def _dependencies(value: Any, what: str) -> list[dict[str, Any]]:
    found = [_fields(item, _DEPENDENCY_FIELDS, what) for item in _list(value, what) if item is not None]
    return [
        {name: item.get(name, "") for name, _ in _DEPENDENCY_FIELDS if name in item or name in ("name", "repository")}
        for item in found
    ]


def _fields(body: Any, known: tuple[tuple[str, Any], ...], what: str) -> dict[str, Any]:
    """Read the known fields in helm's order; empty ones are left out, as Go's `omitempty` does."""
    if not isinstance(body, Mapping):
        raise VerificationError(f"{what}: found {type(body).__name__}, expected a mapping")
    values = {name: read(body.get(name), f"{what}: {name}") for name, read in known}
    return {name: value for name, value in values.items() if value}


_MAINTAINER_FIELDS = (("name", _text), ("email", _text), ("url", _text))
_DEPENDENCY_FIELDS = (
    ("name", _text),
    ("version", _text),
    ("repository", _text),
    ("condition", _text),
    ("tags", _texts),
    ("enabled", _flag),
    ("import-values", _list),
    ("alias", _plain_text),
)
_CHART_FIELDS = (
    ("name", _text),
    ("home", _text),
    ("sources", _texts),
    ("version", _plain_text),
    ("description", _text),
    ("keywords", _texts),
    ("maintainers", _maintainers),
    ("icon", _text),
    ("apiVersion", _plain_text),
    ("condition", _text),
    ("tags", _text),
    ("appVersion", _text),
    ("deprecated", _flag),
    ("annotations", _annotations),
    ("kubeVersion", _text),
    ("dependencies", _dependencies),
    ("type", _plain_text),
)
