"""A node's container runtime, restarted without harm: cordoned, restarted, waited for, uncordoned.

That the node is cordoned by us is known to the cluster itself (the field's manager): a run that was killed between is
made good by the next one, and a node that somebody else cordoned stays so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airbundle.deploy.nodes import ClusterNode, node_of
from airbundle.deploy.objects import ObjectKey
from airbundle.errors import RemoteError, SiteError
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.cluster_write import MANAGER
from airbundle.transfer.node_access import NodeAccess

READY_TIME = 300.0
"""Seconds in which a node must be Ready again."""
_POLL = 0.5


def restart_runtime(run: SiteRun, node: ClusterNode, access: NodeAccess, script: bytes) -> None:
    """Restart a node's runtime by its script.

    Raises:
        SiteError: it did not restart, or the node is not Ready in time; it then stays cordoned, if we did that.
        NoPermission, Unauthorized, RemoteError: it can't be done.
    """
    ours = _cordon(run, node.name)
    answer = access.run(node.name, script, "restart")
    if answer.code:
        last = (answer.text.strip().splitlines() or ["nothing was said"])[-1]
        raise SiteError(f"{last!r:.300}", hint="restart it by hand, then run this again")
    _wait_ready(run, node.name)
    if ours:
        _uncordon(run, node.name)
    run.reporter.event(f"{node.name}: its runtime was restarted")


def release_cordon(run: SiteRun, node: str) -> None:
    """Uncordon a node that an earlier run cordoned and, being killed, left so."""
    if _is_ours(run.cluster.get(_key(node)) or {}):
        _uncordon(run, node)


def _cordon(run: SiteRun, node: str) -> bool:
    """Cordon a node; return whether that is ours to take back."""
    body = run.cluster.get(_key(node))
    if body is None:
        raise SiteError("it is not in the cluster any more")
    if node_of(body).unschedulable:
        return _is_ours(body)
    run.cluster.apply({**_identity(node), "spec": {"unschedulable": True}}, force=True)
    return True


def _uncordon(run: SiteRun, node: str) -> None:
    # A field that its manager no longer applies goes.
    run.cluster.apply(_identity(node))


def _wait_ready(run: SiteRun, node: str) -> None:
    """Wait until a node is Ready, by word of a kubelet that is alive after the restart."""
    before, end = _renewed(run, node), time.monotonic() + READY_TIME
    while True:
        try:
            renewed = _renewed(run, node)
            alive = renewed != before or not before
            if alive and node_of(run.cluster.get(_key(node)) or {"metadata": {"name": node}}).ready:
                return
        except RemoteError:  # the API server may be on this very node
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise SiteError(
                f"it is not Ready {READY_TIME:.0f} s after the restart",
                hint=f"see the kubelet's log there; when it is Ready: kubectl uncordon {node}",
            )
        time.sleep(_POLL)


def _renewed(run: SiteRun, node: str) -> str:
    lease = run.cluster.get(ObjectKey("coordination.k8s.io/v1", "Lease", "kube-node-lease", node)) or {}
    spec = lease.get("spec")
    return str(spec.get("renewTime") or "") if isinstance(spec, dict) else ""


def _is_ours(body: Mapping[str, Any]) -> bool:
    metadata = body.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("manager") == MANAGER:
            fields = entry.get("fieldsV1")
            spec = fields.get("f:spec") if isinstance(fields, dict) else None
            if isinstance(spec, dict) and "f:unschedulable" in spec:
                return True
    return False


def _key(node: str) -> ObjectKey:
    return ObjectKey("v1", "Node", "", node)


def _identity(node: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
