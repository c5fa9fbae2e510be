"""Nodes by the cluster itself (`nodes.access: daemonset`): a privileged pod on a node runs the script in its root.

The script comes by a ConfigMap, what it says by the pod's log, its exit code by the pod's status. A pod a node, one
after the other, does what a DaemonSet would do, and each answer is its node's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airbundle.errors import SiteError
from airbundle.transfer.borrowing_pod import Errand, run_errand
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.node_access import READING, TIMEOUT, NodeAnswer, answer_of, runner
from airbundle.transfer.pods import NAMESPACE, Maker

SCRIPT_LIMIT = 900 * 1024
"""Most bytes of a script: a ConfigMap takes 1 MiB with all that is around it."""


class PodNodes:
    """Nodes that are reached by pods.

    Args:
        cluster: its API.
        images: node → images that it has, the best first (`deploy.nodes`).
        maker: of the pods.
        namespace: of the pods.
    """

    way = "daemonset"

    def __init__(
        self,
        cluster: ClusterWriter,
        images: Mapping[str, Sequence[str]],
        maker: Maker,
        *,
        namespace: str = NAMESPACE,
    ) -> None:
        self._cluster = cluster
        self._images = images
        self._maker = maker
        self._namespace = namespace

    def run(self, node: str, script: bytes, argument: str) -> NodeAnswer:
        """Run a script on a node. Raises as `NodeAccess.run`."""
        if len(script) > SCRIPT_LIMIT:
            raise SiteError(
                f"node {node}: the script has {len(script)} bytes, of which a ConfigMap takes {SCRIPT_LIMIT}",
                outcome="unchanged",
                hint="use `nodes.access: ssh`, or `manual`",
            )
        # In the node's root, where its programs, its configuration and its services are.
        files = {"script": script.decode(), "run": runner(script, argument)}
        command = 'exec chroot /host /bin/sh -c "$(cat /airbundle/run)" < /airbundle/script'
        errand = Errand(node, self._images.get(node, ()), command, files, on_node=True, read_only=argument in READING)
        end = run_errand(self._cluster, errand, self._maker, timeout=TIMEOUT, namespace=self._namespace)
        said = (end.text.strip().splitlines() or [end.message or f"exit code {end.code}"])[-1]
        return answer_of(node, end.code or 0, end.text, why=f"its pod could not run the script: {said:.300}")
