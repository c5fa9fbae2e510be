"""Placeholders that nobody filled in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.scan.rules.placeholders import placeholder_in
from tests.scan.rules.scenery import codes, findings, pod


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("CHANGE_TO_DB_HOST", "CHANGE_TO_DB_HOST"),
        ("https://CHANGE_TO_DOMAIN/x", "CHANGE_TO_DOMAIN"),
        ("CHANGE_ME", "CHANGE_ME"),
        ("CHANGEME", "CHANGEME"),
        ("changeme", "changeme"),
        ("change-me", "change-me"),
        ("ChangeMe!", "ChangeMe"),
        ("<YOUR_DOMAIN>", "<YOUR_DOMAIN>"),
        ("host=<your-host>", "<your-host>"),
        ("<DOMAIN>", "<DOMAIN>"),
        ("REPLACE_ME", "REPLACE_ME"),
        ("REPLACE_WITH_TOKEN", "REPLACE_WITH_TOKEN"),
        ("replaceme", "replaceme"),
        ("YOUR_API_KEY_HERE", "YOUR_API_KEY_HERE"),
        ("insert-token-here", "insert-token-here"),
        ("TODO", "TODO"),
        ("TODO: ask the network team", "TODO: ask the network team"),
        ("FIXME", "FIXME"),
        ("xxx", ""),
        ("XXX", "XXX"),
        ("your-domain", "your-domain"),
        ("YOUR_PASSWORD", "YOUR_PASSWORD"),
        ("PLACEHOLDER", "PLACEHOLDER"),
        ("setme:setme", "setme:setme"),
    ],
)
def test_placeholders(text: str, token: str) -> None:
    assert placeholder_in(text) == token


@pytest.mark.parametrize(
    "text",
    ["exchange", "change", "CHANGELOG", "changed", "interchange_mode", "todo-app", "TODO_LIST_PATH=/x", "your",
     "<none>", "replace", "labels.replace_me_not_x", "password: ${PASSWORD}", "Todos", "<a href=x>",
     "placeholder_text: Search",
     "CHANGE_TOPIC", "changes", "/change-member", "CHANGE_ITEMS"],
)  # fmt: skip
def test_ordinary_words(text: str) -> None:
    assert placeholder_in(text) == ""


def test_one_in_given_values_is_told_once_with_its_file_and_key() -> None:
    rendered = pod("containers: [{name: a, image: x, env: [{name: DB_HOST, value: CHANGE_TO_HOST}]}]")
    (finding,) = findings(rendered, {"db": {"host": "CHANGE_TO_HOST"}})
    assert (finding.code, finding.severity, finding.where) == ("placeholder", "error", "values/app.yaml: db.host")
    assert finding.found == "CHANGE_TO_HOST"


def test_one_of_the_chart_is_told_with_the_object() -> None:
    (finding,) = findings(pod("containers: [{name: a, image: x, args: [--host=CHANGE_ME]}]"))
    assert finding.where == "chart app 1.0.0: Deployment apps/app: spec.template.spec.containers[0].args[0]"


def test_comments_in_configuration_do_not_count() -> None:
    config = """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: a}
        data:
          app.conf: |
            # set CHANGE_ME to your host
            host = db  # TODO
            ; REPLACE_ME
            // changeme
    """
    assert findings(config) == []
    (finding,) = findings(config.replace("host = db", "host = CHANGE_ME"))
    assert finding.where == "chart app 1.0.0: ConfigMap apps/a: data.app.conf → line 2"


def test_a_password_is_left_to_the_other_rule() -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: changeme, host: changeme}\n"
    assert codes(findings(secret)) == ["placeholder", "weak-password"]


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    token = placeholder_in(text)
    assert token in text
