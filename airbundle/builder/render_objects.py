"""Objects in renders that deploy more, and those that they refer to."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.chart_yaml import load_yaml
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.values_file import ValuesFile
from airbundle.errors import DocumentError, Finding, VerificationError
from airbundle.scan.model import Rendering
from airbundle.transfer.problems import clean

_GROUPS = rb"(?:helm|source|kustomize)\.toolkit\.fluxcd\.io|argoproj\.io"
_DEPLOYS = re.compile(rb"apiVersion[\"']?:\s*[\"']?(?:" + _GROUPS + rb")/")
_HELD = re.compile(rb"kind[\"']?:\s*[\"']?(?:ConfigMap|Secret)\b")
_BREAK = re.compile(rb"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DOCUMENT_LIMIT = 1 << 20
_DEPTH_LIMIT = 100


@dataclass(frozen=True)
class Object:
    """An object of a render.

    Attributes:
        group: of its apiVersion.
        variant, source: of its render.
    """

    group: str
    kind: str
    namespace: str
    name: str
    body: Mapping[str, Any] = field(repr=False)
    variant: str = ""
    source: str = ""

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec, or an empty mapping."""
        return mapping(self.body.get("spec"))

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return clean(f"{self.kind} {name}")  # foreign text, which people will see


@dataclass(frozen=True)
class Deployed:
    """What an object deploys: a chart, or manifests of the inventory.

    Attributes:
        by: the object.
        chart: the chart; None for manifests.
        path: of manifests below the inventory.
        values: laid over the chart's own, in order.
        value_paths: files in the chart that are laid over its own values before.
        substitutions: `${NAME}` in manifests → what it becomes.
    """

    by: Object
    chart: ChartRequest | None = None
    path: str = ""
    release: str = ""
    namespace: str = ""
    values: tuple[ValuesFile, ...] = ()
    value_paths: tuple[str, ...] = ()
    substitutions: Mapping[str, str] = field(default_factory=dict)


class Objects:
    """The objects of renders that deploy something, and what they name: sources, ConfigMaps, Secrets."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str], Object] = {}
        self._waiting: list[Rendering] = []

    def add(self, renderings: Iterable[Rendering]) -> list[Object]:
        """Take renders in, and return their objects that may deploy something."""
        found: list[Object] = []
        for rendering in renderings:
            self._waiting.append(rendering)
            # Most renders have none: one look at the whole text tells.
            if _DEPLOYS.search(rendering.output):
                found += self._keep(_objects(rendering, _DEPLOYS))
        return found

    def find(self, kind: str, namespace: str, name: str, variant: str) -> Object | None:
        """Return an object of the same render variant, else of the inventory's own; None when there is none."""
        if kind in ("ConfigMap", "Secret"):
            for rendering in self._waiting:
                self._keep(_objects(rendering, _HELD))
            self._waiting.clear()
        for wanted in dict.fromkeys((variant, "")):
            for place in dict.fromkeys((namespace, "")):
                found = self._known.get((wanted, kind, place, name))
                if found is not None:
                    return found
        return None

    def _keep(self, found: Iterable[Object]) -> list[Object]:
        kept = list(found)
        for each in kept:
            self._known.setdefault((each.variant, each.kind, each.namespace, each.name), each)
        return kept


def _objects(rendering: Rendering, wanted: re.Pattern[bytes]) -> Iterator[Object]:
    """Yield the objects of a render whose document has a pattern; others need not be parsed."""
    for piece in _documents(rendering.output):
        if len(piece) > _DOCUMENT_LIMIT or not wanted.search(piece):
            continue
        try:
            body = load_yaml(piece, what=rendering.origin.source)
        except VerificationError:  # whoever reads all objects tells it
            continue
        for item in _unlisted(body):
            metadata = mapping(item.get("metadata"))
            yield Object(
                str(item.get("apiVersion") or "").partition("/")[0],
                str(item.get("kind") or ""),
                str(metadata.get("namespace") or rendering.origin.namespace),
                str(metadata.get("name") or ""),
                item,
                rendering.origin.variant,
                rendering.origin.source,
            )


def _documents(output: bytes) -> Iterator[bytes]:
    start = 0
    for match in _BREAK.finditer(output):
        yield output[start : match.start()]
        start = match.end()
    yield output[start:]


def _unlisted(body: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(body, dict):
        return
    items = body.get("items")
    if str(body.get("kind", "")).endswith("List") and isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))
    else:
        yield body


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return a text or a number as text; an empty one in the place of anything else."""
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def held_text(holder: Object, key: str) -> str | None:
    """Return a value of a ConfigMap or Secret as text, or None where it isn't there."""
    plain = mapping(holder.body.get("stringData" if holder.kind == "Secret" else "data")).get(key)
    if plain is not None:
        return text(plain)
    coded = mapping(holder.body.get("data" if holder.kind == "Secret" else "binaryData")).get(key)
    if coded is None:
        return None
    try:
        return base64.b64decode(text(coded), validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


def nested(path: str, value: Any, where: str) -> dict[str, Any]:
    """Return a value below a dotted path, as `--set` has it: `a.b` makes `{a: {b: value}}`; a backslash keeps a dot.

    Raises:
        DocumentError: it is deeper than values may be.
    """
    names = [name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path)]
    if len(names) > _DEPTH_LIMIT:
        finding = Finding("a value is set too deep", where, "values-file", str(len(names)), f"{_DEPTH_LIMIT} at most")
        raise DocumentError(str(finding), findings=[finding])
    body = value
    for name in reversed(names):
        body = {name: body}
    return dict(body)


def not_followed(by: Object, why: str, *, hint: str = "") -> Finding:
    """Return the warning that what an object deploys was not looked at: a site may have it from elsewhere."""
    return Finding(
        f"{by} deploys what is not looked at: {clean(why)}", by.source, "not-followed", hint=hint, severity="warning"
    )
