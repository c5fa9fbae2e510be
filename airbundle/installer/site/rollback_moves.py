"""What a rollback means for each release. Pure: records in, moves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airbundle.installer.site.backups import Backup
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease, Deployment, same_release

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
        backup: the one that they restore; None where none is known.
        warning: why that may not be the right one; empty when it is.
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
    backup: Backup | None = None
    warning: str = ""

    @property
    def asks(self) -> bool:
        """Whether a person must agree to it."""
        asked = self.policy == "ask" or (bool(self.warning) and self.policy != "never")
        return self.move == "remove" or (asked and self.move in ("back", "again"))

    @property
    def lost(self) -> str:
        """What is lost when its data are restored."""
        return f"what was written since {self.backup or 'the backup'} is lost"

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
        runs = f"; then runs {names}: {self.lost}" if names else ""
        return f"release/{self.name} {words}{revision}{runs}"

    def to_json(self) -> dict[str, Any]:
        """Return the move for `--json`."""
        made = self.backup
        return {
            "name": self.name,
            "move": self.move,
            "asks": self.asks,
            "restores": list(self.restores),
            "backup": made and {"name": made.name, "version": made.version, "time": made.time},
            "warning": self.warning,
        }


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
