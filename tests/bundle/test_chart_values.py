"""Values of charts; helm itself is the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from airbundle.bundle.chart_pack import pack_chart
from airbundle.bundle.chart_values import chart_tree, coalesce, merge_files
from airbundle.bundle.values_file import parse_values
from airbundle.errors import VerificationError
from tests.support.helm import helm

SHOW = "# {{ toJson .Values }}\n"


def metadata(name: str, **more: Any) -> bytes:
    return yaml.safe_dump({"apiVersion": "v2", "name": name, "version": "1.0.0", **more}).encode()


def chart(values: str, *subcharts: tuple[str, str], dependencies: list[dict[str, Any]] | None = None) -> bytes:
    """Return the archive of a chart `top` whose values it renders; subcharts are (name, values)."""
    own = {"dependencies": dependencies} if dependencies else {}
    files = {
        "Chart.yaml": metadata("top", **own),
        "values.yaml": values.encode(),
        "templates/show.yaml": SHOW.encode(),
    }
    for name, text in subcharts:
        files[f"charts/{name}/Chart.yaml"] = metadata(name)
        files[f"charts/{name}/values.yaml"] = text.encode()
    return pack_chart(files, what="top")[1]


def by_helm(archive: bytes, given: list[str], directory: Path) -> Any:
    """Return what helm renders a chart with."""
    (directory / "top.tgz").write_bytes(archive)
    flags: list[str | Path] = []
    for number, text in enumerate(given):
        path = directory / f"{number}.yaml"
        path.write_text(text)
        flags += ["--values", path]
    output = helm("template", "x", directory / "top.tgz", *flags, home=directory / "home")
    return json.loads(output.rpartition("# {")[2].join(["{", ""]))


CASES = [
    ("a: 1\nb: {c: 2, d: 3}\n", [], [], ["b: {c: 5}\nnew: x\n"]),
    ("a: {b: {c: 1, d: 2}}\n", [], [], ["a: {b: {c: null}}\n"]),
    ("a: {b: 1}\n", [], [], ["a: null\n"]),
    ("a: [1, 2]\n", [], [], ["a: [3]\n"]),
    ("a: 1\n", [], [], ["a: {b: 1}\n"]),
    ("a: {b: 1}\n", [], [], ["a: 7\n"]),
    ("a: 1\n", [], [], ["a: 2\nb: {x: 1, y: 1}\n", "b: {y: 2}\na: 3\n"]),
    ("a: {b: 1}\n", [], [], ["a: null\n", "a: {c: 2}\n"]),
    ("db: {user: parent}\n", [("db", "user: child\nport: 1\n")], [], ["db: {port: 2}\n"]),
    ("db: {port: null}\n", [("db", "user: child\nport: 1\n")], [], []),
    ("global: {registry: r, deep: {x: 1}}\n", [("db", "global: {registry: own, deep: {y: 2}}\n")], [], []),
    ("a: 1\n", [("db", "global: {own: 1}\n")], [], ["global: {given: 2}\n"]),
    (
        "first: {user: one}\n",
        [("db", "user: child\nport: 1\n")],
        [
            {"name": "db", "version": "1.0.0", "alias": "first"},
            {"name": "db", "version": "1.0.0", "alias": "second"},
        ],
        ["second: {port: 9}\n"],
    ),
    ("on: yes\nn: 0x10\nf: 1.5\ne: =\nt: 2020-01-01\nq: '1'\nz: ~\n", [], [], []),
    ("base: &b {x: 1, y: 2}\nover: {<<: *b, y: 3}\n", [], [], []),
]


@pytest.mark.parametrize(("values", "subcharts", "dependencies", "given"), CASES)
def test_values_are_those_that_helm_renders_with(
    tmp_path: Path,
    values: str,
    subcharts: list[tuple[str, str]],
    dependencies: list[dict[str, Any]],
    given: list[str],
) -> None:
    archive = chart(values, *subcharts, dependencies=dependencies)
    tree = chart_tree(archive, what="top")
    ours = coalesce(tree, merge_files([parse_values(text, "v")[0] for text in given]))
    theirs = by_helm(archive, given, tmp_path)
    assert _without_empty_globals(ours) == _without_empty_globals(theirs)


def _without_empty_globals(values: Any) -> Any:
    """Leave out the empty `global` that helm gives to each subchart."""
    if not isinstance(values, dict):
        return values
    kept = {key: _without_empty_globals(value) for key, value in values.items()}
    return {key: value for key, value in kept.items() if (key, value) != ("global", {})}


def test_defaults_are_not_changed_by_what_is_laid_over_them() -> None:
    tree = chart_tree(chart("a: {b: 1}\n", ("db", "x: {y: 1}\n")), what="top")
    before = json.dumps(coalesce(tree))
    coalesce(tree, {"a": {"b": 2}, "db": {"x": {"y": 2, "z": 3}}})
    assert json.dumps(coalesce(tree)) == before


def test_values_of_a_chart_that_are_no_yaml_are_none() -> None:
    assert coalesce(chart_tree(chart("a: [\n"), what="top")) == {}


def test_paths_of_subcharts() -> None:
    inner = pack_chart({"Chart.yaml": metadata("deep"), "values.yaml": b"z: 1\n"}, what="deep")[1]
    middle = {
        "Chart.yaml": metadata("middle"),
        "charts/deep-1.0.0.tgz": inner,
        "charts/README.md": b"x",
        "charts/_x/y": b"",
    }
    packed = pack_chart(middle, what="middle")[1]
    tree = chart_tree(pack_chart({"Chart.yaml": metadata("top"), "charts/m.tgz": packed}, what="top")[1], what="top")
    assert [path for path, _ in tree.walk()] == ["top", "top/charts/middle", "top/charts/middle/charts/deep"]
    assert coalesce(tree) == {"middle": {"deep": {"z": 1}}}


def test_packed_subcharts_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = [pack_chart({"Chart.yaml": metadata(name), "x": b"x" * 8000}, what=name)[1] for name in ("one", "two")]
    files = {"Chart.yaml": metadata("top"), **{f"charts/{number}.tgz": data for number, data in enumerate(packed)}}
    archive = pack_chart(files, what="top")[1]
    size = len(b"".join(packed))
    monkeypatch.setattr("airbundle.bundle.chart_values.UNPACKED_LIMIT", size + 2 * 8000 + 7000)
    assert len(chart_tree(archive, what="top").subcharts) == 2
    monkeypatch.setattr("airbundle.bundle.chart_values.UNPACKED_LIMIT", size + 12_000)
    with pytest.raises(VerificationError, match="subcharts unpack to more than"):
        chart_tree(archive, what="top")


def test_charts_nested_without_end_are_refused() -> None:
    archive = pack_chart({"Chart.yaml": metadata("c0")}, what="c")[1]
    for number in range(1, 12):
        archive = pack_chart({"Chart.yaml": metadata(f"c{number}"), "charts/x.tgz": archive}, what="c")[1]
    with pytest.raises(VerificationError, match="nested deeper than 8"):
        chart_tree(archive, what="c")
