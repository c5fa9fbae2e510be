"""What the script for nodes says, read; it may be anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.node_answers import NodePlan, advice, reached, read_plan, written, wrongs
from airbundle.errors import SiteError

URL = "https://registry.site:5443"
PLAN = "plan create /etc/a\nplan keep /etc/b\nplan refuse /etc/c\nplan hosts /etc/hosts\nplan restart k3s\nplan end\n"


def test_a_plan() -> None:
    plan = read_plan("n", PLAN)
    assert plan == NodePlan((("create", "/etc/a"), ("refuse", "/etc/c"), ("hosts", "/etc/hosts")), "k3s")
    assert plan.refused == ("/etc/c",)
    with pytest.raises(SiteError, match="no end"):
        read_plan("n", PLAN.replace("plan end\n", ""))


def test_what_was_written_and_what_is_wrong() -> None:
    text = "written  /etc/a\nas it is /etc/b\nWRONG    /etc/c\x1b[31m\nREFUSED  /etc/d has settings\n"
    text += "then:    restart k3s\n"
    assert written(text) == ["written  /etc/a"]
    assert [(each.where, each.message) for each in wrongs("n", text)] == [
        ("n", "/etc/c?[31m"),
        ("n", "/etc/d has settings"),
    ]
    assert advice(text) == ["restart k3s"]


@pytest.mark.parametrize(
    ("said", "runs", "codes"),
    [
        ("reach curl 0 200", True, []),
        ("reach curl 0 401", True, []),
        ("reach curl 0 502", True, ["node-reach"]),
        ("reach curl 7 000 connection refused; curl: (7) Failed", False, []),
        ("reach curl 7 000 connection refused; curl: (7) Failed", True, ["node-reach"]),
        ("reach curl 7 000 curl: (7) No route to host", False, ["node-reach"]),
        ("reach curl 28 000 curl: (28) Connection timed out", False, ["node-reach"]),
        ("reach curl 60 000 curl: (60) self-signed", True, ["node-trust"]),
        ("reach curl 60 000 curl: (60) self-signed", False, []),
        ("reach config /etc/containerd/config.toml\nreach curl 0 200", True, ["node-containerd"]),
        ("", True, ["node-reach"]),
    ],
)
def test_what_is_reached(said: str, runs: bool, codes: list[str]) -> None:
    assert [each.code for each in reached("n", f"{said}\nreach end\n", URL, runs=runs)] == codes


def test_no_curl_is_a_warning() -> None:
    found = list(reached("n", "reach unseen\nreach end\n", URL, runs=True))
    assert [each.severity for each in found] == ["warning"]


@given(
    st.text()
    | st.lists(st.sampled_from(["plan create /a", "plan end", "reach end", "WRONG  \x00", "é"])).map("\n".join)
)
def test_anything(text: str) -> None:
    list(reached("n", text, URL, runs=True))
    found = [*written(text), *advice(text), *(each.message for each in wrongs("n", text))]
    assert all(line.isascii() and line.isprintable() for line in found)
    try:
        read_plan("n", text)
    except SiteError:
        assert "plan end" not in text.splitlines()
