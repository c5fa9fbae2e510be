"""Addresses that lead to the internet, and settings that do."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.scan.rules.scenery import codes, findings, pod, thing


def env(value: str, name: str = "X") -> str:
    return pod(f"containers: [{{name: a, image: x, env: [{{name: {name}, value: {value!r}}}]}}]")


@pytest.mark.parametrize(
    ("value", "host", "word"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org", "certificate authority"),
        ("https://quay.io/v2/", "quay.io", "image registry"),
        ("oci://ghcr.io/fluxcd/manifests", "ghcr.io", "image registry"),
        ("https://charts.jetstack.io", "charts.jetstack.io", "chart repository"),
        ("https://prometheus-community.github.io/helm-charts", "prometheus-community.github.io", "chart repository"),
        ("https://stats.grafana.org/x", "stats.grafana.org", "telemetry"),
        ("https://sentry.io/api/1", "sentry.io", "telemetry"),
        ("https://github.com/acme/app.git", "github.com", "code host"),
        ("https://api.maptiler.com/maps?key=1", "api.maptiler.com", "host of the internet"),
        ("wss://live.some-service.com:8443", "live.some-service.com", "host of the internet"),
        ("http://8.8.8.8/x", "8.8.8.8", "host of the internet"),
        ("8.8.8.8", "8.8.8.8", "host of the internet"),
        ("stun:stun.l.google.com:19302", "stun.l.google.com", "STUN"),
        ("turn:turn.matrix.org?transport=udp", "turn.matrix.org", "STUN"),
        ("0.pool.ntp.org", "0.pool.ntp.org", "time server"),
        ("user https://a:Gw8zkVn@some-service.com/x", "some-service.com", "host of the internet"),
    ],
)
def test_hosts_of_the_internet(value: str, host: str, word: str) -> None:
    (finding,) = findings(env(value))
    assert (finding.code, finding.severity, finding.found) == ("internet-url", "warning", host)
    assert word in finding.message
    assert "Gw8zkVn" not in str(finding)


@pytest.mark.parametrize(
    "value",
    [
        "http://web.apps.svc.cluster.local:80",
        "https://kubernetes.default.svc",
        "http://web",
        "https://vault.site.internal/x",
        "http://10.1.2.3:80",
        "http://127.0.0.1",
        "http://localhost:80",
        "http://web.other",
        "http://web.apps:80",
        "http://[::1]:80",
        "https://chat.corp.lan",
        "http://www.w3.org/2000/svg",
        "https://json-schema.org/draft/2020-12/schema",
        "https://github.com/acme/app/issues/12",
        "https://docs.acme.com/x",
        "http://{{ .host }}.com",
        "See https://some-service.com for more",
        "type.googleapis.com/envoy.config",
        "quay.io/a/b:1",
        "notmatrix.org.corp.lan",
    ],
)
def test_other_hosts(value: str) -> None:
    assert findings(env(value)) == []


def test_the_site_may_have_a_public_domain() -> None:
    assert findings(env("https://chat.some-company.com/x"), domains=["some-company.com"]) == []


def config(text: str) -> str:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"app.yaml": text}}
    return yaml.safe_dump(body)


def test_comments_and_documentation_in_files_do_not_count() -> None:
    text = """
# https://some-service.com
key: x  # https://some-service.com
docs_url: https://some-service.com
"description": "https://some-service.com"
runbook_url: https://some-service.com
xmlns: http://some-service.com
"""
    assert findings(config(text)) == []
    (finding,) = findings(config(text + "server: https://some-service.com\n"))
    assert finding.where.endswith("data.app.yaml → line 8")


URL = "https://some-service.com"


@pytest.mark.parametrize(
    "text",
    [
        thing("v1", "ConfigMap", "", name=f"a, annotations: {{x: '{URL}'}}"),
        thing("v1", "ConfigMap", f"data: {{a.json: '{URL}'}}", name="a, labels: {grafana_dashboard: '1'}"),
        thing("v1", "ConfigMap", f'data: {{a.json: \'{{"panels": ["{URL}"]}}\'}}'),
        thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"spec: {{x: '{URL}'}}"),
        thing("x.io/v1", "X", f"spec: {{description: '{URL}', image: oci.element.io/x:1}}"),
    ],
)
def test_what_people_read(text: str) -> None:
    assert findings(text) == []


def test_custom_resources() -> None:
    issuer = """
        apiVersion: cert-manager.io/v1
        kind: ClusterIssuer
        metadata: {name: a}
        spec: {acme: {server: "https://acme-v02.api.letsencrypt.org/directory"}}
    """
    repository = """
        apiVersion: source.toolkit.fluxcd.io/v1
        kind: HelmRepository
        metadata: {name: a}
        spec: {url: "https://charts.jetstack.io"}
    """
    assert codes(findings(issuer)) == ["internet-url"]
    assert codes(findings(repository)) == ["internet-url"]


@pytest.mark.parametrize(
    "line",
    [
        "check_for_updates = true",
        "reporting_enabled: true",
        "report_stats: yes",
        "use_external_ip: true",
        '"telemetry_enabled": true',
    ],
)
def test_settings_that_phone_home(line: str) -> None:
    (finding,) = findings(config(f"a: 1\n{line}\n"))
    assert (finding.code, finding.severity) == ("phone-home", "warning")
    assert findings(config(f"a: 1\n{line}\n".replace("true", "false").replace("yes", "no"))) == []


@pytest.mark.parametrize(
    "spec",
    [
        "env: [{name: GF_ANALYTICS_CHECK_FOR_UPDATES, value: 'true'}]",
        "args: [--reporting-enabled=true]",
        "args: [--telemetry-enabled, 'true']",
        "args: [--disable-telemetry=false]",
        "args: [--global.sendanonymoususage=true]",
    ],
)
def test_programs_that_phone_home(spec: str) -> None:
    text = pod(f"containers: [{{name: a, image: x, {spec}}}]")
    assert codes(findings(text)) == ["phone-home"]
    opposite = {"true": "false", "false": "true"}
    assert findings(re.sub("true|false", lambda found: opposite[found[0]], text)) == []


def test_a_flag_that_phones_home() -> None:
    assert codes(findings(pod("containers: [{name: a, image: x, args: [--global.sendanonymoususage]}]"))) == [
        "phone-home"
    ]


def test_charts_that_argo_takes_from_registries() -> None:
    source = "spec: {source: {repoURL: ghcr.io/acme/charts, chart: app}}"
    (finding,) = findings(thing("argoproj.io/v1alpha1", "Application", source))
    assert finding.found == "ghcr.io"


def test_the_given_value_is_named() -> None:
    (finding,) = findings(env("https://some-service.com"), {"push": {"url": "https://some-service.com"}})
    assert finding.where == "values/app.yaml: push.url"
