"""What values a chart is rendered with: its own, its subcharts' below their names, and what is laid over them.

Sources: helm `pkg/chartutil/coalesce.go`, `dependencies.go`; `cmd/helm` merges values files before that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.chart import UNPACKED_LIMIT, chart_files
from airbundle.bundle.chart_metadata import ChartMetadata, metadata_of
from airbundle.bundle.tar import BLOCK
from airbundle.bundle.values_file import VALUES_LIMIT, parse_values
from airbundle.errors import DocumentError, VerificationError

_DEPTH_LIMIT = 8
GLOBAL = "global"


@dataclass(frozen=True)
class ChartTree:
    """A chart with its subcharts.

    Attributes:
        files: path below the chart's directory → content, without those of subcharts.
        values: its own values.yaml.
        subcharts: by name or alias, switched on or not.
    """

    metadata: ChartMetadata
    files: Mapping[str, bytes] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    subcharts: tuple[tuple[str, ChartTree], ...] = ()

    def walk(self, prefix: str = "") -> Iterator[tuple[str, ChartTree]]:
        """Yield the chart and all its subcharts with the path that helm gives each: `NAME`, `NAME/charts/SUB`."""
        top = prefix or self.metadata.name
        yield top, self
        for name, subchart in self.subcharts:
            yield from subchart.walk(f"{top}/charts/{name}")


def chart_tree(archive: bytes, *, what: str) -> ChartTree:
    """Read a chart's archive with all subcharts, unpacked or packed.

    Raises:
        VerificationError: it is no chart, or hostile (see `chart_files`), or unpacks with all subcharts to more than
            one chart may.
    """
    left = [UNPACKED_LIMIT]
    return _tree(_unpacked(archive, what, left), what, left, 0)


def _unpacked(archive: bytes, what: str, left: list[int]) -> dict[str, bytes]:
    """Return the files of an archive; `left` is what all archives of a chart may still unpack to."""
    files = {}
    for path, data in chart_files(archive, what=what):
        left[0] -= len(data) + BLOCK
        if left[0] < 0:
            raise VerificationError(f"{what}: a chart and its subcharts unpack to more than {UNPACKED_LIMIT} bytes")
        files[path] = data
    return files


def _tree(files: Mapping[str, bytes], what: str, left: list[int], depth: int) -> ChartTree:
    if depth > _DEPTH_LIMIT:
        raise VerificationError(f"{what}: subcharts are nested deeper than {_DEPTH_LIMIT}")
    metadata = metadata_of(files, what=what)
    own = {path: data for path, data in files.items() if not path.startswith("charts/")}
    found = {tree.metadata.name: tree for tree in _subcharts(files, what, left, depth)}
    named: dict[str, ChartTree] = {}
    for dependency in metadata.dependencies:
        if dependency.name in found:
            named[dependency.alias or dependency.name] = found[dependency.name]
    listed = {dependency.name for dependency in metadata.dependencies}
    named.update({name: tree for name, tree in found.items() if name not in listed})
    return ChartTree(metadata, own, _own_values(own, what), tuple(named.items()))


def _subcharts(files: Mapping[str, bytes], what: str, left: list[int], depth: int) -> Iterator[ChartTree]:
    unpacked: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        top, _, rest = path.removeprefix("charts/").partition("/")
        if not path.startswith("charts/") or top[:1] in ("_", "."):
            continue
        where = f"{what}: charts/{top}"
        if rest:
            unpacked.setdefault(top, {})[rest] = data
        elif top.endswith(".tgz"):
            yield _tree(_unpacked(data, where, left), where, left, depth + 1)
    for top, inner in unpacked.items():
        if "Chart.yaml" in inner:
            yield _tree(inner, f"{what}: charts/{top}", left, depth + 1)


def _own_values(files: Mapping[str, bytes], what: str) -> dict[str, Any]:
    raw = files.get("values.yaml", b"")
    if len(raw) > VALUES_LIMIT:
        return {}
    try:
        return parse_values(raw.decode("utf-8", "replace"), f"{what}: values.yaml")[0]
    except DocumentError:  # helm says so, and better, when it renders
        return {}


def merge_files(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several values files as one; later ones win, mappings are merged, null stays."""
    merged: dict[str, Any] = {}
    for body in bodies:
        merged = _over(merged, body)
    return merged


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def coalesce(tree: ChartTree, given: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return what a chart is rendered with.

    Subcharts that are switched off are in it, too: where their images stand is worth knowing.

    Args:
        tree: the chart.
        given: what the values files say together; null takes a chart's own value away.
    """
    values = copy.deepcopy(dict(given))
    _lay_below(values, tree.values)
    for name, subchart in tree.subcharts:
        own = values.get(name)
        own = own if isinstance(own, dict) else {}
        _globals(own, values)
        values[name] = coalesce(subchart, own)
    return values


def _lay_below(values: dict[str, Any], below: Mapping[str, Any]) -> None:
    """Put what is missing in `values` there; `null` in `values` means that nothing shall be."""
    for key, value in below.items():
        if key not in values:
            values[key] = copy.deepcopy(value)
        elif values[key] is None:
            del values[key]
        elif isinstance(values[key], dict) and isinstance(value, dict):
            _lay_below(values[key], value)


def _globals(own: dict[str, Any], parent: Mapping[str, Any]) -> None:
    """Pass a parent's globals down; the parent's win."""
    above, below = parent.get(GLOBAL), own.get(GLOBAL)
    if isinstance(above, dict):
        own[GLOBAL] = _over(below if isinstance(below, dict) else {}, above)
