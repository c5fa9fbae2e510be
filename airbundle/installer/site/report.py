"""What an install at a site would do, and what it did: for people and for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.sizes import counted
from airbundle.errors import Finding
from airbundle.installer.report import Report
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.order import PHASES
from airbundle.installer.site.step import Change

_TOLD, _KEPT = 5, 100
"""Most fields of an object, set by others, that are told to people, and in JSON."""
_THEN = {
    "asks": "asks first, or --yes",
    "ends": "the install ends there, and takes nothing over",
    "": "",
}


@dataclass(frozen=True)
class SitePlan:
    """What an install would do.

    Attributes:
        title: name and version of the bundle.
        statement: its digest.
        site: the site's name.
        cluster: context and uid of kube-system, for people.
        steps: step → what would change, in the order in which they run.
        gone: releases that are up and that the bundle no longer has.
        warnings: what a person should look at.
    """

    title: str
    statement: str
    site: str
    cluster: str
    steps: Mapping[str, Sequence[Change]]
    gone: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return any(self.steps.values()) or bool(self.gone)

    def lines(self, *, diffs: bool = True) -> Iterator[str]:
        """Yield the plan's text."""
        yield f"{self.title} at {self.site} (cluster {self.cluster})"
        for name, changes in self.steps.items():
            yield f"{name}: " + (counted(len(changes), "change") if changes else "nothing to do")
            for change in changes:
                yield f"  {change.action:<7} {change.what}"
                if change.set_by:
                    yield f"          {_theirs(change)}"
                if diffs:
                    yield from (f"          {line}" for line in change.diff.splitlines())
        for name in self.gone:
            yield f"release/{name}: is not in this bundle any more; it is removed when you agree"
        if not self.changes:
            yield "nothing to do"

    def to_json(self) -> dict[str, Any]:
        """Return the plan for `--json`."""
        return {
            "title": self.title,
            "statement": self.statement,
            "site": self.site,
            "cluster": self.cluster,
            "changes": self.changes,
            "steps": [
                {"name": name, "changes": [_change(change) for change in changes]}
                for name, changes in self.steps.items()
            ],
            "gone": list(self.gone),
            "findings": [finding.to_json() for finding in self.warnings],
        }


@dataclass(frozen=True)
class SiteReport:
    """What an install did.

    Attributes:
        host: of the plain install; None when that was not asked for.
        steps: step → whether it changed anything.
        deployment: what is up now; None when releases were not asked for.
        removed: releases that were taken away.
        notes: what is to be done or known, one line each.
        phases: what was asked for.
    """

    title: str
    site: str
    host: Report | None
    steps: Mapping[str, bool]
    deployment: Deployment | None = None
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    phases: tuple[str, ...] = PHASES

    @property
    def changed(self) -> bool:
        """Whether anything changed."""
        return (self.host is not None and self.host.changed) or any(self.steps.values()) or bool(self.removed)

    def lines(self) -> Iterator[str]:
        """Yield the report's text."""
        if self.host is not None:
            yield from self.host.lines()
        yield f"{self.title} at {self.site}: {self._outcome()}"
        for name, changed in self.steps.items():
            yield f"  {name:<28} {'done' if changed else 'as it was'}"
        for name in self.removed:
            yield f"  release/{name:<20} removed"
        if self.deployment is not None:
            yield f"  {counted(len(self.deployment.releases), 'release')} up; deployment {self.deployment.number}"
        yield from (f"  {note}" for note in self.notes)

    def _outcome(self) -> str:
        left = [phase for phase in PHASES if phase not in self.phases]
        if not left:
            return "deployed" if self.changed else "nothing to do, it is all up"
        asked = ", ".join(self.phases)
        return f"{asked}: {'done' if self.changed else 'nothing to do'}; not asked for: {', '.join(left)}"

    def to_json(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        releases = self.deployment.releases if self.deployment else ()
        return {
            **(self.host.to_json() if self.host else {"title": self.title}),
            "site": self.site,
            "changed": self.changed,
            "steps": dict(self.steps),
            "deployment": self.deployment.number if self.deployment else None,
            "releases": [
                {
                    "name": each.name,
                    "namespace": each.namespace,
                    "kind": each.kind,
                    "revision": each.revision,
                    "images": list(each.images),
                }
                for each in releases
            ],
            "removed": list(self.removed),
        }


def _change(change: Change) -> dict[str, Any]:
    more: dict[str, Any] = {"diff": change.diff, "inputs": change.inputs, "then": change.then}
    more["setBy"] = [{"manager": manager, "field": name} for manager, name in change.set_by[:_KEPT]]
    return {"what": change.what, "action": change.action, **{name: value for name, value in more.items() if value}}


def _theirs(change: Change) -> str:
    """Return who has set fields that would change, and what an install does about it."""
    fields: dict[str, list[str]] = {}
    for manager, name in change.set_by[:_TOLD]:
        fields.setdefault(manager, []).append(name)
    told = "; ".join(f"by {manager}: {', '.join(names)}" for manager, names in fields.items())
    more = f" and {len(change.set_by) - _TOLD} more" if len(change.set_by) > _TOLD else ""
    return f"set {told}{more}: {_THEN[change.then]}"
