"""Secrets, ConfigMaps, ServiceAccounts and claims that nobody makes."""

from __future__ import annotations

import re

import pytest

from airbundle.scan.model import Origin
from airbundle.scan.rules import run_rules
from tests.scan.rules.scenery import codes, findings, objects, pod, thing

POD = pod("containers: [{name: a, image: x, envFrom: [{secretRef: {name: creds}}]}]")

NEEDS = {
    "envFrom": "containers: [{name: a, image: x, envFrom: [{secretRef: {name: gone}}]}]",
    "env": "containers: [{name: a, image: x, env: [{name: P, valueFrom: {secretKeyRef: {name: gone, key: p}}}]}]",
    "init": "initContainers: [{name: a, image: x, envFrom: [{secretRef: {name: gone}}]}]\ncontainers: []",
    "volume": "volumes: [{name: v, secret: {secretName: gone}}]\ncontainers: []",
    "projected": "volumes: [{name: v, projected: {sources: [{secret: {name: gone}}]}}]\ncontainers: []",
}


@pytest.mark.parametrize("spec", NEEDS.values(), ids=NEEDS.keys())
def test_secrets_of_pods(spec: str) -> None:
    (finding,) = findings(pod(spec))
    assert (finding.code, finding.severity) == ("missing-secret", "error")
    assert "apps/gone" in finding.message
    assert finding.where.startswith("chart app 1.0.0: Deployment apps/app: spec.template.spec.")
    assert findings(pod(re.sub(r"(name|secretName): gone", r"\1: gone, optional: true", spec))) == []
    assert findings(pod(spec), known=[("apps", "gone")]) == []
    assert codes(findings(pod(spec), known=[("other", "gone")])) == ["missing-secret"]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("containers: [{name: a, image: x, envFrom: [{configMapRef: {name: gone}}]}]", "missing-configmap"),
        ("containers: [{name: a, image: x, env: [{name: P, valueFrom: {configMapKeyRef: {name: gone, key: p}}}]}]",
         "missing-configmap"),
        ("volumes: [{name: v, configMap: {name: gone}}]\ncontainers: []", "missing-configmap"),
        ("volumes: [{name: v, projected: {sources: [{configMap: {name: gone}}]}}]\ncontainers: []",
         "missing-configmap"),
        ("serviceAccountName: gone\ncontainers: []", "missing-service-account"),
        ("volumes: [{name: v, persistentVolumeClaim: {claimName: gone}}]\ncontainers: []", "missing-claim"),
    ],
)  # fmt: skip
def test_other_objects_of_pods(spec: str, code: str) -> None:
    (finding,) = findings(pod(spec))
    assert (finding.code, finding.severity) == (code, "error")


def test_a_pull_secret_is_not_vital() -> None:
    (finding,) = findings(pod("imagePullSecrets: [{name: gone}]\ncontainers: []"))
    assert (finding.code, finding.severity) == ("missing-secret", "warning")


def test_what_every_cluster_has() -> None:
    spec = "serviceAccountName: default\nvolumes: [{name: v, configMap: {name: kube-root-ca.crt}}]\ncontainers: []"
    assert findings(pod(spec)) == []


def secret(name: str = "creds", namespace: str = "apps", data: str = "{password: eA==}") -> str:
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {data}\n"


def test_a_secret_of_another_release_counts_and_one_of_another_namespace_does_not() -> None:
    other = Origin("manifests/base", namespace="apps")
    assert run_rules([*objects(POD), *objects(secret(), origin=other)], []) == []
    (finding,) = run_rules([*objects(POD), *objects(secret(namespace="db"), origin=other)], [])
    assert "there is one in db" in finding.hint


def test_a_key_that_the_secret_lacks() -> None:
    needs = pod(
        "containers: [{name: a, image: x, env: [{name: P, valueFrom: {secretKeyRef: {name: creds, key: pw}}}]}]"
    )
    (finding,) = findings(needs + secret())
    assert (finding.code, finding.severity) == ("missing-key", "error")
    assert findings(needs + secret(data="{pw: eA==}")) == []
    assert findings(needs + secret(data="{}")) == []  # somebody fills it later
    assert findings(needs.replace("key: pw", "key: pw, optional: true") + secret()) == []


RUN = "spec: {template: {spec: {containers: [{name: a, image: x, %s}]}}}"


def test_a_key_that_a_volume_asks_for() -> None:
    needs = pod("volumes: [{name: v, secret: {secretName: creds, items: [{key: pw, path: x}]}}]\ncontainers: []")
    assert codes(findings(needs + secret())) == ["missing-key"]
    assert findings(needs + secret(data="{pw: eA==}")) == []
    assert codes(findings(needs)) == ["missing-secret"]


MADE = {
    "certificate": thing("cert-manager.io/v1", "Certificate", "spec: {secretName: creds}"),
    "external secret": thing("external-secrets.io/v1", "ExternalSecret", "spec: {}", name="creds"),
    "its target": thing("external-secrets.io/v1", "ExternalSecret", "spec: {target: {name: creds}}"),
    "sealed": thing("bitnami.com/v1alpha1", "SealedSecret", "spec: {}", name="creds"),
    "bundle": thing("trust.cert-manager.io/v1alpha1", "Bundle", "spec: {}", name="creds"),
    "acme": thing("cert-manager.io/v1", "Issuer", "spec: {acme: {privateKeySecretRef: {name: creds}}}"),
    "argument": thing("batch/v1", "Job", RUN % "args: [create, --secret-name=creds]"),
    "script": thing("batch/v1", "Job", RUN % "command: [sh, -c, 'kubectl create secret generic creds']"),
    "role": thing(
        "rbac.authorization.k8s.io/v1",
        "Role",
        "rules: [{resources: [secrets], resourceNames: [creds], verbs: [get, update]}]",
    ),
    "copied": "apiVersion: v1\nkind: Secret\nmetadata: {name: creds, namespace: x, annotations: "
    "{replicator.v1.mittwald.de/replicate-to: '*'}}",
}


