"""deploy.objects: what names an object, and in what order objects come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.objects import ObjectKey, apply_order, holds_data, key_of, parse_key
from airbundle.errors import DocumentError

_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_KEYS = st.builds(
    ObjectKey,
    st.sampled_from(["v1", "apps/v1", "cert-manager.io/v1", "monitoring.coreos.com/v1alpha1"]),
    st.from_regex(r"[A-Z][A-Za-z]{0,20}", fullmatch=True),
    st.one_of(st.just(""), _LABEL),
    st.one_of(_LABEL, st.just("system:controller:x"), st.just("a.b.c")),
)


@given(_KEYS)
def test_a_key_is_read_back_from_its_text(key: ObjectKey) -> None:
    assert parse_key(str(key)) == key


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        key = parse_key(text)
    except DocumentError:
        return
    assert str(key) == text


def test_an_object_names_itself_or_gets_the_namespace_it_goes_into() -> None:
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    assert key_of(body, "shop") == ObjectKey("apps/v1", "Deployment", "shop", "web")
    body["metadata"] = {"name": "web", "namespace": "own"}
    assert key_of(body, "shop").title == "Deployment own/web"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "Pod", "metadata": []},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "../secrets"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": ".."}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "a/b"}},
        {"apiVersion": "v1/../..", "kind": "Pod", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "pods?x", "metadata": {"name": "a"}},
        {"apiVersion": 1, "kind": "Pod", "metadata": {"name": "a"}},
    ],
)
def test_what_could_lead_to_another_place_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        key_of(body)


def test_what_others_refer_to_comes_before_them_and_webhooks_last() -> None:
    kinds = [
        "ValidatingWebhookConfiguration",
        "Deployment",
        "Secret",
        "Widget",
        "CustomResourceDefinition",
        "Namespace",
    ]
    assert sorted(kinds, key=apply_order) == [
        "Namespace",
        "CustomResourceDefinition",
        "Secret",
        "Deployment",
        "Widget",
        "ValidatingWebhookConfiguration",
    ]


def test_claims_hold_data_and_services_do_not() -> None:
    assert holds_data(ObjectKey("v1", "PersistentVolumeClaim", "a", "b"))
    assert not holds_data(ObjectKey("v1", "Service", "a", "b"))
