"""deploy.rules.cluster, access and clock: the right cluster, its version, what this user may do, the time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airbundle.deploy.facts import Access
from airbundle.deploy.rules import access, clock, cluster
from tests.deploy.rules.world import SITE, codes, good, named, release, want, workload


def test_another_cluster_is_told_with_both_uids() -> None:
    (finding,) = cluster.uid(good(uid="ffff"), want(uid="0A1B"))
    assert (finding.code, finding.found, finding.expected) == ("cluster-uid", "ffff", "0A1B")
    assert codes(cluster.uid, good(), want(uid="0A1B")) == []
    assert codes(cluster.uid, good(uid=None), want()) == []


@pytest.mark.parametrize(
    ("chart", "target", "found"),
    [
        (">=1.30.0-0", "1.33", []),
        ("", "", []),
        ("no range", "1.33.4", []),
        (">=1.34.0-0", "1.33", ["kubernetes-version"]),
        ("<1.30", "1.30", ["kubernetes-version", "kubernetes-target"]),
    ],
)
def test_versions_that_charts_and_bundle_are_for(chart: str, target: str, found: list[str]) -> None:
    wanted = want(release(chart="app", version="1.0.0", kube_version=chart), kubernetes=target)
    assert codes(cluster.versions, good(), wanted) == found


def test_rights_that_lack_are_told_by_resource_and_namespace() -> None:
    denied = [
        Access("shop", "apps", "deployments", "create"),
        Access("shop", "apps", "deployments", "patch"),
        Access("", "", "namespaces", "create"),
        Access("shop", "rbac.authorization.k8s.io", "roles", "escalate"),
    ]
    found = list(access.find(good(denied=denied), want()))
    assert [(each.code, each.where) for each in found] == [
        ("rbac", "cluster"),
        ("rbac", "namespace shop"),
        ("rbac-escalate", "namespace shop"),
    ]
    assert "create, patch deployments.apps" in found[1].message
    assert codes(access.find, good(), want()) == []


def test_what_the_plan_needs_is_asked_for() -> None:
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\nrules: []\n---\n"
    thing = "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: t}\n---\n"
    crd = (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.dev}\n"
        "spec: {group: x.dev, scope: Cluster, names: {kind: Thing, plural: things}, "
        "versions: [{name: v1, served: true}]}\n"
    )
    wanted = want(release(workload() + role + thing + crd, chart="app"))
    needed = set(access.needed(good(), wanted))
    assert Access("shop", "apps", "deployments", "patch") in needed
    assert Access("", "rbac.authorization.k8s.io", "clusterroles", "escalate") in needed
    assert Access("", "x.dev", "things", "create") in needed  # it comes with the release
    assert Access("shop", "", "secrets", "update") in needed  # helm's
    assert Access("kube-system", "", "configmaps", "patch") in needed  # the zone's
    without = want(workload(), site=replace(SITE, dns=replace(SITE.dns, zone="")), registry="10.0.0.7:5000")
    assert not [each for each in access.needed(good(), without) if each.resource in {"secrets", "configmaps"}]


@pytest.mark.parametrize(
    ("skew", "grades"), [(0.0, []), (-29.0, []), (45.0, ["warning"]), (-45.0, ["warning"]), (400.0, ["error"])]
)
def test_the_clock_of_this_host(skew: float, grades: list[str]) -> None:
    assert [finding.severity for finding in clock.host(good(skew=skew), want())] == grades


@pytest.mark.parametrize(
    ("renewed", "grades"),
    [
        ("2026-06-01T11:59:55.123456Z", []),
        ("2026-06-01T11:57:55.123456Z", ["warning"]),
        ("2026-06-01T11:50:00.000000Z", ["error"]),
        ("2026-06-01T12:01:00Z", ["warning"]),
        ("yesterday", []),
        (None, []),
    ],
)
def test_the_clocks_of_nodes(renewed: str | None, grades: list[str]) -> None:
    leases = [named("node1", "kube-node-lease", spec={"renewTime": renewed}), named("x", "y", spec={"renewTime": "z"})]
    assert [finding.severity for finding in clock.nodes(good({"Lease": leases}), want())] == grades
