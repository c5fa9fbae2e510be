"""Where charts to be rendered come from: the lock, repositories, directories, and dependencies that lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from airbundle.builder.lock_file import read_lock
from airbundle.builder.render import UNAVAILABLE, render_inventory
from airbundle.errors import Finding
from airbundle.scan.model import Rendering
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import open_inventory
from airbundle.transfer.registries import load_registries
from airbundle.transfer.registry import RegistryClient
from tests.builder.conftest import UPSTREAM, Workshop
from tests.support.charts import Chart, ChartRepository, chart_repository, push_charts
from tests.support.helm import write_chart


@pytest.fixture
def repository(workshop: Workshop, charts: list[Chart]) -> Iterator[ChartRepository]:
    with chart_repository(charts[0].archive.parent, workshop.root / "repository") as served:
        yield served


def render(workshop: Workshop, *, charts_from: Path | None = None) -> tuple[list[Rendering], list[Finding]]:
    """Render the workshop's inventory with its lock, if there is one."""
    mirrors = workshop.registry.registries_yaml(UPSTREAM, plain=True)
    mirrors["mirrors"][UPSTREAM]["default_endpoint"] = False
    path = workshop.root / "registries.yaml"
    path.write_text(json.dumps(mirrors))
    opened, cache = open_inventory(workshop.root / "inventory"), Cache(workshop.root / "cache")
    with RegistryClient(load_registries(path)) as client:
        return render_inventory(opened, client, cache, lock=read_lock(opened.root), charts_from=charts_from)


def sources(renderings: list[Rendering]) -> list[str]:
    return [rendering.origin.source for rendering in renderings]


def both(workshop: Workshop, charts: list[Chart], repository: ChartRepository) -> None:
    push_charts(charts, workshop.registry, "team", home=workshop.root / "helm")
    workshop.inventory(
        charts=[
            {"name": "redis", "repo": repository.url, "version": "~18.0"},
            {"name": "redis", "repo": f"oci://{UPSTREAM}/team", "version": "17.9.9"},
            {"name": "platform", "repo": f"oci://{UPSTREAM}/team", "version": "1.2.0+build.5"},
        ]
    )


NAMES = ["chart redis 18.0.0", "chart redis 17.9.9", "chart platform 1.2.0+build.5"]


