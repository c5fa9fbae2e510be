"""deploy.rules: all rules together, facts that are not known, and the catalogue of codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airbundle.deploy.facts import SiteFacts, Unread
from airbundle.deploy.rules import RULES, run_rules
from airbundle.deploy.rules.catalogue import CODES, told
from tests.deploy.rules.world import good, named, release, want, workload

RULE_FILES = Path(__file__).parents[3] / "airbundle" / "deploy" / "rules"


def test_a_good_site_has_no_findings() -> None:
    assert run_rules(good(), want(workload())) == []


def test_errors_come_first_and_all_at_once() -> None:
    facts = good({"Node": [], "StorageClass": []}, uid="other", skew=60.0)
    found = run_rules(facts, want(release(workload(), given={"host": "chat.example.com"}), uid="mine"))
    assert {"cluster-uid", "node-none", "clock-skew", "example-host"} <= {each.code for each in found}
    grades = [each.severity for each in found]
    assert grades == sorted(grades, key=lambda grade: grade != "error")


def test_a_fact_that_is_not_known_is_told_once_and_other_rules_run() -> None:
    facts = good(unread={"Node": Unread("the API answered 500")}, uid="other")
    lists = {kind: bodies for kind, bodies in facts.lists.items() if kind != "Node"}
    found = run_rules(SiteFacts(**{**vars(facts), "lists": lists}), want(workload(), uid="mine"))
    (unread,) = [each for each in found if each.code == "fact-unread"]
    assert (unread.message, unread.severity) == ("Node could not be read", "error")
    assert "500" in unread.found and "architectures" in unread.expected
    assert "cluster-uid" in {each.code for each in found}


def test_what_one_may_not_see_is_a_warning() -> None:
    closed = ("Node", "APIService")
    facts = good(unread={kind: Unread("403", forbidden=True) for kind in closed})
    lists = {kind: bodies for kind, bodies in facts.lists.items() if kind not in closed}
    (found,) = run_rules(SiteFacts(**{**vars(facts), "lists": lists}), want(workload()))
    assert (found.code, found.severity) == ("fact-unread", "warning")
    assert found.message.endswith(": Node, APIService") and "architectures" in found.expected


def test_a_cluster_that_does_not_answer_is_one_finding_and_texts_are_checked() -> None:
    found = run_rules(SiteFacts(unreachable="connection refused"), want(release(workload(), given={"a": "CHANGE_ME"})))
    assert [each.code for each in found] == ["cluster-unreachable", "placeholder"]


@pytest.mark.parametrize("kind", ["Node", "Pod", "Namespace", "StorageClass", "Service"])
def test_objects_of_any_shape_break_no_rule(kind: str) -> None:
    odd = [
        {},
        {"metadata": None, "spec": [], "status": "x"},
        named("a", spec={"taints": "x", "ports": [1], "podCIDRs": [7]}),
    ]
    run_rules(good({kind: odd}), want(workload()))


@pytest.mark.parametrize(
    "text",
    [
        "kind: Deployment\nmetadata: {name: [1]}\nspec: 7\n",
        "kind: Deployment\nmetadata: {name: a}\nspec: {replicas: x, template: {spec: {containers: {}}}}\n",
        "kind: Deployment\nmetadata: {name: a}\nspec: {replicas: -1, template: {spec: {containers: [{image: 1, "
        "resources: {requests: {cpu: [1]}}, ports: [{hostPort: x}], securityContext: []}]}}}\n",
        "kind: Service\nmetadata: {name: a}\nspec: {ports: {}, clusterIP: [1]}\n",
        "kind: Ingress\nmetadata: {name: a}\nspec: {rules: [{host: [1], http: {paths: 7}}], ingressClassName: {}}\n",
        "kind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {resources: 1, accessModes: 2}\n",
        "kind: Nothing\n",
        "kind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {versions: {}}\n",
    ],
)
def test_rendered_objects_of_any_shape_break_no_rule(text: str) -> None:
    versions = {"Deployment": "apps/v1", "Ingress": "networking.k8s.io/v1"}
    kind = text.split()[1]
    run_rules(good(), want(f"apiVersion: {versions.get(kind, 'v1')}\n{text}"))


def test_each_code_of_the_rules_is_in_the_catalogue_and_used() -> None:
    sources = "".join(path.read_text() for path in RULE_FILES.glob("*.py") if path.name != "catalogue.py")
    written = set(re.findall(r'"([a-z]+(?:-[a-z]+)+|rbac|capacity|quota|unschedulable)"', sources))
    assert not CODES.keys() - written - {"hook-image"}, "codes that no rule has"
    with pytest.raises(KeyError):
        told("no-such-code", "x")
    with pytest.raises(ValueError):
        told("rbac", "x", severity="warning")
    with pytest.raises(ValueError):
        told("clock-skew", "x")


def test_rules_have_titles_of_their_own() -> None:
    assert len({rule.title for rule in RULES}) == len(RULES)
