"""installer.site.report: a plan and its outcome, for people and machines."""

from __future__ import annotations

import json

from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.report import SitePlan, SiteReport
from airbundle.installer.site.step import Change


def test_a_plan_tells_each_change_with_its_diff() -> None:
    change = Change("Deployment shop/web", "change", "-replicas: 1\n+replicas: 2")
    plan = SitePlan("shop 1.1", "sha256:x", "berlin", "main", {"dns": [], "release/web": [change]}, ("old",))
    text = "\n".join(plan.lines())
    assert "dns: nothing to do" in text
    assert (
        "release/web: 1 change\n  change  Deployment shop/web\n          -replicas: 1\n          +replicas: 2" in text
    )
    assert "release/old: is not in this bundle" in text
    assert "+replicas" not in "\n".join(plan.lines(diffs=False))
    body = json.loads(json.dumps(plan.to_json()))
    assert body["changes"] is True
    assert body["steps"][1]["changes"] == [
        {"what": "Deployment shop/web", "action": "change", "diff": "-replicas: 1\n+replicas: 2"}
    ]


def test_a_plan_tells_what_somebody_else_has_set() -> None:
    fields = [(".spec.replicas", "kubectl-edit"), (".spec.paused", "kubectl-edit"), (".data.a", "argocd")]
    theirs = tuple((manager, field) for field, manager in fields)
    asked = Change("Deployment shop/web", "change", "-replicas: 1", set_by=theirs, then="asks")
    ended = Change("ConfigMap shop/airbundle-ca", "change", set_by=(("kubectl", ".data.ca.crt"),), then="ends")
    plan = SitePlan("shop 1.1", "sha256:x", "berlin", "main", {"trust": [ended], "release/web": [asked]})
    text = "\n".join(plan.lines(diffs=False))
    assert (
        "  change  Deployment shop/web\n"
        "          set by kubectl-edit: .spec.replicas, .spec.paused; by argocd: .data.a: asks first, or --yes" in text
    )
    assert "          set by kubectl: .data.ca.crt: the install ends there, and takes nothing over" in text
    trust, web = plan.to_json()["steps"]
    assert web["changes"][0]["setBy"][0] == {"manager": "kubectl-edit", "field": ".spec.replicas"}
    assert (web["changes"][0]["then"], trust["changes"][0]["then"]) == ("asks", "ends")


def test_a_plan_does_not_tell_thousands_of_fields() -> None:
    theirs = tuple(("kubectl-edit", f".data.{number}") for number in range(3000))
    plan = SitePlan("a", "b", "c", "d", {"x": [Change("ConfigMap a/b", "change", set_by=theirs, then="asks")]})
    assert ".data.4 and 2995 more: asks first" in "\n".join(plan.lines())
    assert len(plan.to_json()["steps"][0]["changes"][0]["setBy"]) == 100


def test_a_plan_without_changes_says_so() -> None:
    plan = SitePlan("shop 1.1", "sha256:x", "berlin", "main", {"dns": []})
    assert list(plan.lines())[-1] == "nothing to do"
    assert plan.to_json()["changes"] is False


def test_a_report_tells_what_is_up() -> None:
    release = DeployedRelease("web", "shop", "chart", "i", 2, images=("r/web:1@sha256:1",))
    deployment = Deployment(3, "shop", "1.1", 7, "sha256:x", "t", True, releases=(release,))
    report = SiteReport("shop 1.1", "berlin", None, {"dns": False, "release/web": True}, deployment, ("old",))
    text = "\n".join(report.lines())
    assert "shop 1.1 at berlin: deployed" in text
    assert "1 release up; deployment 3" in text
    body = report.to_json()
    assert (body["changed"], body["removed"], body["releases"][0]["revision"]) == (True, ["old"], 2)


def test_a_run_with_nothing_to_do_says_so() -> None:
    report = SiteReport("shop 1.1", "berlin", None, {"dns": False})
    assert next(iter(report.lines())) == "shop 1.1 at berlin: nothing to do, it is all up"
    assert report.to_json()["changed"] is False


def test_a_run_of_some_phases_says_which_were_not_asked_for() -> None:
    report = SiteReport("shop 1.1", "berlin", None, {"secrets": True}, phases=("secrets", "releases"))
    line = next(iter(report.lines()))
    assert line == "shop 1.1 at berlin: secrets, releases: done; not asked for: registry, nodes, dns, trust"
