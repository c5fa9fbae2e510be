"""What helm's history of a release says, and how a release goes on that a killed or failed helm left half-way.

helm writes a revision as pending before it changes the cluster, and as deployed or failed afterwards. A helm that was
killed leaves `pending-…`, and every later one refuses to touch the release ("another operation is in progress").
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airbundle.errors import RemoteError

DEPLOYED = "deployed"
_PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})
_WAS_UP = frozenset({DEPLOYED, "superseded"})
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]*)?")


@dataclass(frozen=True)
class Revision:
    """One revision of a release.

    Attributes:
        status: `deployed`, `superseded`, `failed`, `pending-upgrade`, …
        chart: name and version of the chart: `redis-1.2.3`.
    """

    number: int
    status: str
    chart: str = ""
    description: str = ""

    @property
    def pending(self) -> bool:
        """Whether helm is at work on it, or was killed over it."""
        return self.status in _PENDING

    @property
    def chart_name(self) -> str:
        """Name of the chart, without the version."""
        for place, letter in enumerate(self.chart):
            if letter == "-" and _VERSION.fullmatch(self.chart, place + 1):
                return self.chart[:place]
        return self.chart


def parse_history(raw: bytes, *, what: str) -> list[Revision]:
    """Return the revisions that `helm history --output json` prints, oldest first.

    Raises:
        RemoteError: it is no history.
    """
    try:
        body = json.loads(raw)
        if not isinstance(body, list):
            raise TypeError
        found = [_revision(each) for each in body]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RemoteError(f"{what}: helm printed no history of a release", side="site") from None
    return sorted(found, key=lambda revision: revision.number)


def _revision(body: Any) -> Revision:
    texts = [body.get(name) or "" for name in ("status", "chart", "description")]
    if type(body["revision"]) is not int or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return Revision(body["revision"], *texts)


@dataclass(frozen=True)
class Recovery:
    """What is done before helm is asked for something new.

    Attributes:
        drop: revisions whose records go: helm then sees the release as it was before them.
        uninstall: an uninstall was cut off, and is brought to its end.
    """

    drop: tuple[int, ...] = ()
    uninstall: bool = False


def recovery_of(history: Sequence[Revision]) -> Recovery:
    """Return how a release goes on.

    What a killed helm made stays: with the record of the pending revision gone, the same upgrade finds its own objects
    (helm knows them by its metadata) and goes on. A rollback first would take running pods back to what the upgrade's
    hooks may have migrated away from, only to upgrade them again. A release that never came up is an install
    again, with the hooks of an install.
    """
    if history and history[-1].status == "uninstalling":
        return Recovery(uninstall=True)
    if not any(revision.status in _WAS_UP for revision in history):
        return Recovery(drop=tuple(revision.number for revision in history if revision.status != "uninstalled"))
    return Recovery(drop=tuple(revision.number for revision in history if revision.pending))
