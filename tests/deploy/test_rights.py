"""An operator gets what his duties need, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.rights import Duties, operator_rights, subject_of
from tests.deploy.test_handover import CLUSTER_ROLE, MAP, SYSTEM, thing

RBAC = "rbac.authorization.k8s.io"
USER = subject_of("ann")
DEPLOYMENT = thing("Deployment", "web", "shop", "apps/v1")
SECRET = thing("Secret", "key", "base")
BASE = thing("StatefulSet", "db", "base", "apps/v1")


def plural(_api_version: str, kind: str) -> str:
    return "" if kind == "Odd" else f"{kind.lower()}s"


def rights(duties: Duties) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return (namespace, group/resource) → what may be done: verbs, and names where it is bound to some."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    bodies = operator_rights("airbundle-berlin", USER, duties, plural)
    for role in (body for body in bodies if "rules" in body):
        for rule in role["rules"]:
            for resource in rule["resources"]:
                where = role["metadata"].get("namespace", ""), f"{rule['apiGroups'][0]}/{resource}"
                found.setdefault(where, []).append({k: v for k, v in rule.items() if k in ("verbs", "resourceNames")})
    return found


def may(duties: Duties, namespace: str, resource: str, verb: str) -> bool | list[str]:
    """Tell whether something may be done; names where only with some objects."""
    rules = [each for each in rights(duties).get((namespace, resource), []) if verb in each["verbs"]]
    if any("resourceNames" not in each for each in rules):
        return True
    return sorted({name for each in rules for name in each["resourceNames"]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ann", {"apiGroup": RBAC, "kind": "User", "name": "ann"}),
        ("system:serviceaccount:ops:ann", {"kind": "ServiceAccount", "namespace": "ops", "name": "ann"}),
    ],
)
def test_who_gets_them(name: str, expected: dict[str, str]) -> None:
    assert subject_of(name) == expected


@pytest.mark.parametrize(
    ("namespace", "resource", "verb", "expected"),
    [
        ("shop", "apps/deployments", "patch", True),
        ("shop", "/configmaps", "delete", True),
        ("shop", "/secrets", "create", True),
        ("shop", "/pods/exec", "create", True),
        ("shop", "/namespaces", "get", ["shop"]),
        ("shop", "/namespaces", "delete", []),
        ("shop", "/resourcequotas", "list", True),
        ("shop", "/resourcequotas", "patch", []),
        ("shop", "autoscaling/horizontalpodautoscalers", "list", True),
        ("base", "/resourcequotas", "list", []),
        ("base", "apps/statefulsets", "get", ["db"]),
        ("base", "apps/statefulsets", "patch", []),
        ("base", "/pods", "list", True),
        ("base", "/pods", "create", []),
        ("base", "/secrets", "get", []),
        ("kube-system", "/namespaces", "get", ["kube-system"]),
        ("kube-system", f"{RBAC}/roles", "get", ["leader"]),
        ("kube-system", "/pods", "list", []),
        ("", f"{RBAC}/clusterroles", "get", ["x"]),
        ("", f"{RBAC}/clusterroles", "list", []),
        ("extra", "/secrets", "create", True),
    ],
)
def test_least_rights(namespace: str, resource: str, verb: str, expected: bool | list[str]) -> None:
    odd = thing("Odd", "o", "base", "x.y/v1")
    duties = Duties([DEPLOYMENT, MAP], [CLUSTER_ROLE, SYSTEM, SECRET, BASE, odd], frozenset({"extra"}))
    assert may(duties, namespace, resource, verb) == expected


def test_checks_of_handed_over_releases_may_run() -> None:
    assert may(Duties([], [BASE], checked=frozenset({"base"})), "base", "/pods/exec", "create") is True
    assert may(Duties([], [BASE]), "base", "/pods/exec", "create") == []


def test_who_makes_a_role_needs_what_it_gives() -> None:
    role = thing(
        "Role", "r", "shop", f"{RBAC}/v1", rules=[{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    )
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    binding = thing("RoleBinding", "b", "shop", f"{RBAC}/v1", roleRef=reference)
    duties = Duties([role, binding])
    assert may(duties, "shop", "/nodes", "get") is True
    assert may(duties, "shop", f"{RBAC}/clusterroles", "bind") == ["view"]


def test_equal_input_gives_equal_objects() -> None:
    one: list[Desired] = [DEPLOYMENT, MAP]
    bodies = operator_rights("n", USER, Duties(one, [BASE, SECRET]), plural)
    assert bodies == operator_rights("n", USER, Duties(one[::-1], [SECRET, BASE]), plural)
    assert [body["kind"] for body in bodies] == ["Role", "RoleBinding"] * 3
    assert all(body["subjects"] == [USER] for body in bodies if "subjects" in body)
