"""What a rollback goes back to, and what that means for each release. Pure: records in, a plan out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airbundle.errors import Finding, UsageError
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease, Deployment

ROLLBACK = "rollback"
"""Under which name `Deployment.who` has the number of the deployment that a rollback goes back to."""
FROM = "rollback-from"
"""The same of the deployment that was up before."""

Move = Literal["back", "again", "remove", "stay"]


@dataclass(frozen=True)
class ReleaseMove:
    """What happens to one release.

    Attributes:
        move: `back` to an earlier state; `again`: it was taken away since, and comes back; `remove`: only the newer
            deployment has it; `stay`: it would go back, and its `rollback` says never, or an
            administrator deployed it.
        now, then: its records; None where there is none.
        restores: manifests that are run after it went back, such as a job that restores a database.
        afresh: helm has no revision to go back to: it is deployed again, from the bundle of that time.
        owner: the other bundle that has it now, for which it stays; empty otherwise.
        policy: `auto`, `ask` or `never`, as the newer one says.
    """

    name: str
    move: Move
    now: DeployedRelease | None
    then: DeployedRelease | None
    policy: str = "ask"
    restores: tuple[str, ...] = ()
    owner: str = ""
    afresh: bool = False

    @property
    def asks(self) -> bool:
        """Whether a person must agree to it."""
        return self.move == "remove" or (self.policy == "ask" and self.move in ("back", "again"))

    @property
    def _why(self) -> str:
        if self.owner:
            return f": it is of the bundle {self.owner} now"
        handed_over = any(each is not None and each.kind == HANDED_OVER for each in (self.now, self.then))
        return ": it was handed over" if handed_over else " (rollback: never)"

    def __str__(self) -> str:
        """Return a line for people."""
        words = {
            "back": "goes back",
            "again": "comes back: it was taken away since",
            "remove": "is removed: the earlier version had no such release; its data stays",
            "stay": f"stays as it is{self._why}",
        }[self.move]
        revision = (
            f" to revision {self.then.revision}" if self.move == "back" and self.then and self.then.revision else ""
        )
        if self.afresh:
            revision = "; it is deployed again from the bundle of that time: helm has no revision of it"
        names = ", ".join(self.restores)
        runs = f"; then runs {names}: what was written since the backup is lost" if names else ""
        return f"release/{self.name} {words}{revision}{runs}"


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
            "releases": [
                {"name": each.name, "move": each.move, "asks": each.asks, "restores": list(each.restores)}
                for each in self.moves
            ],
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


def same_release(one: DeployedRelease, other: DeployedRelease) -> bool:
    """Tell whether two records are of the same thing; helm counts a rollback as a revision of its own."""
    return (one.namespace, one.kind, one.inputs, one.manifest) == (
        other.namespace,
        other.kind,
        other.inputs,
        other.manifest,
    )


def moves_between(now: Deployment, then: Deployment, others: Sequence[DeployedRelease] = ()) -> list[ReleaseMove]:
    """Return what happens to each release: first those that go back, what others need first; then those that go.

    Args:
        now, then: of one bundle.
        others: what other bundles have up.
    """
    found = []
    owners = {each.name: each.bundle for each in others}
    for release in then.releases:
        current = now.release(release.name)
        if release.name in owners:
            found.append(ReleaseMove(release.name, "stay", None, release, "never", owner=owners[release.name]))
        elif HANDED_OVER in (release.kind, current.kind if current else ""):
            if current is None or not same_release(current, release):
                found.append(ReleaseMove(release.name, "stay", current, release, "never"))
        elif current is None:
            found.append(ReleaseMove(release.name, "again", None, release, release.rollback))
        elif not (same_release(current, release) and now.complete):
            policy = current.rollback
            found.append(ReleaseMove(release.name, "stay" if policy == "never" else "back", current, release, policy))
    left = [each for each in reversed(now.releases) if then.release(each.name) is None]
    return in_order(found) + [
        ReleaseMove(each.name, "stay" if each.kind == HANDED_OVER else "remove", each, None, each.rollback)
        for each in left
    ]


def in_order(moves: Sequence[ReleaseMove]) -> list[ReleaseMove]:
    """Return moves with each after those that it needs."""
    left, ordered = list(moves), list[ReleaseMove]()
    while left:
        names = {each.name for each in left}
        ready = [each for each in left if each.then is None or not names.intersection(each.then.needs)]
        chosen = ready or left[:1]  # a circle can't come from a bundle; whoever made one gets some order
        ordered += chosen
        left = [each for each in left if each not in chosen]
    return ordered


def lacking_agreement(moves: Sequence[ReleaseMove]) -> list[Finding]:
    """Return a finding for each move that a person must agree to."""
    return [
        Finding(f"{each}: nobody agreed to it", where=f"release/{each.name}", code="agreement", hint="--yes agrees")
        for each in moves
        if each.asks
    ]
