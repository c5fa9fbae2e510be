"""The chart repository: an index for each upstream and one for all (design §5; helm.sh "The chart repository guide").

The indexes are JSON, which is YAML, and which helm reads ten times faster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from airbundle.bundle.chart_metadata import ChartMetadata, parse_metadata
from airbundle.bundle.digest import hex_of
from airbundle.bundle.index import CHART
from airbundle.bundle.layout import repository_of
from airbundle.bundle.oci import HELM_CHART, HELM_PROVENANCE, Descriptor, parse_json
from airbundle.bundle.reference import site_repository
from airbundle.server.deliver import Item
from airbundle.server.library import Library
from airbundle.server.shelf import Found, Shelf, blob_item, made_item, rfc3339, roots_of

INDEX = "index.yaml"
_YAML = "text/yaml; charset=utf-8"
_CONFIG_LIMIT = 2 * 1024 * 1024


@dataclass(frozen=True)
class ServedChart:
    """A chart of the repository.

    Attributes:
        directory: its upstream, `charts.jetstack.io` or `ghcr.io/org/charts`; `local` for local ones.
        created: of its bundle, in seconds since the epoch.
    """

    directory: str
    metadata: ChartMetadata
    archive: Descriptor
    created: int

    @property
    def path(self) -> str:
        """The archive's path below `/charts/`."""
        return f"{self.directory}/{self.metadata.file_name}"


def build_charts(library: Library) -> tuple[Shelf, tuple[ServedChart, ...]]:
    """Return what `/charts/` serves, and the charts themselves; of equal names and versions the newest bundle's.

    Raises:
        VerificationError: a chart's manifest or metadata is damaged or not as helm wants it.
    """
    charts: dict[str, ServedChart] = {}
    shelf: dict[str, Item] = {}
    for found in roots_of(library, CHART):
        chart = _chart(library, found)
        if chart is None or chart.path in charts:
            continue
        charts[chart.path] = chart
        shelf[chart.path] = blob_item(chart.archive, chart.created)
        for layer in found.manifest.layers:
            if layer.media_type == HELM_PROVENANCE:
                shelf[f"{chart.path}.prov"] = blob_item(layer, chart.created)
    newest = max((each.statement.serial for each in library.bundles), default=0)
    for directory in sorted({chart.directory for chart in charts.values()}):
        own = [chart for chart in charts.values() if chart.directory == directory]
        shelf[f"{directory}/{INDEX}"] = made_item(_index(own, directory + "/", newest), _YAML, newest)
    shelf[INDEX] = made_item(_index(charts.values(), "", newest), _YAML, newest)
    return shelf, tuple(charts.values())


def _chart(library: Library, found: Found) -> ServedChart | None:
    config = found.manifest.config
    archive = next((layer for layer in found.manifest.layers if layer.media_type == HELM_CHART), None)
    if config is None or archive is None:
        return None
    raw = library.read_small(config.digest, _CONFIG_LIMIT)
    metadata = parse_metadata(parse_json(raw, what=found.ref, limit=_CONFIG_LIMIT), what=found.ref)
    directory = site_repository(repository_of(found.ref)).rpartition("/")[0]
    return ServedChart(directory, metadata, archive, found.created)


def _index(charts: Iterable[ServedChart], base: str, generated: int) -> bytes:
    """Return an index whose URLs are relative to itself, so that it holds under any name of the server."""
    entries: dict[str, list[dict[str, object]]] = {}
    for chart in sorted(charts, key=lambda chart: chart.path):
        entry = {
            **chart.metadata.fields,
            "created": rfc3339(chart.created),
            "digest": hex_of(chart.archive.digest),
            "urls": [quote(chart.path[len(base) :], safe="/+")],
        }
        entries.setdefault(chart.metadata.name, []).append(entry)
    body = {"apiVersion": "v1", "entries": entries, "generated": rfc3339(generated)}
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()
