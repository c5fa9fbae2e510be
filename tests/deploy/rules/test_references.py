"""deploy.rules.references: what objects name, and whether it is there or made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airbundle.bundle.site import SiteSecret
from airbundle.deploy.rules import references
from tests.deploy.rules.world import SITE, Body, codes, good, named, release, want, workload

FROM_SECRET = "env: [{name: P, valueFrom: {secretKeyRef: {name: db, key: password}}}]"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: x}\n---\n"
INGRESS = (
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, annotations: {%s}}\n"
    "spec: {%s tls: [{secretName: web-tls}]}\n---\n"
)
CERTIFIED = INGRESS % ("cert-manager.io/cluster-issuer: %s", "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (workload(container=FROM_SECRET), ["missing-secret"]),
        (workload(container=FROM_SECRET) + SECRET, []),
        (workload(container=FROM_SECRET.replace("key: password", "key: password, optional: true")), []),
        (workload(container=FROM_SECRET.replace("password", "token")) + SECRET, ["missing-key"]),
        (workload(spec="imagePullSecrets: [{name: pull}]"), ["missing-secret"]),
        (workload(spec="volumes: [{name: v, configMap: {name: conf}}]"), ["missing-configmap"]),
        (workload(spec="volumes: [{name: v, configMap: {name: kube-root-ca.crt}}]"), []),
        (workload(spec="volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]"), ["missing-claim"]),
        (workload(spec="serviceAccountName: robot"), ["missing-service-account"]),
        (workload(spec="serviceAccountName: default"), []),
        (INGRESS % ("", ""), ["missing-secret"]),
        (CERTIFIED % "airbundle-ca", []),
    ],
)
def test_what_nobody_makes(text: str, found: list[str]) -> None:
    assert codes(references.objects, good(), want(text)) == found


def test_what_the_site_makes_and_what_is_in_the_cluster() -> None:
    wanted = want(workload(container=FROM_SECRET))
    secret = SiteSecret("db", "shop", {"password": "random"})
    assert codes(references.objects, good(), replace(wanted, site=replace(SITE, secrets=(secret,)))) == []
    there = ("Secret", "shop", "db")
    assert references.named(wanted) == [there]
    assert codes(references.objects, good(keys={there: frozenset({"password"})}), wanted) == []
    assert codes(references.objects, good(keys={there: frozenset({references.ANY_KEY})}), wanted) == []
    (finding,) = references.objects(good(keys={there: frozenset({"user"})}), wanted)
    assert (finding.code, finding.found) == ("missing-key", "user")
    assert codes(references.objects, good(), want(workload(container=FROM_SECRET), made=frozenset({there}))) == []


def test_one_of_another_namespace_is_named() -> None:
    other = release(SECRET, "db", "base")
    (finding,) = references.objects(good(), want(other, release(workload(container=FROM_SECRET))))
    assert "base" in finding.hint


def test_what_an_operator_may_make_is_a_warning() -> None:
    custom = "apiVersion: db.corp.dev/v1\nkind: Cluster\nmetadata: {name: db}\n---\n"
    (finding,) = references.objects(good(), want(workload(container=FROM_SECRET) + custom))
    assert finding.severity == "warning" and "operator of Cluster shop/db" in finding.hint
    (finding,) = references.objects(good(), want(workload(container=FROM_SECRET)))
    assert finding.severity == "error"


def test_issuers_that_nobody_makes() -> None:
    wanted = want(CERTIFIED % "letsencrypt")
    assert references.asked(wanted) == [("ClusterIssuer", "", "letsencrypt")]
    assert codes(references.issuers, good(), wanted) == ["missing-issuer"]
    assert codes(references.issuers, good(keys={("ClusterIssuer", "", "letsencrypt"): frozenset()}), wanted) == []
    ours = frozenset({("ClusterIssuer", "", "letsencrypt")})
    assert codes(references.issuers, good(), replace(wanted, made=ours)) == []


def test_services_of_ingresses() -> None:
    rule = "rules: [{host: a.b, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}],"
    wanted = want(INGRESS % ("", rule))
    assert codes(references.services, good(), wanted) == ["missing-service"]
    assert codes(references.services, good({"Service": [named("web", "shop")]}), wanted) == []


@pytest.mark.parametrize(
    ("kind", "there", "text", "found"),
    [
        ("PriorityClass", [], workload(spec="priorityClassName: high"), ["priority-class"]),
        ("PriorityClass", [named("high")], workload(spec="priorityClassName: high"), []),
        ("PriorityClass", [], workload(spec="priorityClassName: system-node-critical"), []),
        ("RuntimeClass", [], workload(spec="runtimeClassName: gvisor"), ["runtime-class"]),
        ("IngressClass", [], INGRESS % ("", "ingressClassName: nginx,"), ["ingress-class"]),
        ("IngressClass", [named("nginx")], INGRESS % ("", "ingressClassName: nginx,"), []),
        ("IngressClass", [named("nginx")], INGRESS % ("", ""), ["ingress-class"]),
        (
            "IngressClass",
            [named("n", metadata={"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}})],
            INGRESS % ("", ""),
            [],
        ),
        ("IngressClass", [], INGRESS % ("kubernetes.io/ingress.class: nginx", ""), []),
    ],
)
def test_classes(kind: str, there: list[Body], text: str, found: list[str]) -> None:
    assert codes(references.classes, good({kind: there}), want(text)) == found


def test_namespaces() -> None:
    elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: monitoring}\n---\n"
    made = "apiVersion: v1\nkind: Namespace\nmetadata: {name: monitoring}\n---\n"
    assert codes(references.namespaces, good(), want(elsewhere)) == ["namespace-missing"]
    assert codes(references.namespaces, good(), want(elsewhere + made)) == []
    assert codes(references.namespaces, good(), want(release(workload(), namespace="new"))) == []
    going = named("shop", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}, status={"phase": "Terminating"})
    assert codes(references.namespaces, good({"Namespace": [going]}), want(workload())) == ["namespace-terminating"]
