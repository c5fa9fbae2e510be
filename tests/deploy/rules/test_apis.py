"""deploy.rules.apis: kinds that the cluster knows, APIs and webhooks of others."""

from __future__ import annotations

import pytest

from airbundle.deploy.rules import apis
from airbundle.deploy.rules.removed import REMOVED
from tests.deploy.rules.world import SERVED, Body, codes, good, named, release, want, workload

PDB = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: p}\n"
THING = "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\n---\n"
CRD = (
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.dev}\n"
    "spec: {group: x.dev, scope: Namespaced, names: {kind: Thing, plural: things}, "
    "versions: [{name: v1, served: true}]}\n"
    "---\n"
)


def test_kinds_that_are_served_or_come_in_time() -> None:
    assert codes(apis.kinds, good(), want(workload() + CRD + THING)) == []
    brings, uses = release(CRD, "crds"), release(THING, "app", needs=("base",))
    base = release("", "base", needs=("crds",))
    assert codes(apis.kinds, good(), want(brings, base, uses)) == []


def test_a_definition_that_need_not_be_there_before() -> None:
    (finding,) = apis.kinds(good(), want(release(CRD, "crds"), release(THING, "app")))
    assert (finding.code, finding.hint) == ("api-order", "write `needs: [crds]` into bundle.yaml")


def test_kinds_that_nobody_knows_and_those_that_were_removed() -> None:
    facts = good(api_versions=frozenset({*SERVED, "x.dev/v2"}))
    (unknown,) = apis.kinds(facts, want(THING))
    assert (unknown.code, unknown.found) == ("api-missing", "of this group: x.dev/v2")
    (removed,) = apis.kinds(facts, want(PDB))
    assert (removed.code, removed.expected) == ("api-removed", "policy/v1")
    policy = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: p}\n"
    (gone,) = apis.kinds(facts, want(policy))
    assert gone.expected.startswith("nothing")


def test_a_kind_that_a_newer_cluster_lacks() -> None:
    served = {**SERVED, "policy/v1beta1": {"PodDisruptionBudget": SERVED["v1"]["Pod"]}}
    assert codes(apis.kinds, good(served=served), want(PDB)) == ["api-deprecated"]


def test_the_table_of_removed_kinds() -> None:
    assert len(REMOVED) > 40
    assert all(gone.startswith("1.") and (not instead or "/v" in instead) for gone, instead in REMOVED.values())


def api_service(status: str, group: str = "metrics.k8s.io") -> Body:
    conditions = [{"type": "Available", "status": status, "message": "no endpoints"}]
    spec = {"group": group, "version": "v1", "service": {"name": "m", "namespace": "n"}}
    return named(f"v1.{group}", spec=spec, status={"conditions": conditions})


@pytest.mark.parametrize(
    ("there", "text", "found"),
    [
        ([api_service("True")], THING, []),
        ([api_service("False")], THING, [("api-service-down", "warning")]),
        ([api_service("False", "x.dev")], THING, [("api-service-down", "error")]),
        ([named("v1.apps", spec={"group": "apps", "version": "v1"})], THING, []),
    ],
)
def test_apis_of_others(there: list[Body], text: str, found: list[tuple[str, str]]) -> None:
    told = apis.services(good({"APIService": there}), want(text))
    assert [(finding.code, finding.severity) for finding in told] == found


def test_autoscalers_need_metrics() -> None:
    scaler = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
    assert codes(apis.services, good(), want(scaler)) == ["metrics-missing"]
    assert codes(apis.services, good({"APIService": [api_service("True")]}), want(scaler)) == []


def webhook(policy: str = "Fail", resources: str = "deployments", **hook: object) -> Body:
    rule = {"apiGroups": ["apps"], "apiVersions": ["*"], "resources": [resources], "operations": ["CREATE"]}
    service = {"clientConfig": {"service": {"name": "hook", "namespace": "guard"}}}
    return named("guard", webhooks=[{"name": "g", "failurePolicy": policy, "rules": [rule], **service, **hook}])


ALIVE = named(
    "hook-1",
    "guard",
    metadata={"labels": {"kubernetes.io/service-name": "hook"}},
    endpoints=[{"conditions": {"ready": True}}],
)
NOT_SHOP = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"]}]}


@pytest.mark.parametrize(
    ("hook", "slices", "found"),
    [
        (webhook(), [], ["error"]),
        (webhook(), [ALIVE], []),
        (webhook(), [{**ALIVE, "endpoints": [{"conditions": {"ready": False}}]}], ["error"]),
        (webhook("Ignore"), [], []),
        (webhook(resources="cronjobs"), [], ["warning"]),
        (webhook(resources="*"), [], ["error"]),
        (webhook(namespaceSelector=NOT_SHOP), [], ["warning"]),
        (webhook(objectSelector={"matchLabels": {"guarded": "yes"}}), [], ["warning"]),
    ],
)
def test_webhooks_that_refuse_with_nobody_behind(hook: Body, slices: list[Body], found: list[str]) -> None:
    facts = good({"ValidatingWebhookConfiguration": [hook], "EndpointSlice": slices})
    told = list(apis.webhooks(facts, want(workload())))
    assert [finding.severity for finding in told] == found


def test_our_own_webhooks_get_their_pods_with_the_release() -> None:
    own = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: guard}\n"
    assert codes(apis.webhooks, good({"ValidatingWebhookConfiguration": [webhook()]}), want(own)) == []
