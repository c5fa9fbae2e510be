"""Takes back what nodes were given: the `undo` of the script that each was given last."""

from __future__ import annotations

from airbundle.deploy.node_answers import advice
from airbundle.deploy.nodes import ClusterNode, parse_host
from airbundle.errors import SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.site.errands import maker_at
from airbundle.installer.site.node_by_hand import ManualNodes
from airbundle.installer.site.node_facts import DAEMONSET, LOCAL, MANUAL, SSH, cluster_nodes, is_here
from airbundle.installer.site.node_scripts import NAME, kept_script, said_finding
from airbundle.installer.site.site_state import SiteState
from airbundle.progress import Reporter
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.node_access import BY_HAND, LocalNode, NodeAccess
from airbundle.transfer.node_access_pod import PodNodes
from airbundle.transfer.node_access_ssh import SshNodes


def journalled(access: NodeAccess, node: str) -> str:
    """Return a way as the journal has it, so that no site file is needed to go it back."""
    return f"{SSH} {access.host(node)}" if isinstance(access, SshNodes) else access.way


class NodeUndoing:
    """Takes back what nodes of a site were given.

    Args:
        cluster: the site's.
        site_state: has the scripts.
        reporter: is told what a person has to do.
    """

    def __init__(self, cluster: ClusterWriter, site_state: SiteState, reporter: Reporter) -> None:
        self._cluster = cluster
        self._site_state = site_state
        self._reporter = reporter
        self._maker = maker_at(site_state, Journal(site_state.journal))

    def undo(self, node: str, access: str) -> bool:
        """Take back what a node was given.

        Args:
            node: its name.
            access: the way by which it was set up, as the journal has it.

        Returns:
            Whether anything was taken back; what a person has to do is told, and counts as nothing.

        Raises:
            SiteError, NoPermission: it could not be; says why.
        """
        script = kept_script(self._site_state, node)
        found = next((each for each in cluster_nodes(self._cluster) if each.name == node), None)
        if script is None:
            return False
        if found is None:
            self._reporter.warn(f"node {node} is not in the cluster any more: what it was given is still there")
            return False
        answer = self._way(found, access).run(node, script, "undo")
        if answer.code == BY_HAND:
            self._reporter.warn(answer.text)
            return False
        if answer.code:
            raise SiteError(f"node {node} could not be undone", findings=[said_finding(node, answer.text, answer.code)])
        for line in advice(answer.text):
            self._reporter.warn(f"{node}: {line}")
        return "nothing to undo" not in answer.text

    def _way(self, node: ClusterNode, access: str) -> NodeAccess:
        way, _, place = access.partition(" ")
        host = parse_host(place)
        if way == SSH and host is not None:
            return SshNodes({node.name: host})
        if way == DAEMONSET:
            return PodNodes(self._cluster, {node.name: node.images}, self._maker)
        if way == MANUAL:
            return ManualNodes(self._site_state)
        if way == LOCAL and is_here(node):
            return LocalNode()
        raise SiteError(
            f"node {node.name} was set up by {access!r:.200}, which does not lead to it from here",
            outcome="unchanged",
            hint=f"run the site's {NAME}/{node.name}.sh undo there, as root",
        )
