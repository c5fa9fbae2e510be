"""What a rollback goes back to, what it would do, and what it did. Pure: records in, a plan out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from airbundle.errors import UsageError
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.rollback_moves import ReleaseMove

ROLLBACK = "rollback"
"""Under which name `Deployment.who` has the number of the deployment that a rollback goes back to."""
FROM = "rollback-from"
"""The same of the deployment that was up before."""


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do.

    Attributes:
        site: its name.
        now: what is up.
        then: what is gone back to.
        moves: in the order in which they happen; releases that are the same in both are left out.
        settings: steps of nodes and DNS that differ.
        serves: whether the registry's names change.
        others: names and versions of other bundles at the site; all of theirs stays as it is.
        starts: whether airbundle's server is down, and is started first. No change to what is deployed.
    """

    site: str
    now: Deployment
    then: Deployment
    moves: tuple[ReleaseMove, ...]
    settings: tuple[str, ...] = ()
    serves: bool = False
    others: tuple[str, ...] = ()
    starts: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return any(each.move != "stay" for each in self.moves) or bool(self.settings) or self.serves

    def lines(self) -> Iterator[str]:
        """Yield the plan's text."""
        yield f"site {self.site}: from {self.now.title} (deployment {self.now.number})"
        yield f"  back to {self.then.title} (deployment {self.then.number} of {self.then.time})"
        if self.starts:
            yield "  registry: airbundle's server is down, and is started first; then it is asked for every image"
        if self.serves:
            yield f"  registry: names are those of {self.then.title} again"
        for name in self.settings:
            yield f"  {name}: as the site file said then"
        for each in self.moves:
            yield f"  {each}"
            if each.warning:
                yield f"    warning: {each.warning}"
        for title in self.others:
            yield f"  {title} stays as it is"
        if not self.changes:
            yield "  nothing to do"

    def to_json(self) -> dict[str, Any]:
        """Return the plan for `--json`."""
        return {
            "site": self.site,
            "from": _named(self.now),
            "to": _named(self.then),
            "changes": self.changes,
            "serves": self.serves,
            "starts": self.starts,
            "settings": list(self.settings),
            "others": list(self.others),
            "releases": [each.to_json() for each in self.moves],
        }


@dataclass
class RolledBack:
    """What a rollback did.

    Attributes:
        plan: what it was to do.
        deployment: number of the deployment that records it; 0 where nothing was to do.
        done: releases that went back or came back.
        removed, kept: what was taken away of releases that are gone, and what of them stays.
    """

    plan: RollbackPlan
    deployment: int = 0
    done: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the report's text."""
        title = self.plan.then.title
        if not self.deployment:
            yield f"{title} is up at {self.plan.site}: nothing to do"
            return
        yield f"{title} is up again at {self.plan.site}; deployment {self.deployment}"
        yield from (f"  release/{name} is back" for name in self.done)
        yield from (f"  removed {each}" for each in self.removed)
        yield from (f"  kept    {each}" for each in self.kept)

    def to_json(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            **self.plan.to_json(),
            "changed": bool(self.deployment),
            "deployment": self.deployment or None,
            "done": self.done,
            "removed": self.removed,
            "kept": self.kept,
        }


def _named(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment": deployment.number,
        "name": deployment.name,
        "version": deployment.version,
        "statement": deployment.statement,
    }


def choose_target(deployments: Sequence[Deployment], to: str = "") -> tuple[Deployment, Deployment]:
    """Return what is up, and what to go back to.

    Args:
        deployments: of one bundle at the site, oldest first (`history_of`).
        to: a version; empty for what was up before.

    Raises:
        UsageError: there is no such deployment; lists those that there are.
    """
    if not deployments:
        raise UsageError("nothing was deployed at this site yet", hint="`airbundle install --site` does that")
    now = deployments[-1]
    under_way = _under_way(deployments)
    if under_way is not None and to in ("", under_way.version):
        return now, under_way
    earlier = [each for each in deployments[:-1] if each.complete]
    found = [each for each in earlier if (each.version == to if to else _differs(each, now))]
    if to and not found and now.version == to and now.complete:
        return now, now
    if not found:
        known = ", ".join(dict.fromkeys(each.version for each in reversed(earlier))) or "none"
        what = f"no deployment of {now.name} {to} came to its end" if to else "there is nothing to go back to"
        raise UsageError(f"{what}; earlier versions here: {known}", hint="name one of them with --to VERSION")
    return now, found[-1]


def _under_way(deployments: Sequence[Deployment]) -> Deployment | None:
    """Return what a rollback that was cut off goes back to; None where none was."""
    now = deployments[-1]
    if now.complete or ROLLBACK not in now.who:
        return None
    return next((each for each in deployments if each.number == now.who[ROLLBACK]), None)


def came_from(deployments: Sequence[Deployment], now: Deployment, then: Deployment) -> Deployment:
    """Return what was up before a rollback began that was cut off: what is to be restored is said by that.

    Args:
        deployments: of the site.
        now, then: as `choose_target` says; where no rollback was cut off, it is `now`.
    """
    number = None if now.complete else now.who.get(FROM)
    found = next((each for each in deployments if each.number == number), now)
    return now if found.statement == then.statement else found


def _differs(one: Deployment, other: Deployment) -> bool:
    return one.statement != other.statement or _inputs(one) != _inputs(other)


def _inputs(deployment: Deployment) -> set[tuple[str, str, str]]:
    return {(each.name, each.inputs, each.manifest) for each in deployment.releases}
