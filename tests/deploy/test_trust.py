"""The objects of trust, and what is read out of a cluster's: anything may stand there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.objects import key_of
from airbundle.deploy.trust import (
    cluster_issuer,
    config_map,
    holds,
    issuer_key,
    issuer_namespace,
    issuer_secret,
    namespace_body,
    secret_bytes,
    trust_bundle,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def controller(namespace: str, *args: str, **labels: str) -> dict[str, Any]:
    named = {"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller", **labels}
    spec = {"template": {"spec": {"containers": [{"args": list(args)}]}}}
    return {"metadata": {"namespace": namespace, "labels": named}, "spec": spec}


def test_objects_name_themselves_and_who_made_them() -> None:
    bodies = [
        config_map("shop", b"PEM\n"),
        trust_bundle(b"PEM\n"),
        namespace_body("shop", {}),
        issuer_secret("airbundle-ca", "cert-manager", b"chain", b"key"),
        cluster_issuer("airbundle-ca"),
    ]
    assert [str(key_of(body)) for body in bodies] == [
        "v1/ConfigMap/shop/airbundle-ca",
        "trust.cert-manager.io/v1alpha1/Bundle//airbundle-ca",
        "v1/Namespace//shop",
        "v1/Secret/cert-manager/airbundle-ca",
        "cert-manager.io/v1/ClusterIssuer//airbundle-ca",
    ]
    assert key_of(bodies[-1]) == issuer_key("airbundle-ca")
    assert all(body["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "airbundle"} for body in bodies)
    assert all(holds(body, body) for body in bodies)


def test_a_namespace_of_a_chart_is_helms() -> None:
    body = namespace_body("x", {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"a": "b"}})
    assert body["metadata"] == {
        "name": "x",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"a": "b"},
    }


def test_secrets_give_back_what_was_put_in() -> None:
    secret = issuer_secret("n", "ns", b"chain\n", b"\x00key")
    assert (secret_bytes(secret, "tls.crt"), secret_bytes(secret, "tls.key")) == (b"chain\n", b"\x00key")
    assert secret_bytes(secret, "ca.crt") == secret_bytes(None, "x") == b""
    assert secret_bytes({"data": {"x": "not base64!"}}, "x") == secret_bytes({"data": []}, "x") == b""


@pytest.mark.parametrize(
    ("deployments", "expected"),
    [
        ([], ""),
        ([controller("cm")], "cm"),
        ([controller("cm", "--v=2", "--cluster-resource-namespace=secrets")], "secrets"),
        ([controller("cm", "--cluster-resource-namespace=$(POD_NAMESPACE)")], "cm"),
        ([controller("hooks", **{"app.kubernetes.io/component": "webhook"}), controller("cm")], "cm"),
        ([controller("other", **{"app.kubernetes.io/name": "redis"})], ""),
    ],
)
def test_where_cert_manager_looks(deployments: list[dict[str, Any]], expected: str) -> None:
    assert issuer_namespace(deployments) == expected


def test_what_others_added_changes_nothing() -> None:
    desired = config_map("shop", b"PEM")
    live = {**desired, "metadata": {**desired["metadata"], "uid": "1"}, "data": {"ca.crt": "PEM", "more": "x"}}
    assert holds(live, desired)
    assert not holds({**live, "data": {"more": "x"}}, desired)
    assert not holds({**live, "data": None}, desired)


@given(ANYTHING, st.dictionaries(st.sampled_from(["metadata", "spec", "status", "data", "kind"]), ANYTHING))
def test_whatever_a_cluster_says_is_read(value: Any, body: dict[str, Any]) -> None:
    secret_bytes(body, "tls.crt")
    labels = {"app.kubernetes.io/name": "cert-manager"}
    pod = {"containers": [{"args": value}, value]}
    issuer_namespace([body, {"metadata": {"labels": labels, "namespace": value}, "spec": {"template": {"spec": pod}}}])
    assert holds(value, value)