def test_charts_of_repositories_without_a_lock(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    both(workshop, charts, repository)
    renderings, findings = render(workshop)
    assert (sources(renderings), findings) == (NAMES, [])


def test_locked_charts_of_http_come_from_the_cache(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    both(workshop, charts, repository)
    assert workshop.lock().code == 0
    repository.requests.clear()
    renderings, findings = render(workshop)
    assert (sources(renderings), findings) == (NAMES, [])
    assert repository.requests == []
    # What was fetched once is not fetched again.
    workshop.registry.storage.rename(workshop.root / "gone")
    assert sources(render(workshop)[0]) == NAMES


def test_a_locked_chart_stays_when_upstream_moves(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    workshop.inventory(charts=[{"name": "redis", "repo": repository.url, "version": "*"}])
    assert workshop.lock().code == 0
    newest = sources(render(workshop)[0])
    newer = next(chart for chart in charts if chart.name == "nginx")
    shutil.copy(newer.archive, repository.directory / "redis-99.0.0.tgz")
    assert sources(render(workshop)[0]) == newest


def test_what_the_cache_lost_is_fetched_again(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    both(workshop, charts, repository)
    assert workshop.lock().code == 0
    shutil.rmtree(workshop.root / "cache")
    renderings, findings = render(workshop)
    assert (sources(renderings), findings) == (NAMES, [])


def test_what_is_lost_and_changed_upstream_is_told(workshop: Workshop, charts: list[Chart], tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    shutil.copy(next(chart.archive for chart in charts if (chart.name, chart.version) == ("redis", "18.0.0")), packages)
    with chart_repository(packages, tmp_path / "repository") as repository:
        workshop.inventory(charts=[{"name": "redis", "repo": repository.url, "version": "18.0.0"}])
        assert workshop.lock().code == 0
        shutil.rmtree(workshop.root / "cache")
        archive = repository.directory / "redis-18.0.0.tgz"
        archive.write_bytes(archive.read_bytes() + b"\0")
        index = repository.directory / "index.yaml"
        body = yaml.safe_load(index.read_text())
        del body["entries"]["redis"][0]["digest"]
        index.write_text(yaml.safe_dump(body))
        _, (finding,) = render(workshop)
    assert finding.code == UNAVAILABLE
    assert "is no longer in the cache, and upstream has another one now" in str(finding)


def test_a_repository_that_fails_stops_no_other_chart(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    workshop.inventory(
        charts=[
            {"name": "none", "repo": repository.url, "version": "1"},
            {"name": "none", "repo": f"oci://{UPSTREAM}/team", "version": "1.0.0"},
            {"name": "redis", "repo": repository.url, "version": "18.0.0"},
        ]
    )
    renderings, findings = render(workshop)
    assert sources(renderings) == ["chart redis 18.0.0"]
    assert [(finding.code, finding.where) for finding in findings] == [
        (UNAVAILABLE, "bundle.yaml:1 charts[0]"),
        (UNAVAILABLE, "bundle.yaml:1 charts[1]"),
    ]


def test_a_directory_stands_in_the_place_of_repositories(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository, tmp_path: Path
) -> None:
    both(workshop, charts, repository)
    assert workshop.lock().code == 0
    packages = tmp_path / "packages"
    packages.mkdir()
    for chart in charts:
        shutil.copy(chart.archive, packages)
    shutil.rmtree(workshop.root / "cache")
    repository.requests.clear()
    renderings, findings = render(workshop, charts_from=packages)
    assert (sources(renderings), findings, repository.requests) == (NAMES, [], [])
    other = packages / "redis-18.0.0.tgz"
    other.write_bytes(other.read_bytes() + b"\0")
    renderings, (finding,) = render(workshop, charts_from=packages)
    assert (finding.code, finding.severity) == ("chart-differs", "warning")
    assert sources(renderings) == NAMES


def unpacked(workshop: Workshop, **metadata: object) -> Path:
    directory = workshop.inventory(charts=[{"name": "mine", "path": "charts/mine"}])
    body = {"apiVersion": "v2", "name": "mine", "version": "1.0.0", **metadata}
    chart = write_chart(directory / "charts", "mine")
    (chart / "Chart.yaml").write_text(json.dumps(body))
    return chart


def test_dependencies_that_lack_are_fetched(
    workshop: Workshop, charts: list[Chart], repository: ChartRepository
) -> None:
    push_charts(charts, workshop.registry, "team", home=workshop.root / "helm")
    chart = unpacked(
        workshop,
        dependencies=[
            {"name": "redis", "version": "~18", "repository": repository.url},
            {"name": "redis", "version": "~18", "repository": repository.url, "alias": "second"},
            {"name": "nginx", "version": "15.4.2", "repository": f"oci://{UPSTREAM}/team"},
            {"name": "beside", "version": "1.0.0", "repository": "file://../beside"},
        ],
    )
    write_chart(chart.parent, "beside")
    (rendering,), (finding,) = render(workshop)
    for part in ("redis", "second", "nginx", "beside"):
        assert f"# Source: mine/charts/{part}/" in rendering.output.decode()
    assert finding.severity == "warning"
    assert "dependencies are not in charts/ and were fetched: redis, nginx, beside" in str(finding)
    assert sorted(path.name for path in chart.iterdir()) == ["Chart.yaml", "templates", "values.yaml"]


def test_chart_lock_pins_dependencies(workshop: Workshop, charts: list[Chart], repository: ChartRepository) -> None:
    chart = unpacked(workshop, dependencies=[{"name": "redis", "version": "*", "repository": repository.url}])
    pins = {"dependencies": [{"name": "redis", "version": "17.9.9", "repository": repository.url}]}
    (chart / "Chart.lock").write_text(json.dumps(pins))
    (rendering,), _ = render(workshop)
    assert "redis" in rendering.values
    (chart / "Chart.lock").write_text(json.dumps({"dependencies": [{"name": "redis", "version": "0.0.1"}]}))
    _, (finding,) = render(workshop)
    assert "charts/mine: its dependency redis 0.0.1 is not in charts/ and can't be had" in str(finding)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"repository": ""}, "its repository is 'nowhere'; expected https://… or oci://…"),
        ({"repository": "@stable"}, "its repository is '@stable'"),
        ({"repository": "file://../../../else"}, "file://../../../else leads out of the inventory"),
        ({"repository": "file://../none"}, "'charts/none' is not there"),
    ],
)
def test_dependencies_that_cannot_be_had_are_named(workshop: Workshop, entry: dict[str, str], said: str) -> None:
    unpacked(workshop, dependencies=[{"name": "lost", "version": "1.0.0", **entry}])
    renderings, (finding,) = render(workshop)
    assert [b"mine/templates/configmap.yaml" in rendering.output for rendering in renderings] == [True]
    assert (finding.code, finding.where) == ("chart-dependency", "bundle.yaml:1 charts[0]")
    assert "charts/mine: its dependency lost 1.0.0 is not in charts/ and can't be had: " in str(finding)
    assert said in str(finding)


def test_a_chart_that_cannot_do_without_a_dependency_says_so_once(workshop: Workshop) -> None:
    chart = unpacked(workshop, dependencies=[{"name": "lost", "version": "1.0.0", "repository": ""}])
    (chart / "templates" / "x.yaml").write_text('{{ include "lost.name" . }}\n')
    renderings, (finding,) = render(workshop)
    assert renderings == []
    assert finding.code == "chart-dependency"


def test_old_charts_name_dependencies_elsewhere(workshop: Workshop, charts: list[Chart]) -> None:
    chart = unpacked(workshop, apiVersion="v1")
    entries = [{"name": "redis", "version": "^18", "repository": "https://x.invalid"}, {"name": "lost", "version": "1"}]
    (chart / "requirements.yaml").write_text(json.dumps({"dependencies": entries}))
    (rendering,), findings = render(workshop, charts_from=charts[0].archive.parent)
    assert "# Source: mine/charts/redis/" in rendering.output.decode()
    assert [finding.severity for finding in findings] == ["warning", "error"]
    assert "its dependency lost 1 is not in charts/" in str(findings[1])


def test_charts_that_depend_on_each_other_have_an_end(workshop: Workshop) -> None:
    chart = unpacked(workshop, dependencies=[{"name": "other", "version": "*", "repository": "file://../other"}])
    write_chart(chart.parent, "other", dependencies=[{"name": "mine", "version": "*", "repository": "file://../mine"}])
    _, findings = render(workshop)
    assert "can't be had" in str(findings[0])


def test_dependencies_come_from_a_directory_too(workshop: Workshop, charts: list[Chart]) -> None:
    unpacked(workshop, dependencies=[{"name": "redis", "version": "^18", "repository": "https://charts.invalid"}])
    (rendering,), _ = render(workshop, charts_from=charts[0].archive.parent)
    assert "# Source: mine/charts/redis/" in rendering.output.decode()


def test_what_is_no_chart(workshop: Workshop) -> None:
    directory = workshop.inventory(charts=[{"name": "a", "path": "a.tgz"}, {"name": "b", "path": "b"}])
    (directory / "a.tgz").write_bytes(b"hello")
    (directory / "b").mkdir()
    renderings, (first, second) = render(workshop)
    assert renderings == []
    assert "chart a: not gzip data" in str(first)
    assert "b: Chart.yaml is missing" in str(second)
    assert {first.code, second.code} == {UNAVAILABLE}
