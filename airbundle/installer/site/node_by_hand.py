"""Nodes that only a person reaches (`nodes.access: manual`): a script for each is written into the site's state."""

from __future__ import annotations

from airbundle.installer.files import FILE, write_file
from airbundle.installer.site.site_state import SiteState
from airbundle.transfer.node_access import BY_HAND, NodeAnswer


class ManualNodes:
    """Nodes that a person sets up.

    Args:
        site_state: where the scripts go, `nodes/NODE.sh`.
    """

    way = "manual"

    def __init__(self, site_state: SiteState) -> None:
        self._site_state = site_state

    def run(self, node: str, script: bytes, argument: str) -> NodeAnswer:
        """Write a script and say how it is to be run; the answer's code is `BY_HAND`.

        Raises:
            HostError: it can't be written.
        """
        path = self._site_state.directory("nodes") / f"{node}.sh"
        write_file(path, script, FILE)
        return NodeAnswer(BY_HAND, f"copy {path} to {node} and run it there as root: sh {path.name} {argument}")
