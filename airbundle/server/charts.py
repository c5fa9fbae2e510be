"""The chart repository: an index for each upstream and one for all (design §5), and the archives beside them."""

from __future__ import annotations

from airbundle.bundle.chart_index import ChartEntry, chart_entry, chart_indexes
from airbundle.bundle.index import CHART
from airbundle.bundle.oci import HELM_PROVENANCE
from airbundle.errors import VerificationError
from airbundle.server.deliver import Item
from airbundle.server.library import Library
from airbundle.server.shelf import Shelf, blob_item, made_item, roots_of

_YAML = "text/yaml; charset=utf-8"


def build_charts(library: Library) -> tuple[Shelf, tuple[ChartEntry, ...]]:
    """Return what `/charts/` serves, and the charts themselves; of equal names and versions the newest bundle's.

    Raises:
        VerificationError: a chart's manifest or metadata is damaged or not as helm wants it.
    """
    entries: dict[str, ChartEntry] = {}
    shelf: dict[str, Item] = {}
    for found in roots_of(library, CHART):
        if found.manifest.config is None:
            raise VerificationError(f"chart {found.ref}: its manifest has no config")
        entry = chart_entry(found.ref, found.manifest, library.read_small(found.manifest.config.digest))
        if entry.path in entries:
            continue
        entries[entry.path] = entry
        shelf[entry.path] = blob_item(entry.archive, found.created)
        for layer in found.manifest.layers:
            if layer.media_type == HELM_PROVENANCE:
                shelf[f"{entry.path}.prov"] = blob_item(layer, found.created)
    if library.bundles:
        newest = library.bundles[0].statement
        for path, raw in chart_indexes(entries.values(), newest.created).items():
            shelf[path] = made_item(raw, _YAML, newest.serial)
    return shelf, tuple(entries.values())
