"""Paths to fields of objects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import UsageError
from airbundle.scan.fieldpath import check_path, values_at

BODY: dict[str, Any] = {
    "spec": {
        "image": "a:1",
        "container": {"name": "app", "image": "a:1"},
        "solvers": [{"http01": {}}, {"dns01": {}}, "no mapping"],
        "containers": [{"name": "app", "image": "b:1"}, {"name": "pgbouncer", "image": "c:1"}],
        "plugins": [{"name": "barman.example.org"}],
    }
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("spec.image", ["a:1"]),
        ("spec.solvers[].http01", [{}]),
        ("spec.containers[].image", ["b:1", "c:1"]),
        ("spec.containers[name=pgbouncer].image", ["c:1"]),
        ("spec.plugins[name=barman.example.org].name", ["barman.example.org"]),
        ("spec.containers[name=none].image", []),
        ("spec.image.deeper", []),
        ("spec.image[]", []),
        ("spec.container[name=app].image", ["a:1"]),
        ("spec.container[name=other].image", []),
        ("status", []),
    ],
)
def test_values_at(path: str, found: list[Any]) -> None:
    assert values_at(BODY, path) == found


@pytest.mark.parametrize("path", ["", ".", "spec.", "spec..image", "spec[", "spec[0.x", "a b"])
def test_what_can_not_be_followed_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="can't be followed"):
        check_path(path)


@given(
    st.text(max_size=30),
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
)
def test_any_text_is_followed_or_refused(path: str, body: Any) -> None:
    try:
        values_at(body, path)
    except UsageError:
        pass
