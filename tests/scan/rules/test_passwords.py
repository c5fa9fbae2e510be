"""Passwords that everybody knows; none is ever told."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from airbundle.scan.rules import run_rules
from airbundle.scan.rules.passwords import is_weak
from tests.scan.rules.scenery import codes, findings, objects, pod, rendering


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "adminPassword", "admin-password", "POSTGRES_PASSWORD", "db.auth.password",
     "users[0].password", "passphrase", "rootPass", "pwd", "api_key", "apiKey", "clientSecret", "secret_key",
     "registration_shared_secret"],
)  # fmt: skip
def test_names_of_passwords(name: str) -> None:
    assert is_weak(name, "admin123")
    assert is_weak(name, "admin123", in_field=True)
    assert not is_weak(name, "Gw8-zkVn2q_1")
    assert not is_weak(name, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "admin"), ("adminUser", "admin"), ("database", "postgres"), ("existingSecret", "secret"),
        ("existingSecretPasswordKey", "password"), ("passwordKey", "password"), ("passwordSecretName", "postgres"),
        ("password_file", "password"), ("secretName", "minio"), ("tokenPath", "test"), ("secretKey", "password"),
        ("password.enabled", "test"), ("passwordSecretRef", "postgres"),
    ],
)  # fmt: skip
def test_no_passwords(name: str, value: str) -> None:
    assert not is_weak(name, value)


def test_a_secret_in_values_is_the_name_of_one() -> None:
    assert not is_weak("auth.secret", "postgres", in_field=True)
    assert is_weak("SECRET", "postgres")


SECRETS: list[dict[str, Any]] = [
    {"stringData": {"admin-password": "prom-operator"}},
    {"data": {"admin-password": base64.b64encode(b"prom-operator").decode()}},
    {"stringData": {"config.env": 'export MINIO_ROOT_USER="minio"\nexport MINIO_ROOT_PASSWORD="minio123"\n'}},
    {"stringData": {"homeserver.yaml": "database:\n  args:\n    password: postgres\n"}},
    {"stringData": {"uri": "postgresql://synapse:synapse@db:5432/synapse"}},
    {"stringData": {"username": "app-with-a-name", "password": "app-with-a-name"}},
]


@pytest.mark.parametrize("body", SECRETS)
def test_secrets(body: dict[str, Any]) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, **body}
    (finding,) = findings(yaml.safe_dump(manifest))
    assert (finding.code, finding.severity) == ("weak-password", "error")
    for word in ("prom-operator", "minio123", "postgres", "app-with"):
        assert word not in str(finding) + repr(finding)


def test_environment_and_configuration() -> None:
    (finding,) = findings(pod("containers: [{name: a, image: x, env: [{name: DB_PASSWORD, value: postgres}]}]"))
    assert finding.where.endswith("spec.template.spec.containers[0].env[0]")
    ini = "[db]\nuser = root\npassword = 'root'\n"
    config = yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"app.ini": ini}}
    )
    (finding,) = findings(config)
    assert finding.where.endswith("data.app.ini → line 3")


def test_one_in_given_values_is_told_once_with_its_file_and_key() -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {admin-password: admin}\n"
    (finding,) = findings(secret, {"grafana": {"adminUser": "admin", "adminPassword": "admin"}})
    assert finding.where == "values/app.yaml: grafana.adminPassword"


def test_what_the_chart_has_names_the_value_to_set() -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {admin-password: prom-operator}\n"
    values = {"grafana": {"adminPassword": "prom-operator"}}
    (finding,) = run_rules(objects(secret), [rendering(defaults=values)])
    assert "the value grafana.adminPassword sets it" in finding.hint


def test_good_ones_and_certificates_are_left_alone() -> None:
    secret = """
        apiVersion: v1
        kind: Secret
        metadata: {name: a}
        stringData: {password: Gw8-zkVn2q_1, tls.key: "-----BEGIN PRIVATE KEY-----\\npassword: admin\\n", user: admin}
    """
    assert codes(findings(secret)) == []


def test_another_value_that_is_the_same_word_is_not_blamed() -> None:
    config = "user: postgres\npassword: postgres\n"
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"app.yaml": config}}
    (finding,) = findings(yaml.safe_dump(body), {"db": {"user": "postgres"}})
    assert finding.where == "chart app 1.0.0: Secret apps/a: data.app.yaml → line 2"
