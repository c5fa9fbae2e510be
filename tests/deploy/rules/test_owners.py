"""deploy.rules.owners: releases and objects of others."""

from __future__ import annotations

from typing import Any

import pytest

from airbundle.deploy.facts import HelmFound
from airbundle.deploy.objects import ObjectKey
from airbundle.deploy.rules import owners
from tests.deploy.rules.world import codes, good, release, want, workload

KEY = ObjectKey("apps/v1", "Deployment", "shop", "app")
CRD = ObjectKey("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "things.x.dev")
CRD_TEXT = (
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.dev}\n"
    "spec: {group: x.dev, names: {kind: Thing, plural: things}, versions: [{name: v1}]}\n---\n"
)


def helms(name: str, namespace: str = "shop") -> dict[str, Any]:
    marks = {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace}
    return {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}


@pytest.mark.parametrize(
    ("record", "ours", "found"),
    [
        (HelmFound("app", "1.0", "deployed", 3), True, []),
        (HelmFound("app", "1.0", "deployed", 3), False, ["helm-adopt"]),
        (HelmFound("other", "9", "deployed", 1), False, ["helm-chart"]),
        (HelmFound("app", "1.0", "pending-upgrade", 4), True, ["helm-pending"]),
        (HelmFound("other", "9", "uninstalled", 1), False, []),
    ],
)
def test_releases_of_helm(record: HelmFound, ours: bool, found: list[str]) -> None:
    known = frozenset({("shop", "app")} if ours else ())
    wanted = want(release(chart="app", version="2"), releases_of_ours=known)
    assert codes(owners.helm, good(helm={("shop", "app"): record}), wanted) == found


@pytest.mark.parametrize(
    ("unrestored", "found"),
    [({}, []), ({"app": True}, ["warning"]), ({"app": False}, ["error"]), ({"else": False}, [])],
)
def test_data_that_are_yet_to_be_restored_are_not_for_an_older_version(
    unrestored: dict[str, bool], found: list[str]
) -> None:
    told = list(owners.data(good(), want(release(), unrestored=unrestored)))
    assert [each.severity for each in told] == found
    assert all("airbundle rollback --site berlin" in each.hint for each in told)


@pytest.mark.parametrize(("up", "found"), [({}, []), ({"app": "chat"}, ["bundle-adopt"]), ({"else": "chat"}, [])])
def test_releases_of_another_bundle(up: dict[str, str], found: list[str]) -> None:
    assert codes(owners.bundles, good(), want(release(chart="app"), of_bundles=up)) == found


@pytest.mark.parametrize(
    ("metadata", "chart", "found"),
    [
        (None, "app", []),
        (helms("app"), "app", []),
        (helms("app"), "", ["object-owner"]),
        (helms("other"), "app", ["object-owner"]),
        (helms("app", "else"), "app", ["object-owner"]),
        ({"managedFields": [{"manager": "kubectl-client-side-apply"}]}, "app", ["object-owner"]),
        ({"managedFields": [{"manager": "kubectl-client-side-apply"}]}, "", ["object-exists"]),
        ({"managedFields": [{"manager": "airbundle"}]}, "", []),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "", ["object-owner"]),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "app", ["object-owner"]),
        ({"ownerReferences": [{"kind": "Cluster", "name": "pg", "controller": True}]}, "", ["object-owner"]),
    ],
)
def test_objects_that_are_there(metadata: dict[str, Any] | None, chart: str, found: list[str]) -> None:
    facts = good(existing={} if metadata is None else {KEY: {"metadata": metadata}})
    wanted = want(release(workload(), chart=chart))
    assert codes(owners.objects, facts, wanted) == found
    ours = want(release(workload(), chart=chart), ours=frozenset({str(KEY)}))
    assert codes(owners.objects, facts, ours) == []


def test_definitions_of_another_release() -> None:
    theirs = good(existing={CRD: {"metadata": helms("cert-manager", "certs")}})
    (finding,) = owners.objects(theirs, want(CRD_TEXT))
    assert (finding.code, finding.found) == ("crd-owner", "Helm's release certs/cert-manager")
    nobodys = good(existing={CRD: {"metadata": {}}})
    assert codes(owners.objects, nobodys, want(release(CRD_TEXT, chart="app"))) == []


def test_hooks_are_made_anew_each_time() -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: m, annotations: {helm.sh/hook: pre-install}}\n"
    key = ObjectKey("batch/v1", "Job", "shop", "m")
    assert codes(owners.objects, good(existing={key: {"metadata": {}}}), want(release(job, chart="app"))) == []
