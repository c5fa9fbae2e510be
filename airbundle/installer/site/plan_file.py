"""A plan as a file: written by `install --dry-run -o FILE`, reviewed, and held to by `install --plan FILE`.

What is compared is what would be done: bundle, site, cluster and every change with its diff. Where the cluster has
drifted since the review, something else would be done, and the install is refused with what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airbundle.bundle.oci import parse_json
from airbundle.errors import CheckFailed, DocumentError, Finding, UsageError, VerificationError
from airbundle.installer.files import FILE, check_new_file, read_file, write_file
from airbundle.installer.site.report import SitePlan

API_VERSION, KIND = "airbundle.dev/v1", "SitePlan"
_LIMIT = 64 * 1024 * 1024
_WHOSE = ("title", "statement", "site", "cluster")


def write_plan(path: Path, plan: SitePlan) -> None:
    """Write a plan; the file must not be there.

    Raises:
        UsageError: it is there.
        HostError: it can't be written.
    """
    check_new_file(path)
    body = {"apiVersion": API_VERSION, "kind": KIND, **plan.to_json()}
    write_file(path, (json.dumps(body, indent=1) + "\n").encode(), FILE)


def check_plan(path: Path, plan: SitePlan) -> None:
    """Refuse when what would be done is not what a reviewed plan says.

    Raises:
        UsageError, DocumentError: there is no such plan.
        CheckFailed: something else would be done; lists what.
    """
    reviewed = _read(path)
    findings = list(_differences(reviewed, plan.to_json()))
    if findings:
        error = CheckFailed(
            f"{path}: this is not what would be done now; nothing was changed",
            findings=findings,
            hint="look at a new `install --dry-run -o FILE`, and have that one reviewed",
        )
        error.outcome = "unchanged"
        raise error


def _read(path: Path) -> Mapping[str, Any]:
    raw = read_file(path, limit=_LIMIT)
    if raw is None:
        raise UsageError(f"--plan {path}: there is no such file", hint="`install --dry-run -o FILE` writes one")
    try:
        body = parse_json(raw, what=str(path), limit=_LIMIT)
        if body["kind"] == KIND and body["apiVersion"] == API_VERSION and _are_steps(body["steps"]):
            found: Mapping[str, Any] = body
            return found
    except (VerificationError, KeyError, TypeError):
        pass
    raise DocumentError(f"{path}: is no plan of an install", hint="`install --dry-run -o FILE` writes one")


def _are_steps(body: object) -> bool:
    return isinstance(body, list) and all(
        isinstance(step, dict)
        and isinstance(step.get("changes"), list)
        and all(isinstance(change, dict) for change in step["changes"])
        for step in body
    )


def _differences(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    for name in _WHOSE:
        if reviewed.get(name) != now[name]:
            message = f"the plan is for another {'bundle' if name == 'statement' else name}"
            yield Finding(message, code="plan", found=str(now[name]), expected=str(reviewed.get(name)))
    before, after = _by_change(reviewed), _by_change(now)
    for (step, what), change in after.items():
        if before.get((step, what)) != change:
            why = "would be done otherwise" if (step, what) in before else "would be done, and the plan does not say so"
            yield Finding(f"{_action(change)} {what}: {why}", where=step, code="plan")
    for (step, what), change in before.items():
        if (step, what) not in after:
            yield Finding(
                f"{_action(change)} {what}: the plan says so, and it would not be done", where=step, code="plan"
            )
    if reviewed.get("gone", []) != now["gone"]:
        yield Finding("other releases would be removed", code="plan", found=str(now["gone"]))


def _by_change(body: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (str(step.get("name")), str(change.get("what"))): change for step in body["steps"] for change in step["changes"]
    }


def _action(change: Mapping[str, Any]) -> str:
    return str(change.get("action", ""))
