from __future__ import annotations

import os
from pathlib import Path

import pytest

from airbundle.bundle.chart import chart_files
from airbundle.errors import HostError, UsageError
from airbundle.store.chart_dir import read_local_chart
from tests.support.helm import helm, package, write_chart


def listed(top: Path) -> list[tuple[str, Path]]:
    return [(path.relative_to(top).as_posix(), path) for path in top.rglob("*") if path.is_file()]


def test_a_directory_is_packed_as_helm_would(tmp_path: Path) -> None:
    files = {".helmignore": "*.bak\nci/\n", "old.bak": "", "ci/x.yaml": "", "templates/.x": "", "crds/a.yaml": "a: 1\n"}
    chart = write_chart(tmp_path, "demo", "1.0.0", files=files)
    local = read_local_chart(listed(chart), what="charts/demo")
    assert local.metadata.version == "1.0.0"
    assert local.provenance is None
    found = dict(chart_files(local.archive, what="demo"))
    assert found.keys() == {".helmignore", "Chart.yaml", "values.yaml", "templates/configmap.yaml", "crds/a.yaml"}
    (tmp_path / "demo.tgz").write_bytes(local.archive)
    rendered = helm("template", "r", tmp_path / "demo.tgz", home=tmp_path)
    assert rendered == helm("template", "r", chart, home=tmp_path)
    assert helm("show", "values", tmp_path / "demo.tgz", home=tmp_path) == "greeting: from demo\n\n"


def test_modes_and_times_of_files_do_not_matter(tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "demo")
    before = read_local_chart(listed(chart), what="demo").archive
    for path in chart.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert read_local_chart(reversed(listed(chart)), what="demo").archive == before


def test_dependencies_come_from_helm(tmp_path: Path) -> None:
    write_chart(tmp_path, "inner", "0.1.0")
    dependencies = [{"name": "inner", "version": "0.1.0", "repository": "file://../inner"}]
    chart = write_chart(tmp_path, "demo", dependencies=dependencies)
    with pytest.raises(UsageError, match="inner") as caught:
        read_local_chart(listed(chart), what=str(chart))
    assert f"helm dependency update {chart}" in caught.value.hint
    helm("dependency", "update", chart, home=tmp_path)
    local = read_local_chart(listed(chart), what=str(chart))
    assert "charts/inner-0.1.0.tgz" in dict(chart_files(local.archive, what="demo"))


def test_an_archive_stays_as_it_is(tmp_path: Path) -> None:
    archive = package(write_chart(tmp_path, "demo", "1.0.0"), tmp_path / "out", home=tmp_path)
    local = read_local_chart([("", archive)], what="demo.tgz")
    assert (local.archive, local.metadata.name, local.provenance) == (archive.read_bytes(), "demo", None)
    archive.with_name("demo-1.0.0.tgz.prov").write_bytes(b"signed")
    assert read_local_chart([("", archive)], what="demo.tgz").provenance == b"signed"


def test_what_is_no_chart(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    with pytest.raises(UsageError, match=r"^charts/x: not gzip"):
        read_local_chart([("", tmp_path / "x")], what="charts/x")
    with pytest.raises(UsageError, match=r"Chart\.yaml is missing"):
        read_local_chart([], what="charts/x")
    with pytest.raises(HostError, match="nothing"):
        read_local_chart([("Chart.yaml", tmp_path / "nothing")], what="charts/x")
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_local_chart([(".helmignore", tmp_path / "bad")], what="charts/x")
