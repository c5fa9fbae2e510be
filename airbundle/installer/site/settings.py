"""What of nodes and DNS a rollback sets again as the site file said then."""

from __future__ import annotations

from collections.abc import Sequence

from airbundle.installer.site.dns_step import DnsStep
from airbundle.installer.site.nodes_step import NodesStep
from airbundle.installer.site.step import SiteRun, Step

SETTINGS: tuple[str, ...] = (NodesStep.name, DnsStep.name)
"""Names of the steps."""


def settings_steps(run: SiteRun) -> Sequence[Step]:
    """Return the steps; each does nothing where all is as it is to be.

    Args:
        run: of the earlier bundle, and with the site file of that time.
    """
    return [NodesStep(run), DnsStep(run)]
