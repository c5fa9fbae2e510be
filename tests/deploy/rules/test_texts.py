"""deploy.rules.texts: what was not filled in, and passwords that everybody knows, which are never told."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from airbundle.deploy.rules import texts
from tests.deploy.rules.world import good, release, want, workload

HOST = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: [{host: %s}]}\n"


@pytest.mark.parametrize(
    ("given", "text", "found"),
    [
        ({"host": "chat.berlin.internal", "password": "k3Jx-99.aQ"}, workload(), []),
        ({"host": "CHANGE_TO_YOUR_HOST"}, workload(), [("placeholder", "error", "values/app.yaml: host")]),
        ({"db": {"password": "changeme"}}, workload(), [("weak-password", "error", "values/app.yaml: db.password")]),
        ({"host": "chat.example.com"}, workload(), [("example-host", "error", "values/app.yaml: host")]),
        ({}, HOST % "chat.example.com", [("example-host", "error", "release app: Ingress shop/i: spec.rules[0].host")]),
        ({}, HOST % "chat.berlin.internal", []),
        ({"host": "other.corp"}, HOST % "chat.corp", []),
    ],
)
def test_values_and_texts(given: dict[str, Any], text: str, found: list[tuple[str, str, str]]) -> None:
    told = texts.find(good(), want(release(text, given=given)))
    assert [(each.code, each.severity, each.where) for each in told] == found


def test_a_weak_password_of_a_rendered_secret_is_not_told() -> None:
    data = base64.b64encode(b"minioadmin").decode()
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{rootPassword: {data}}}\n"
    (finding,) = texts.find(good(), want(secret))
    assert finding.code == "weak-password"
    assert "minioadmin" not in repr(finding) and data not in repr(finding)
