"""Stock helm reads the charts from both kinds of places."""

from __future__ import annotations

from pathlib import Path

from tests.support.charts import Chart, chart_repository, helm_host, push_charts, registry_flags
from tests.support.helm import helm
from tests.support.registries import PASSWORD, USER, Registry
from tests.support.tls import Authority


def test_a_dozen_charts(charts: list[Chart], tmp_path: Path) -> None:
    assert len({chart.name for chart in charts}) == 12
    platform = next(chart for chart in charts if chart.name == "platform")
    assert platform.version == "1.2.0+build.5"
    rendered = helm("template", "x", platform.archive, home=tmp_path)
    assert "docker.io/library/redis:7.0" in rendered
    assert "helm.sh/hook" in rendered
    monitoring = next(chart for chart in charts if chart.name == "monitoring")
    assert "CustomResourceDefinition" in helm("template", "x", monitoring.archive, "--include-crds", home=tmp_path)


def test_http_repository(charts: list[Chart], authority: Authority, tmp_path: Path) -> None:
    with chart_repository(charts[0].archive.parent, tmp_path / "repo", tls=authority, auth=True) as repository:
        flags = ["--ca-file", str(repository.ca_file), "--username", USER, "--password", PASSWORD]
        helm("pull", "redis", "--repo", repository.url, "--version", "~18.0", "-d", tmp_path, *flags, home=tmp_path)
        assert (tmp_path / "redis-18.0.0.tgz").exists()
        assert "/stable/index.yaml" in repository.requests


def test_oci(charts: list[Chart], basic_registry: Registry, tmp_path: Path) -> None:
    platform = [chart for chart in charts if chart.name == "platform"]
    pushed = push_charts(platform, basic_registry, "charts/own", home=tmp_path)
    assert list(pushed) == ["platform:1.2.0_build.5"]
    source = f"oci://{helm_host(basic_registry)}/charts/own/platform"
    helm("pull", source, "--version", "1.2.0+build.5", "-d", tmp_path, *registry_flags(basic_registry), home=tmp_path)
    assert (tmp_path / "platform-1.2.0+build.5.tgz").read_bytes() == platform[0].archive.read_bytes()
