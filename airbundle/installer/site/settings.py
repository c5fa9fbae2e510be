"""What of nodes and DNS a rollback sets again as the site file said then."""

from __future__ import annotations

from collections.abc import Sequence

from airbundle.installer.site.step import SiteRun, Step

SETTINGS: tuple[str, ...] = ()
"""Names of the steps."""


def settings_steps(run: SiteRun) -> Sequence[Step]:
    """Return the steps; each does nothing where all is as it is to be."""
    del run
    return []
