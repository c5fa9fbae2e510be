"""`index.yaml` of chart repositories: writing the site's, and finding one chart in an upstream's.

Spec: helm.sh "The Chart Repository Guide", "The index file"; helm `pkg/repo/index.go`. Ours is written as JSON, which
is YAML: helm reads it faster, and there is only one way to write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airbundle.bundle.chart_metadata import ChartMetadata, parse_metadata
from airbundle.bundle.chart_yaml import load_yaml
from airbundle.bundle.digest import hex_of
from airbundle.bundle.lock import LockedRoot
from airbundle.bundle.oci import HELM_CHART, Descriptor, Manifest, parse_json
from airbundle.bundle.reference import site_repository
from airbundle.bundle.semver import parse_version
from airbundle.errors import Finding, VerificationError

INDEX_LIMIT = 128 * 1024 * 1024
"""Largest index.yaml in bytes that is read; well-known ones have 30 MB."""

INDEX_NAME = "index.yaml"
LOCAL = "local"

_UNPRINTABLE = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff]")
_ILLEGAL = re.compile(r"[^a-z0-9]+")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ChartEntry:
    """A chart at the site.

    Attributes:
        directory: its repository's path below `/charts`: upstream's host and path, or `local`.
        archive: descriptor of the `.tgz` (the layer of Helm's artifact).
    """

    directory: str
    metadata: ChartMetadata
    archive: Descriptor

    @property
    def path(self) -> str:
        """Where the archive lies, below `/charts`."""
        return f"{self.directory}/{self.metadata.file_name}"


def chart_entry(ref: str, manifest: Manifest, config: bytes) -> ChartEntry:
    """Return what the chart repository says of a chart of the bundle.

    Args:
        ref: its name in the bundle, `<host>/<path>/<name>:<version>`.
        manifest: Helm's artifact.
        config: the bytes of its config blob.

    Raises:
        VerificationError: it is no chart.
    """
    archives = [layer for layer in manifest.layers if layer.media_type == HELM_CHART]
    if len(archives) != 1:
        raise VerificationError(f"chart {ref}: found {len(archives)} layers of type {HELM_CHART}, expected one")
    body = parse_json(config, what=f"chart {ref}: config")
    metadata = parse_metadata(body if isinstance(body, Mapping) else {}, what=f"chart {ref}: config")
    directory = site_repository(ref.rpartition(":")[0]).rpartition("/")[0]
    return ChartEntry(directory, metadata, archives[0])


def chart_ref(repo: str, name: str, version: str) -> str:
    """Return a chart's name in the bundle: `<host>/<path>/<name>:<version>`, or `local/<name>:<version>`.

    Args:
        repo: the repository's URL; empty for a local chart. For `oci://`, the chart's parent.
        name, version: the chart's own.
    """
    _, _, rest = repo.partition("://")
    host, _, path = rest.partition("/")
    parts = [_component(part) for part in path.partition("?")[0].split("/") if part]
    return "/".join([host.lower() or LOCAL, *parts, _component(name)]) + f":{version}"


def _component(text: str) -> str:
    """Return `text` as a component of a repository's name: lower case, with single `-` for what may not stand there."""
    lowered = text.lower()
    if re.fullmatch(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", lowered):
        return lowered
    return _ILLEGAL.sub("-", lowered).strip("-") or "x"


def chart_clashes(roots: Iterable[LockedRoot]) -> list[Finding]:
    """Return the charts that the index of all charts can't have side by side: equal name and version, other content."""
    seen: dict[tuple[str, str], LockedRoot] = {}
    findings = []
    for root in roots:
        if root.kind != "chart":
            continue
        name, version = root.info.get("name", ""), root.info.get("version", "")
        other = seen.setdefault((name, version), root)
        if other.ref != root.ref and other.descriptor.digest != root.descriptor.digest:
            findings.append(
                Finding(
                    f"two charts are {name} {version}, and they differ: the site's repository of all charts has one",
                    found=f"{other.requested} and {root.requested}",
                    hint="take one of them away, or lock another version of it",
                )
            )
    return findings


def chart_indexes(entries: Iterable[ChartEntry], created: str) -> dict[str, bytes]:
    """Return the index files of the site's chart repository by path below `/charts`.

    There is `<directory>/index.yaml` for each upstream, and `index.yaml` for all.

    Args:
        entries: the charts of the bundle (or of several; then the newest bundle's first: the first one wins).
        created: time of the bundle, RFC 3339; what the index says of each chart and of itself.
    """
    chosen: dict[tuple[str, str, str], ChartEntry] = {}
    for entry in entries:
        chosen.setdefault((entry.directory, entry.metadata.name, entry.metadata.version), entry)
    everything: dict[tuple[str, str], ChartEntry] = {}
    for entry in chosen.values():
        everything.setdefault((entry.metadata.name, entry.metadata.version), entry)
    indexes = {INDEX_NAME: _index((entry, entry.path) for entry in everything.values()).written(created)}
    for directory in sorted({entry.directory for entry in chosen.values()}):
        own = ((entry, entry.metadata.file_name) for entry in chosen.values() if entry.directory == directory)
        indexes[f"{directory}/{INDEX_NAME}"] = _index(own).written(created)
    return indexes


@dataclass(frozen=True)
class _Index:
    entries: tuple[tuple[ChartEntry, str], ...]

    def written(self, created: str) -> bytes:
        charts: dict[str, list[dict[str, Any]]] = {}
        for entry, url in self.entries:
            described = {
                **entry.metadata.fields,
                "created": created,
                "digest": hex_of(entry.archive.digest),
                "urls": [url],
            }
            charts.setdefault(entry.metadata.name, []).append(described)
        body = {"apiVersion": "v1", "entries": charts, "generated": created}
        text = json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True)
        # JSON may hold these as they are, YAML may not.
        return (_UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n").encode()


def _index(entries: Iterable[tuple[ChartEntry, str]]) -> _Index:
    def order(item: tuple[ChartEntry, str]) -> Any:
        version = parse_version(item[0].metadata.version)
        return (version, item[0].metadata.version)

    newest_first = sorted(entries, key=order, reverse=True)
    return _Index(tuple(sorted(newest_first, key=lambda item: item[0].metadata.name)))


@dataclass(frozen=True)
class UpstreamChart:
    """One version of a chart in an upstream's index.

    Attributes:
        digest: `sha256:…` of the archive; empty when the index has none.
        urls: where the archive lies; relative to the index, or absolute.
    """

    version: str
    app_version: str = ""
    digest: str = ""
    urls: tuple[str, ...] = ()


def upstream_charts(raw: bytes, name: str, *, what: str) -> list[UpstreamChart]:
    """Return the versions of one chart in an upstream's index.yaml, in its order; what helm would not take is left out.

    Args:
        raw: the index, YAML or JSON.
        name: of the chart.
        what: the repository, for errors.

    Raises:
        VerificationError: it is no index.
    """
    if len(raw) > INDEX_LIMIT:
        raise VerificationError(f"{what}: an index of {len(raw)} bytes is larger than the {INDEX_LIMIT} allowed")
    entries = _entries(raw, name, what)
    found = entries.get(name) or []
    if not isinstance(found, list):
        raise VerificationError(f"{what}: index.yaml: entries.{name} is no list")
    return [chart for chart in (_upstream_chart(item, what) for item in found) if chart is not None]


def _upstream_chart(item: Any, what: str) -> UpstreamChart | None:
    try:
        metadata = parse_metadata(item, what=what)
    except VerificationError:
        return None
    digest = str(item.get("digest") or "").lower().rpartition(":")[2]
    urls = item.get("urls")
    return UpstreamChart(
        metadata.version,
        metadata.app_version,
        f"sha256:{digest}" if _HEX.fullmatch(digest) else "",
        tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else (),
    )


def _entries(raw: bytes, name: str, what: str) -> dict[str, Any]:
    body: Any = None
    if raw.lstrip()[:1] == b"{":
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            pass  # YAML's flow style looks alike
    if body is None:
        part = _part(raw, name)
        try:
            body = load_yaml(raw if part is None else part, what=f"{what}: index.yaml")
        except VerificationError:
            if part is None:
                raise
            body = load_yaml(raw, what=f"{what}: index.yaml")
    if not isinstance(body, dict) or not isinstance(body.get("entries", {}) or {}, dict):
        raise VerificationError(f"{what}: index.yaml: expected a mapping with entries; is it a chart repository?")
    return body.get("entries") or {}


# A line's begin is spelled `\n`: that is searched thirty times faster than `^`.
_TOP = re.compile(rb"\nentries:[ \t]*\r?(?=\n)")
_AFTER_TOP = re.compile(rb"\n[^ \t\r\n#-]")
_FIRST_NAME = re.compile(rb"\n([ ]+)[^ \n#]")


def _part(raw: bytes, name: str) -> bytes | None:
    """Cut the entries of one chart out of an index as helm and all its kin write it; None if it is written otherwise.

    PyYAML reads 1 MB in a second, and well-known indexes have 30.
    """
    raw = b"\n" + raw
    tops = list(_TOP.finditer(raw))
    if len(tops) != 1 or b"&" in raw[: tops[0].start()]:
        return None
    start = tops[0].end()
    after = _AFTER_TOP.search(raw, start)
    end = after.start() if after else len(raw)
    first = _FIRST_NAME.search(raw, start, end)
    if first is None:
        return None
    indent = rb"\n" + first.group(1)
    spelled = re.escape(name.encode())
    named = re.compile(indent + rb"(?:\"" + spelled + rb"\"|'" + spelled + rb"'|" + spelled + rb")[ \t]*:")
    found = list(named.finditer(raw, start, end))
    if not found:
        return b"entries: {}"
    if len(found) != 1:
        return None
    following = re.compile(indent + rb"[^ \n#-]").search(raw, found[0].end(), end)
    return b"entries:" + raw[found[0].start() : following.start() if following else end]
