"""Hosts that fit no site, or only one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airbundle.scan.model import Origin
from airbundle.scan.rules import run_rules
from tests.scan.rules.scenery import ORIGIN, codes, findings, objects, pod, rendering

INGRESS = """
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: a}
    spec: {rules: [{host: HOST}]}
"""


@pytest.mark.parametrize(
    "host",
    ["example.com", "matrix.example.org", "x.y.example.net", "matrix.example", "chart-example.local", "example.local",
     "yourdomain.com", "my-domain.tld", "*.example.com"],
)  # fmt: skip
def test_example_hosts(host: str) -> None:
    (finding,) = findings(INGRESS.replace("HOST", f'"{host}"'))
    assert (finding.code, finding.severity, finding.found) == ("example-host", "warning", host)


@pytest.mark.parametrize(
    "host",
    ["matrix.site.internal", "svc.ns.svc.cluster.local", "myexample.com", "example.community.io", "example.com.au.x",
     "examples.community", "counterexample.corp", "printer.local", "messenger.internal"],
)  # fmt: skip
def test_other_hosts(host: str) -> None:
    assert findings(INGRESS.replace("HOST", host)) == []


def test_an_example_in_given_values_is_an_error_and_told_once() -> None:
    (finding,) = findings(INGRESS.replace("HOST", "m.example.com"), {"ingress": {"host": "m.example.com"}})
    assert (finding.code, finding.severity, finding.where) == ("example-host", "error", "values/app.yaml: ingress.host")


def test_a_site_may_really_be_called_so() -> None:
    assert findings(INGRESS.replace("HOST", "m.example.com"), domains=["example.com"]) == []
    assert findings("", {"host": "m.example.com"}, domains=["example.com"]) == []


def test_what_a_name_of_the_inventorys_own_stands_for_is_not_written_out() -> None:
    values = {"turn": {"externalAddress": "192.0.2.7"}, "smtp": {"host": "mail.example.com"}}
    assert len(findings("", values)) == 2
    assert findings("", values, samples=["192.0.2.7", "smtp://mail.example.com:25"]) == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"ingress": {"host": "chat.corp.lan"}}, "chat.corp.lan"),
        ({"ingress": {"hosts": ["chat.corp.lan"]}}, "chat.corp.lan"),
        ({"serverName": "corp.de"}, "corp.de"),
        ({"smtp": {"server": "mail.corp.lan:25"}}, "mail.corp.lan"),
        ({"s3": {"endpoint": "https://store.corp.de"}}, "store.corp.de"),
        ({"publicUrl": "https://chat.corp.de:8443/x"}, "chat.corp.de"),
        ({"turn": {"externalAddress": "10.20.30.40"}}, "10.20.30.40"),
        ({"turn": {"uris": ["turn:192.168.7.9:3478"]}}, ""),
        ({"dns": ["192.168.7.53"]}, "192.168.7.53"),
        ({"allow": "192.168.7.0/24"}, "192.168.7.0/24"),
    ],
)
def test_what_is_written_out(values: dict[str, object], found: str) -> None:
    told = findings("", values)
    assert [finding.found for finding in told] == ([found] if found else [])
    assert all((f.code, f.severity) == ("hard-coded-host", "warning") for f in told)


@pytest.mark.parametrize(
    "values",
    [
        {"host": "chat.site.internal"},
        {"host": "synapse.matrix.svc"},
        {"host": "synapse.matrix.svc.cluster.local"},
        {"listen": "0.0.0.0"},
        {"listen": "127.0.0.1:8080"},
        {"allow": "10.0.0.0/8"},
        {"version": "1.2.3.4-alpine"},
        {"host": "synapse"},
        {"url": "http://synapse.matrix:8008"},
        {"configFile": "homeserver.yaml"},
        {"image": "quay.io/a/b:1.2.3.4"},
        {"mask": "255.255.255.0"},
    ],
)
def test_what_is_no_host_of_a_site(values: dict[str, object]) -> None:
    assert findings("", values) == []


def test_what_a_sites_own_render_has_is_the_sites() -> None:
    values = {"host": "chat.corp.lan", "address": "10.20.30.40"}
    site = replace(ORIGIN, variant="site home")
    assert run_rules([], [rendering(values, origin=site)], domains=["corp.lan"]) == []
    # In the render without a site the template would stand for a placeholder: this was written out.
    found = run_rules([], [rendering(values), rendering(values, origin=site)], domains=["corp.lan"])
    assert codes(found) == ["hard-coded-host", "hard-coded-host"]


def test_plain_manifests_can_hold_the_template_as_well() -> None:
    own, site = (
        Origin("manifests/ingress.yaml", namespace="apps"),
        Origin("manifests/ingress.yaml", variant="site home"),
    )
    text = INGRESS.replace("HOST", "chat.corp.lan")
    (finding,) = run_rules([*objects(text, origin=own), *objects(text, origin=site)], [])
    assert (finding.code, finding.found) == ("hard-coded-host", "chat.corp.lan")
    assert finding.where == "manifests/ingress.yaml: Ingress apps/a: spec.rules[0].host"
    assert run_rules(objects(text, origin=site), []) == []
    assert run_rules(objects(INGRESS.replace("HOST", "chat.site.internal"), origin=own), []) == []


def test_a_host_of_the_internet_is_told_once() -> None:
    text = pod("containers: [{name: a, image: x, args: ['--url=https://api.some-service.com']}]")
    assert codes(findings(text, {"url": "https://api.some-service.com"})) == ["internet-url"]


def test_no_part_of_a_password_is_told() -> None:
    for password in ("Gw8zkVn", "Gw8!zkVn", "Gw8*zkVn"):
        url = f"postgres://app:{password}@db.example.com/app"
        found = findings(pod(f"containers: [{{name: a, image: x, args: ['{url}']}}]"), {"url": url})
        assert [finding.found for finding in found] == ["db.example.com"]


def test_a_mail_address_is_an_example_too() -> None:
    (finding,) = findings(pod("containers: [{name: a, image: x, env: [{name: MAIL, value: admin@example.com}]}]"))
    assert finding.found == "admin@example.com"
