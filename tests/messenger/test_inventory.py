"""The Messenger inventory keeps its own rules: what can be told without anybody's charts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from airbundle.bundle.inventory import Inventory
from airbundle.bundle.reference import parse_reference
from airbundle.bundle.site import Site
from tests.messenger.conftest import HOME, SITES, documents, filled, objects, read_site, strings, values_of

DOC = HOME.parent.parent / "docs" / "messenger.md"
TEXTS = sorted(path for path in HOME.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
NAMESPACES = {
    "cert-manager",
    "monitoring",
    "cnpg-system",
    "minio-operator",
    "messenger",
    "turn",
    "edge",
}


def test_every_file_that_is_named_is_there_and_no_other(inventory: Inventory) -> None:
    named = {path for path, _ in inventory.own_paths()}
    for name in SITES:
        named |= {f"sites/{path}" for paths in read_site(name).values.values() for path in paths}
    assert not [path for path in sorted(named) if not (HOME / path).exists()]
    there = {
        str(path.relative_to(HOME))
        for place in ("values", "jobs", "sites/small", "sites/large")
        for path in (HOME / place).iterdir()
    }
    there |= {f"{place}/{path.name}" for place in ("charts", "manifests") for path in (HOME / place).iterdir()}
    assert there <= named


def test_every_release_has_a_namespace_that_is_made(inventory: Inventory) -> None:
    made = {body["metadata"]["name"] for _, body in objects() if body["kind"] == "Namespace"}
    assert made == NAMESPACES
    assert {release.namespace for release in inventory.releases if release.namespace} <= made
    assert {body["metadata"]["namespace"] for _, body in objects() if body["kind"] != "Namespace"} <= made


def test_releases_come_after_what_they_need(inventory: Inventory) -> None:
    # The parser refuses circles and unknown names; here: nothing but the namespaces comes first.
    needs = {release.name: release.needs for release in inventory.releases}
    assert [name for name, needed in needs.items() if not needed] == ["namespaces"]
    monitored = {"loki", "alloy", "blackbox", "cnpg", "postgres", "valkey", "clamav", "ess", "edge", "probes"}
    for name in monitored:
        # Their ServiceMonitors and the like are of kinds that kube-prometheus-stack brings.
        assert "kube-prometheus-stack" in set(_all_needs(name, needs)), name


def _all_needs(name: str, needs: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for need in needs[name]:
        yield need
        yield from _all_needs(need, needs)


def test_every_image_has_a_host_and_a_tag_of_its_own(inventory: Inventory) -> None:
    for image in inventory.images:
        written = image.requested
        reference = parse_reference(written)
        assert reference.tag and reference.tag not in ("latest", "main", "edge"), written
        assert "." in written.split("/")[0], f"{written}: without its host"


def test_every_chart_is_pinned(inventory: Inventory) -> None:
    for chart in inventory.charts:
        assert chart.release is not None
        assert bool(chart.path) or re.fullmatch(r"v?\d+\.\d+\.\d+", chart.version), chart.requested


def test_every_values_file_is_filled_by_each_site(inventory: Inventory, site: Site) -> None:
    releases = {release.name: release for release in inventory.releases}
    assert set(site.values) <= set(releases)
    for release in releases.values():
        for path, body in values_of(release.name, site):
            assert isinstance(body, Mapping), path
            assert "{{ site." not in "\n".join(strings(body)), path
        for check in release.checks:
            assert check.http.startswith("https://"), check


def test_a_site_says_where_its_own_names_lead(site: Site) -> None:
    names = {"@", "matrix", "account", "chat", "admin", "rtc", "grafana", "turn", "registry"}
    assert set(site.dns.records) == names
    assert site.dns.zone == site.domain
    assert site.domain in site.ca.permitted
    certificates = documents((HOME / "charts/site-base/values.yaml").read_text())[0]["edge"]["names"]
    assert {name or "@" for name in certificates} == names - {"turn", "registry"}


def test_manifests_are_whole() -> None:
    for path, body in objects():
        assert body["apiVersion"], path
        assert body["kind"], path
        assert body["metadata"]["name"], path
    named = [(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for _, body in objects()]
    assert len(named) == len(set(named))


def test_a_restored_database_runs_the_same_program(site: Site) -> None:
    (restored,) = documents(filled("recovery/restore-test.yaml", site))
    for _, values in values_of("postgres", site):
        cluster = values["cluster"]
        assert restored["spec"]["imageName"] == cluster.get("imageName", restored["spec"]["imageName"])
        connections = cluster["postgresql"]["parameters"]["max_connections"]
        assert int(restored["spec"]["postgresql"]["parameters"]["max_connections"]) >= int(connections)
    (source,) = restored["spec"]["externalClusters"]
    assert source["plugin"]["parameters"] == {"barmanObjectName": "postgres-backups", "serverName": "postgres"}
    (recovery,) = documents(filled("recovery/postgres.yaml", site))
    (given,) = documents(filled("values/postgres.yaml", site))
    assert recovery["recovery"]["destinationPath"] == given["backups"]["destinationPath"]
    assert recovery["recovery"]["endpointURL"] == given["backups"]["endpointURL"]
    assert recovery["recovery"]["secret"] == given["backups"]["secret"]
    assert recovery["backups"]["destinationPath"] != given["backups"]["destinationPath"]


def test_connections_of_all_processes_fit_the_database(site: Site) -> None:
    processes, most = 1, 0
    poolers: list[Mapping[str, Any]] = []
    for _, values in values_of("ess", site):
        workers = values["synapse"].get("workers", {}).values()
        processes += sum(worker["replicas"] for worker in workers if worker["enabled"])
        processes += values.get("matrixAuthenticationService", {}).get("replicas", 1)
    for _, values in values_of("postgres", site):
        poolers = values.get("poolers", poolers)
        most = int(values["cluster"]["postgresql"]["parameters"]["max_connections"])
    # Both hold at most 10; the operator, backups and people need some, too.
    assert processes * 10 + 50 <= most
    for pooler in poolers:
        assert pooler["poolMode"] == "session"
        assert (
            processes * 10
            <= int(pooler["parameters"]["default_pool_size"])
            <= int(pooler["parameters"]["max_client_conn"])
        )


def test_dashboards_are_json_with_a_uid_of_their_own_and_known_sources() -> None:
    uids = []
    for path, body in objects():
        if body["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            for name, text in body["data"].items():
                board = json.loads(text)
                uids.append(board["uid"])
                assert {panel["datasource"]["uid"] for panel in board["panels"]} <= {"prometheus", "loki"}, (path, name)
    assert len(uids) == len(set(uids)) == 2


def test_every_alert_says_what_to_do_in_the_handbook() -> None:
    headings = {line.lstrip("#").strip().lower() for line in DOC.read_text().splitlines() if line.startswith("#")}
    rules = [body for _, body in objects() if body["kind"] == "PrometheusRule"]
    alerts = [rule for body in rules for group in body["spec"]["groups"] for rule in group["rules"]]
    assert len(alerts) >= 15
    for alert in alerts:
        document, _, heading = alert["annotations"]["runbook"].partition(": ")
        assert document == "docs/messenger.md"
        assert heading.lower() in headings, alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOME)))
def test_nothing_is_left_to_be_filled_in(path: Any) -> None:
    text = path.read_text()
    for word in (
        "CHANGE" + "_TO_",
        "change" + "me",
        "example." + "com",
        "example." + "org",
        "imagePullPolicy: " + "Always",
        "pullPolicy: " + "Always",
    ):
        assert word.lower() not in text.lower(), word


def test_no_password_is_written_down(site: Site) -> None:
    """What is called a password or key is empty, the name of a Secret or of its key, or made at the site."""
    names_of_keys = {"password", "admin-password", "admin-user"}
    sources = re.compile(r"random(?::\d+)?|file:secrets/[a-z0-9.-]+")
    for path in (path for path in TEXTS if path.suffix == ".yaml" and "templates" not in path.parts):
        for body in documents(filled(str(path.relative_to(HOME)), site)):
            for key, value in pairs(body):
                if re.search(r"(?i)(password|secret_?key|access_?key|token|secretkey)$", key) and isinstance(
                    value, str
                ):
                    assert value in names_of_keys or sources.fullmatch(value), f"{path.name}: {key}: {value}"


def pairs(body: object) -> Iterator[tuple[str, object]]:
    """Yield each key and value in nested data."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            yield str(key), value
            yield from pairs(value)
    elif isinstance(body, list):
        for value in body:
            yield from pairs(value)


def test_nothing_at_the_site_asks_the_internet(site: Site) -> None:
    inside = re.compile(rf"(?:.+\.)?{re.escape(site.domain)}|.+\.svc(?:\.cluster\.local)?|localhost|127\.0\.0\.1")
    names = [
        path for path in TEXTS if path.suffix == ".yaml" and path.parts[-2] != "sites" and path.name != "bundle.yaml"
    ]
    for path in names:
        relative = str(path.relative_to(HOME))
        text = filled(relative, site)
        for url in re.findall(r"(?:https?|wss?|ftp)://[^\s\"',)}]+", text):
            host = urlsplit(url).hostname or ""
            # Templates of our own charts: `{{ $domain }}` and the like come from values.
            assert inside.fullmatch(host) or "{{" in url or "$(" in url, f"{relative}: {url}"
