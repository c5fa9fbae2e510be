"""deploy.difference: the same difference has the same digest, whatever else the object has."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.difference import difference_digest

LIVE: dict[str, Any] = {
    "kind": "Hook",
    "metadata": {"name": "a", "resourceVersion": "1"},
    "hooks": [{"policy": "Fail"}],
}


def digest(policy: object = "Fail", wanted: object = "Ignore", **more: Any) -> str:
    live, after = ({**LIVE, **more, "hooks": [{"policy": each}]} for each in (policy, wanted))
    return difference_digest(live, after)


def test_only_what_differs_counts() -> None:
    assert digest() == digest(status={"any": 1}) == digest(replicas=3)
    assert digest() == digest(metadata={"name": "a", "resourceVersion": "2"})


@pytest.mark.parametrize(("policy", "wanted"), [("None", "Ignore"), ("Fail", "None"), (None, "Ignore"), ([], "Ignore")])
def test_another_value_is_another_difference(policy: object, wanted: object) -> None:
    assert digest(policy, wanted) != digest()


def test_what_is_not_there_is_not_null_and_a_longer_list_is_another() -> None:
    found = {
        difference_digest({"a": None}, {"a": 1}),
        difference_digest({}, {"a": 1}),
        difference_digest({}, {"a": []}),
        difference_digest({"a": []}, {"a": [1]}),
        difference_digest({"a": [2]}, {"a": [1]}),
        difference_digest({"b": [2]}, {"b": [1]}),
    }
    assert len(found) == 6


def test_secrets_differ_by_their_values() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}}
    one, other = ({**secret, "data": {"p": value}} for value in ("YQ==", "Yg=="))
    applied = {**secret, "data": {"p": "Yw=="}}
    assert difference_digest(one, applied) != difference_digest(other, applied)
