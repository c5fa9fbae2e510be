"""A plan holds for the site that it was made for: what another run did since makes it void."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from airbundle.errors import SiteError
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.state import StateDirectory


@contextmanager
def locked_as_planned(
    state: StateDirectory, site: SiteState, planned: Sequence[Deployment], command: str
) -> Iterator[None]:
    """Hold the lock of a host while a plan is carried out, if the site is as it was planned for.

    No lock is held while a plan is made and a person reads it: that may take hours.

    Args:
        state: of this host.
        site: which one.
        planned: its deployments before the plan was made.
        command: for the lock.

    Raises:
        Busy: another run is under way.
        SiteError: one has come and gone since; nothing is changed.
        DocumentError: a record does not parse.
    """
    with state.locked(command):
        now = site.deployments()
        if now != list(planned):
            newest = f"deployment {now[-1].number}, {now[-1].title}, is the newest now" if now else ""
            raise SiteError(
                f"{site.name} was changed by another run since this was planned: "
                f"{newest or 'nothing is deployed there any more'}",
                outcome="unchanged",
                hint="run the same command again: it looks at the site as it is now",
            )
        yield
