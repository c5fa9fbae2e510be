"""The inventory's own charts, rendered as the site will."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from airbundle.bundle.inventory import ChartRequest, Inventory
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.site import Site
from tests.messenger.conftest import HOME, documents, read_inventory, values_of
from tests.support.helm import HELM

OWN = [chart for chart in read_inventory().charts if chart.path]


def rendered(chart: ChartRequest, site: Site, tmp_path: Path) -> list[Mapping[str, Any]]:
    """Return the objects of a chart of ours at a site."""
    assert chart.release is not None
    command = [str(HELM), "template", chart.release.name, str(HOME / chart.path), "-n", chart.release.namespace]
    for number, (_, values) in enumerate(values_of(chart.release.name, site)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        command += ["-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def pods(body: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each pod spec in an object."""
    if isinstance(body, Mapping):
        if isinstance(body.get("containers"), list):
            yield body
        for value in body.values():
            yield from pods(value)


@pytest.mark.parametrize("chart", OWN, ids=lambda chart: str(chart.name))
def test_a_chart_of_ours_renders_and_its_images_are_in_the_inventory(
    chart: ChartRequest, inventory: Inventory, site: Site, tmp_path: Path
) -> None:
    listed = {str(image.target) for image in inventory.images}
    bodies = rendered(chart, site, tmp_path)
    assert bodies
    for pod in (pod for body in bodies for pod in pods(body)):
        for container in pod["containers"]:
            assert str(parse_reference(container["image"])) in listed
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"]["memory"]
        assert pod["securityContext"]["runAsNonRoot"] is True


def _chart(name: str) -> ChartRequest:
    return next(chart for chart in OWN if chart.name == name)


def test_coturn_has_the_ports_of_labelled_nodes_and_no_secret_in_its_configuration(site: Site, tmp_path: Path) -> None:
    configuration, workload = rendered(_chart("coturn"), site, tmp_path)
    pod = workload["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["nodeSelector"] == {"messenger/turn": "true"}
    ports = {(port["hostPort"], port["protocol"]) for port in pod["containers"][0]["ports"]}
    assert ports == {(3478, "UDP"), (3478, "TCP"), (5349, "UDP"), (5349, "TCP")}
    lines = configuration["data"]["turnserver.conf"].splitlines()
    assert f"realm=turn.{site.domain}" in lines
    assert not [line for line in lines if line.startswith(("static-auth-secret", "user="))]
    low, high = (
        int(next(line for line in lines if line.startswith(key)).partition("=")[2]) for key in ("min-port", "max-port")
    )
    assert 49152 <= low < high <= 65535
    # Each call takes at least a port for each side: quotas that ports can't meet would be a promise.
    quota = int(next(line for line in lines if line.startswith("total-quota")).partition("=")[2])
    assert quota <= 2 * (high - low + 1)


def test_the_module_arrives_in_its_configmap_byte_for_byte(site: Site, tmp_path: Path) -> None:
    (body,) = rendered(_chart("media-scan"), site, tmp_path)
    assert body["data"]["clamav_media.py"] == (HOME / "charts/media-scan/clamav_media.py").read_text()
    (volume,) = [
        each
        for _, values in values_of("ess", site)
        for each in values["synapse"].get("extraVolumes", [])
        if each["name"] == "media-scan"
    ]
    assert volume["configMap"]["name"] == body["metadata"]["name"]


def test_probes_ask_what_the_edge_serves(site: Site, tmp_path: Path) -> None:
    pages, tls, turn = rendered(_chart("probes"), site, tmp_path)
    asked = pages["spec"]["targets"]["staticConfig"]["static"]
    assert f"https://{site.domain}/.well-known/matrix/client" in asked
    assert f"https://matrix.{site.domain}/_matrix/client/versions" in asked
    assert tls["spec"]["targets"]["staticConfig"]["static"] == [
        f"turn.{site.domain}:5349",
        f"registry.{site.domain}:5443",
    ]
    assert turn["spec"]["module"] == "tcp"
    modules = next(values for _, values in values_of("blackbox", site))["config"]["modules"]
    assert {each["spec"]["module"] for each in (pages, tls, turn)} == set(modules)


def test_media_are_copied_from_the_pod_that_has_them(site: Site, tmp_path: Path) -> None:
    (job,) = rendered(_chart("media-backup"), site, tmp_path)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    workers: dict[str, Any] = {}
    for _, values in values_of("ess", site):
        workers.update(values["synapse"].get("workers", {}))
    place = "media-repository" if workers.get("media-repository", {}).get("enabled") else "main"
    assert term["labelSelector"]["matchLabels"] == {"app.kubernetes.io/instance": f"ess-synapse-{place}"}