@pytest.mark.parametrize("maker", MADE.values(), ids=MADE.keys())
def test_who_makes_secrets(maker: str) -> None:
    assert "missing-secret" not in codes(findings(f"{POD}---\n{maker}\n"))


POSTGRESQL = "postgresql.cnpg.io/v1"
OPERATORS = {
    "main-app": thing(POSTGRESQL, "Cluster", "spec: {}"),
    "main-ca": thing(POSTGRESQL, "Cluster", "spec: {}"),
    "main-superuser": thing(POSTGRESQL, "Cluster", "spec: {enableSuperuserAccess: true}"),
    "main-default-user": thing("rabbitmq.com/v1beta1", "RabbitmqCluster", "spec: {}"),
    "main-es-elastic-user": thing("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", "spec: {}"),
    "app.main.credentials.postgresql.acid.zalan.do": thing(
        "acid.zalan.do/v1", "postgresql", "spec: {users: {app: []}}"
    ),
    "main-pguser-app": thing(
        "postgres-operator.crunchydata.com/v1beta1", "PostgresCluster", "spec: {users: [{name: app}]}"
    ),
}


@pytest.mark.parametrize(("name", "maker"), OPERATORS.items())
def test_secrets_that_operators_make(name: str, maker: str) -> None:
    needs = pod(f"containers: [{{name: a, image: x, envFrom: [{{secretRef: {{name: {name}}}}}]}}]")
    assert findings(f"{needs}---\n{maker}\n") == []


def test_the_superuser_of_postgresql_must_be_asked_for() -> None:
    needs = pod("containers: [{name: a, image: x, envFrom: [{secretRef: {name: main-superuser}}]}]")
    cluster = "---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: main}\nspec: {}\n"
    assert codes(findings(needs + cluster)) == ["missing-secret"]


CUSTOM = {
    "ingress": thing("networking.k8s.io/v1", "Ingress", "spec: {tls: [{secretName: gone}]}"),
    "gateway": thing(
        "gateway.networking.k8s.io/v1", "Gateway", "spec: {listeners: [{tls: {certificateRefs: [{name: gone}]}}]}"
    ),
    "field": thing("x.io/v1", "Thing", "spec: {auth: {passwordSecretName: gone}}"),
    "reference": thing("x.io/v1", "Thing", "spec: {auth: {passwordSecretRef: {name: gone, key: x}}}"),
    "postgresql": thing(POSTGRESQL, "Cluster", "spec: {bootstrap: {initdb: {secret: {name: gone}}}}"),
    "prometheus": thing("monitoring.coreos.com/v1", "Prometheus", "spec: {secrets: [gone]}"),
    "flux": thing("helm.toolkit.fluxcd.io/v2", "HelmRelease", "spec: {valuesFrom: [{kind: Secret, name: gone}]}"),
    "account": thing("v1", "ServiceAccount", "imagePullSecrets: [{name: gone}]"),
}


@pytest.mark.parametrize("text", CUSTOM.values(), ids=CUSTOM.keys())
def test_what_custom_resources_need(text: str) -> None:
    assert codes(findings(text)) == ["missing-secret"]
    assert findings(text, known=[("apps", "gone")]) == []


def test_an_annotated_ingress_has_its_certificate_made() -> None:
    text = CUSTOM["ingress"].replace("{name: main}", "{name: main, annotations: {cert-manager.io/cluster-issuer: ca}}")
    assert codes(findings(text)) == ["missing-issuer"]


def test_objects_of_the_whole_cluster_name_secrets_of_any_namespace() -> None:
    issuer = (
        "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: ca}\nspec: {ca: {secretName: creds}}\n"
    )
    assert codes(findings(issuer)) == ["missing-secret"]
    assert findings(issuer + secret(namespace="cert-manager")) == []


def test_claims_of_a_stateful_set() -> None:
    text = """
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: db}
        spec: {volumeClaimTemplates: [{metadata: {name: data}}]}
        ---
        apiVersion: v1
        kind: Pod
        metadata: {name: backup}
        spec: {containers: [], volumes: [{name: v, persistentVolumeClaim: {claimName: data-db-0}}]}
    """
    assert findings(text) == []


def test_a_job_that_may_make_secrets_makes_it_a_warning() -> None:
    job = """
        apiVersion: batch/v1
        kind: Job
        metadata: {name: certgen}
        spec: {template: {spec: {containers: [{name: a, image: x, args: [certgen]}]}}}
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: Role
        metadata: {name: certgen}
        rules: [{resources: [secrets], verbs: [create]}]
    """
    (finding,) = run_rules([*objects(POD), *objects(job)], [])
    assert (finding.code, finding.severity) == ("missing-secret", "warning")


def test_tests_of_a_chart_need_nothing() -> None:
    assert run_rules(objects(POD, phase="test"), []) == []
