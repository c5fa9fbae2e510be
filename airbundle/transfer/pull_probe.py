"""What nodes pull, found out without access to them: a pod without rights, from a name that is to be pulled."""

from __future__ import annotations

from typing import Any

from airbundle.deploy.objects import ObjectKey
from airbundle.errors import RemoteError, SiteError
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.pods import NAMESPACE, Maker, made, random_name, wait_end


class PullProbe:
    """Finds out what a node pulls, by pods without rights.

    Args:
        cluster: its API.
        maker: of the pods.
        namespace: of the pods.
    """

    def __init__(self, cluster: ClusterWriter, maker: Maker, *, namespace: str = NAMESPACE) -> None:
        self._cluster = cluster
        self._maker = maker
        self._namespace = namespace

    def problem(self, node: str, image: str, *, timeout: float = 300.0) -> str:
        """Return why a node can't pull an image; empty when it can.

        Args:
            node: its name; empty for whichever the cluster picks.
            image: as it is to be pulled.
            timeout: seconds that the pull may take.

        Raises:
            SiteError: no pod runs there, or the pull does not end in time.
        """
        body = self._pod(node, image)
        try:
            with made(self._cluster, [body], self._maker):
                key = ObjectKey("v1", "Pod", self._namespace, body["metadata"]["name"])
                end = wait_end(self._cluster, key, timeout)
        except RemoteError as error:
            raise SiteError(error.problem, outcome="unchanged", hint=error.hint) from None
        return (
            "" if end.pulled or end.code is not None or end.reason == "StartError" else f"{end.reason}: {end.message}"
        )

    def _pod(self, node: str, image: str) -> dict[str, Any]:
        container = {
            "name": "probe",
            "image": image,
            "imagePullPolicy": "Always",  # asks the registry also where the node has it
            # The pull is all that is asked for: there is no such program, in whatever image.
            "command": ["/airbundle-pulls-and-no-more"],
            "securityContext": _NO_RIGHTS,
        }
        spec = {
            **({"nodeName": node} if node else {}),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        }
        metadata = {"name": random_name("airbundle-probe"), "namespace": self._namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


_NO_RIGHTS = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
