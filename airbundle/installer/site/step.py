"""A step of an install at a site's cluster, and what the steps of one run share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from airbundle.installer.journal import Journal
from airbundle.installer.options import Options
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory
from airbundle.installer.verify import Trusted
from airbundle.progress import Phase, Reporter
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.cluster_write import ClusterWriter

Action = Literal["create", "change", "delete", "run", "restart"]

PATIENCE = 300.0
"""Seconds for which calls of the cluster's API are tried again, unless the operator says otherwise."""


@dataclass(frozen=True)
class Change:
    """One thing that a step would do.

    Attributes:
        what: a place a person knows: `node-1 /etc/hosts`, `Deployment matrix/synapse`.
        action: what is done with it.
        diff: what would change in it, as a unified diff without secrets; may be empty.
        inputs: digest of all that decides how it will be, where the diff does not show all of that.
        set_by: pairs of who and which field, of those fields that somebody else has set, and that this would change.
        then: what an install does about those: it `asks` whether they are taken over, or `ends`; empty without any.
    """

    what: str
    action: Action
    diff: str = ""
    inputs: str = ""
    set_by: tuple[tuple[str, str], ...] = ()
    then: Literal["", "asks", "ends"] = ""


class Step(Protocol):
    """Something that is planned, done and found done again."""

    @property
    def name(self) -> str:
        """Such as `nodes` or `release/synapse`; stands in the journal."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Steps that must be done before."""
        ...

    def plan(self) -> Sequence[Change]:
        """Return what would change; reads only. Nothing: it is done already."""
        ...

    def run(self, phase: Phase) -> bool:
        """Do it, as far as it isn't done; return whether anything changed.

        How to undo each effect is journalled before the effect. After a kill at any moment another run goes on.
        """
        ...


@dataclass
class SiteRun:
    """What the steps of one run share.

    Attributes:
        trusted: the bundle.
        site: the site file, with what lies beside it.
        options: of the plain install: registry and server.
        state: of this host.
        site_state: of this site.
        journal: of this site.
        cluster: its API.
        reporter: gets progress.
        patience: seconds for which calls of the API are tried again.
        ask: asks a person a question; False where nobody can be asked.
        prompt: asks a person for a value that is not to be shown; None where nobody can be asked.
    """

    trusted: Trusted
    site: SiteDir
    options: Options
    state: StateDirectory
    site_state: SiteState
    journal: Journal
    cluster: ClusterWriter
    reporter: Reporter
    patience: float = PATIENCE
    ask: Callable[[str], bool] = field(default=lambda _question: False, repr=False)
    prompt: Callable[[str], str] | None = field(default=None, repr=False)
