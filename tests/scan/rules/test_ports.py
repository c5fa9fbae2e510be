"""URLs, Ingresses, routes and webhooks that ask a Service at the wrong port; Services that reach nothing."""

from __future__ import annotations

import pytest
import yaml

from tests.scan.rules.scenery import codes, findings, pod, thing

SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8080, name: http, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: x, ports: [{name: web, containerPort: 80}]}]}
"""


def asks(url: str) -> str:
    return pod(f'containers: [{{name: a, image: x, env: [{{name: URL, value: "{url}"}}]}}]') + SERVICE


@pytest.mark.parametrize(
    "url",
    [
        "http://web",
        "http://web/path",
        "http://web:80/path",
        "https://web",
        "http://web.apps",
        "http://web.apps.svc",
        "http://web.apps.svc.cluster.local/x",
        "http://web.apps.svc.cluster.local:9090",
        "postgresql://user:pw@web/db",
        "redis://web.apps.svc:6379/0",
        "web:9090",
        "web.apps:9090",
        "web.apps.svc:9090",
        "--upstream=web.apps.svc.cluster.local:9090",
        "a http://web:9090 b",
    ],
)
def test_the_wrong_port(url: str) -> None:
    (finding,) = findings(asks(url))
    assert (finding.code, finding.severity, finding.expected) == ("port-mismatch", "error", "port 8080")
    assert "pw" not in str(finding)


@pytest.mark.parametrize(
    "url",
    [
        "http://web:8080",
        "http://web:8080/path",
        "http://web.apps.svc.cluster.local.:8080",
        "web:8080",
        "web.apps.svc:8080",
        "http://other",
        "http://web.elsewhere",
        "http://web.apps.svc.cluster.local:${PORT}",
        "http://web:$(PORT)",
        "http://web-$(N).web",
        "tcp-thing://web",
        "http://website",
        "web",
        "http://web.corp.lan",
        "key:9090",
        "http://{{ .host }}:90",
    ],
)
def test_right_ports_and_other_hosts(url: str) -> None:
    assert findings(asks(url)) == []


def test_configuration_is_read_line_by_line() -> None:
    lines = ["# proxy_pass http://web;", "proxy_pass http://web:9090$request_uri;", "set $up http://web;",
             "proxy_pass $up:8080$request_uri;"]  # fmt: skip
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    text = yaml.safe_dump({**config, "data": {"nginx.conf": "\n".join(lines)}})
    assert findings(text + SERVICE) == []  # what follows the port is a variable: nothing can be said
    text = yaml.safe_dump({**config, "data": {"nginx.conf": "\n".join(lines).replace("9090$request_uri", "9090/")}})
    (finding,) = findings(text + SERVICE)
    assert finding.where.endswith("data.nginx.conf → line 2")


def test_a_given_value_is_named() -> None:
    (finding,) = findings(asks("http://web/x"), {"upstream": {"url": "http://web/x"}})
    assert finding.where == "values/app.yaml: upstream.url"


def test_pods_behind_a_headless_service_answer_on_their_own_ports() -> None:
    headless = SERVICE.replace("{selector:", "{clusterIP: None, selector:")
    text = asks("http://web-0.web.apps.svc.cluster.local:80").replace(SERVICE, headless)
    assert findings(text) == []
    assert codes(findings(text.replace("local:80", "local:81"))) == ["port-mismatch"]


def test_an_external_name_has_no_ports_of_its_own() -> None:
    service = "---\n" + thing("v1", "Service", "spec: {type: ExternalName, externalName: db.corp.lan}", name="web")
    assert findings(asks("http://web").replace(SERVICE, service)) == []


NET, ROUTES, HOOKS = "networking.k8s.io/v1", "gateway.networking.k8s.io/v1", "admissionregistration.k8s.io/v1"
PATHS = "spec: {rules: [{http: {paths: [{backend: {service: {name: NAME, port: PORT}}}]}}]}"
HOOK = "webhooks: [{clientConfig: {service: {name: NAME, namespace: apps, port: PORT}}}]"
BACKENDS = {
    "ingress": thing(NET, "Ingress", PATHS),
    "default": thing(NET, "Ingress", "spec: {defaultBackend: {service: {name: NAME, port: PORT}}}"),
}
NUMBERS = {
    "route": thing(ROUTES, "HTTPRoute", "spec: {rules: [{backendRefs: [{name: NAME, port: PORT}]}]}"),
    "webhook": thing(HOOKS, "ValidatingWebhookConfiguration", HOOK),
    "api": thing(
        "apiregistration.k8s.io/v1", "APIService", "spec: {service: {name: NAME, namespace: apps, port: PORT}}"
    ),
}
ALL = {name: (text, "{number: %s}") for name, text in BACKENDS.items()}
ALL.update({name: (text, "%s") for name, text in NUMBERS.items()})


@pytest.mark.parametrize(("text", "port"), ALL.values(), ids=ALL.keys())
def test_backends(text: str, port: str) -> None:
    right = text.replace("NAME", "web").replace("PORT", port % 8080) + SERVICE
    assert findings(right) == []
    assert codes(findings(right.replace(port % 8080, port % 9090, 1))) == ["port-mismatch"]
    assert codes(findings(right.replace("name: web,", "name: wob,", 1))) == ["missing-service"]


def test_ports_by_name() -> None:
    text = BACKENDS["ingress"].replace("NAME", "web") + SERVICE
    assert findings(text.replace("PORT", "{name: http}")) == []
    assert codes(findings(text.replace("PORT", "{name: https}"))) == ["port-mismatch"]


def test_a_service_that_selects_no_pod() -> None:
    text = SERVICE.replace("selector: {app: web}", "selector: {app: wob}")
    (finding,) = findings(text)
    assert (finding.code, finding.severity, finding.found) == ("selects-nothing", "warning", "app=wob")


@pytest.mark.parametrize(
    "selector",
    ["{}", "{app: web, statefulset.kubernetes.io/pod-name: web-0}", "{app: main-db}", "{cnpg.io/cluster: main}",
     "{app: web, role: leader}", "{app: web, vault-active: 'true'}"],
)  # fmt: skip
def test_services_whose_pods_others_label(selector: str) -> None:
    cluster = "---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: main}\nspec: {}\n"
    assert findings(SERVICE.replace("selector: {app: web}", f"selector: {selector}") + cluster) == []


def test_a_target_port_that_no_container_has() -> None:
    text = SERVICE.replace("targetPort: web", "targetPort: wob")
    (finding,) = findings(text)
    assert (finding.code, finding.severity, finding.found, finding.expected) == ("port-mismatch", "error", "wob", "web")
    assert findings(text.replace("{selector:", "{clusterIP: None, selector:")) == []
    more = text.replace("ports: [", "ports: [{port: 1, name: ok, targetPort: web}, ", 1)
    assert [finding.severity for finding in findings(more)] == ["warning"]
    assert findings(SERVICE.replace("targetPort: web", "targetPort: 12345")) == []
