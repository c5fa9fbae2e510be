"""installer.site.plan_file: an install does what was reviewed, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.errors import CheckFailed, DocumentError, UsageError
from airbundle.installer.site.plan_file import check_plan, write_plan
from airbundle.installer.site.report import SitePlan
from airbundle.installer.site.step import Change

WEB = Change("Deployment shop/web", "change", "+replicas: 2")


NO_STEPS: list[object] = [5, {}, [5], [{"name": "dns"}], [{"name": "dns", "changes": 5}], [{"changes": [5]}]]
HOSTILE = [json.dumps({"apiVersion": "airbundle.dev/v1", "kind": "SitePlan", "steps": each}) for each in NO_STEPS]


def plan(steps: Mapping[str, Sequence[Change]], *, statement: str = "sha256:x", gone: Sequence[str] = ()) -> SitePlan:
    return SitePlan("shop 1.1", statement, "berlin", "main, uid-1", steps, tuple(gone))


def test_what_was_reviewed_is_done(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", plan({"dns": [], "release/web": [WEB]}))
    check_plan(tmp_path / "plan.json", plan({"dns": [], "release/web": [WEB]}))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (plan({"dns": [Change("ConfigMap coredns", "change")], "release/web": [WEB]}), "ConfigMap coredns"),
        (plan({"release/web": [Change(WEB.what, "change", "+replicas: 3")]}), "would be done otherwise"),
        (plan({"release/web": [replace(WEB, inputs="sha256:y")]}), "would be done otherwise"),
        (plan({"release/web": [replace(WEB, set_by=(("me", ".a"),), then="asks")]}), "would be done otherwise"),
        (plan({"release/web": []}), "would not be done"),
        (plan({"release/web": [WEB]}, statement="sha256:y"), "another bundle"),
        (plan({"release/web": [WEB]}, gone=["old"]), "removed"),
    ],
)
def test_what_drifted_since_the_review_is_refused_and_told(tmp_path: Path, now: SitePlan, told: str) -> None:
    write_plan(tmp_path / "plan.json", plan({"release/web": [WEB]}))
    with pytest.raises(CheckFailed) as caught:
        check_plan(tmp_path / "plan.json", now)
    assert caught.value.outcome == "unchanged"
    assert told in "\n".join(map(str, caught.value.findings))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind":"SitePlan"}', '{"kind":"Pod","steps":[]}', *HOSTILE])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(DocumentError):
        check_plan(tmp_path / "plan.json", plan({}))


def test_a_plan_is_never_written_over(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", plan({}))
    with pytest.raises(UsageError):
        write_plan(tmp_path / "plan.json", plan({}))
    with pytest.raises(UsageError):
        check_plan(tmp_path / "none.json", plan({}))
