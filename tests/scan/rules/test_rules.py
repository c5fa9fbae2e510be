"""The rules together: variants, tests, order, and objects of any form."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airbundle.scan.model import Manifest, Origin
from airbundle.scan.rules import run_rules
from tests.scan.rules.scenery import ORIGIN, codes, findings, objects, pod, rendering

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: admin}\n"


def test_the_same_in_a_variant_is_told_once() -> None:
    large = Origin(ORIGIN.source, ORIGIN.release, ORIGIN.namespace, "large")
    assert codes(run_rules([*objects(SECRET), *objects(SECRET, origin=large)], [])) == ["weak-password"]


def test_the_same_place_in_another_variant_is_no_further_place() -> None:
    large = Origin(ORIGIN.source, ORIGIN.release, ORIGIN.namespace, "large")
    other = SECRET.replace("stringData: {", "stringData: {x: y, ")
    (finding,) = run_rules([*objects(SECRET), *objects(other, origin=large)], [])
    assert "also at" not in finding.message
    (finding,) = run_rules([*objects(SECRET), *objects(other.replace("name: a", "name: b"), origin=large)], [])
    assert finding.message.endswith("also at chart app 1.0.0 [large]: Secret apps/b: data.password")


def test_what_a_variant_makes_is_made() -> None:
    large = Origin(ORIGIN.source, ORIGIN.release, ORIGIN.namespace, "large")
    needs = pod("containers: [{name: a, image: x, envFrom: [{secretRef: {name: a}}]}]")
    made = SECRET.replace("admin", "Gw8-zkVn2q")
    assert run_rules([*objects(needs), *objects(made, origin=large)], []) == []


def test_errors_come_first() -> None:
    text = pod("containers: [{name: a, image: x, imagePullPolicy: Always}]") + "---\n" + SECRET
    assert [finding.severity for finding in findings(text)] == ["error", "warning"]


def test_one_fault_of_two_charts_is_two_findings() -> None:
    other = Origin("chart other 1", namespace="apps")
    assert len(run_rules([*objects(SECRET), *objects(SECRET, origin=other)], [])) == 2


def test_nothing_finds_nothing() -> None:
    assert run_rules([], []) == []
    assert run_rules([], [rendering({"a": {"b": ["c"]}})]) == []


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20))
KEYS = """
    spec template metadata labels annotations containers env valueFrom secretKeyRef name key volumes secret secretName
    ports port targetPort selector rules http paths backend service data stringData args tls listeners certificateRefs
    envFrom
"""
keys = st.one_of(st.sampled_from(KEYS.split()), st.text(max_size=5))
trees = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4))
)
kinds = st.sampled_from(
    ["Secret", "ConfigMap", "Service", "Ingress", "Deployment", "Cluster", "Role", "Job", "Pod", "Gateway"]
)
bodies = st.builds(
    lambda kind, version, rest: {"kind": kind, "apiVersion": version, **rest},
    kinds,
    st.sampled_from(["v1", "postgresql.cnpg.io/v1", "cert-manager.io/v1"]),
    st.dictionaries(
        st.sampled_from(["metadata", "spec", "data", "stringData", "rules", "webhooks"]), trees, max_size=4
    ),
)


@given(st.lists(bodies, max_size=4), st.dictionaries(keys, trees, max_size=4))
def test_objects_of_any_form_are_read(found: list[dict[str, Any]], values: dict[str, Any]) -> None:
    run_rules([Manifest(ORIGIN, body) for body in found], [rendering(values)])


def test_no_pattern_takes_forever() -> None:
    line = "server: http://web-17.apps.svc.cluster.local:8080/path?x=1 password_file: /x/y # nothing to see\n"
    traps = [
        "a" * 50_000,
        "a." * 30_000,
        "x_" * 30_000,
        "http://" * 10_000,
        "-" * 50_000,
        "<your " * 10_000,
        "=:" * 20_000,
    ]
    for text in (line * 5_000, *traps, *("\n".join([trap] * 3) for trap in traps)):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"app.yaml": text}}
        run_rules([Manifest(ORIGIN, config)], [rendering({"a": text})])
