"""Values of Secrets: made once, and never over one that is there."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.site import SiteSecret
from airbundle.deploy.secret_values import (
    LENGTH,
    Source,
    is_made,
    missing_keys,
    new_secret,
    parse_source,
    random_value,
    told_keys,
    with_values,
)

SECRET = SiteSecret("db", "shop", {"user": "env:DB_USER", "password": "random:20", "key": "file:a:b.pem"})
ANYTHING = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("random", Source("random")),
        ("random:20", Source("random", "20")),
        ("prompt", Source("prompt")),
        ("env:A_B", Source("env", "A_B")),
        ("file:/etc/a:b", Source("file", "/etc/a:b")),
    ],
)
def test_sources(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(("source", "length"), [(Source("random"), LENGTH), (Source("random", "1"), 1)])
def test_random_values_are_plain_words(source: Source, length: int) -> None:
    value = random_value(source).decode()
    assert len(value) == length
    assert value.isascii()
    assert value.isalnum()


def test_random_values_differ() -> None:
    assert len({random_value(Source("random")) for _ in range(20)}) == 20


def test_a_new_secret_says_who_made_it() -> None:
    body = new_secret(SECRET, {"password": b"\x00\xff"})
    assert body["data"] == {"password": base64.b64encode(b"\x00\xff").decode()}
    assert body["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "airbundle",
        "airbundle.dev/site-secret": "true",
    }
    assert is_made(body)
    assert not is_made({**body, "metadata": {}})


def test_a_plan_tells_names_alone() -> None:
    assert told_keys(SECRET, ["password", "key"]) == "+  password: <random>\n+  key: <file>\n"


@given(st.dictionaries(st.sampled_from(["data", "metadata", "type"]), ANYTHING) | st.none())
def test_whatever_the_cluster_has(live: dict[str, Any] | None) -> None:
    assert missing_keys(SECRET, live) == list(SECRET.keys)


@given(st.dictionaries(st.sampled_from([*SECRET.keys, "more"]), st.text(max_size=9)))
def test_what_is_there_stays(data: dict[str, str]) -> None:
    live = {"metadata": {"resourceVersion": "7"}, "data": data}
    missing = missing_keys(SECRET, live)
    found = with_values(live, dict.fromkeys(SECRET.keys, b"new"))
    assert found["metadata"] == live["metadata"]
    assert {key: found["data"][key] for key in data} == data
    assert set(missing) == set(SECRET.keys) - set(data)
    assert missing_keys(SECRET, found) == []
