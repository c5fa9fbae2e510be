"""Reaching a site's cluster, and being sure that it is the right one."""

from __future__ import annotations

from airbundle.deploy.objects import NAMESPACE, ObjectKey
from airbundle.errors import SiteError, Unauthorized
from airbundle.installer.site.order import Order
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.progress import Reporter
from airbundle.transfer.cluster_write import ClusterWriter, open_cluster_writer

_IDENTITY = ObjectKey("v1", NAMESPACE, "", "kube-system")


def reach_cluster(order: Order, reporter: Reporter) -> ClusterWriter:
    """Return the site's cluster; nothing is sent yet. It is a context manager.

    Raises:
        UsageError, HostError: the kubeconfig can't be used.
    """
    kubeconfig, context = order.reach()
    return open_cluster_writer(kubeconfig, context, patience=order.patience, reporter=reporter)


def identify(cluster: ClusterWriter, order: Order, site_state: SiteState) -> SiteCluster:
    """Return which cluster this is, and refuse another than the site's.

    The uid is empty where this user may not read it, and nothing but the registry is asked for.

    Raises:
        SiteError: its kube-system has another uid than the site file says, or than an earlier install found.
        Unauthorized: this user may not read it.
        RemoteError: it does not answer.
    """
    kept = site_state.cluster()
    try:
        body = cluster.get(_IDENTITY)
    except Unauthorized as error:
        if not error.forbidden:
            raise
        if not order.at_cluster:
            return kept or SiteCluster("")  # the registry needs nothing of the cluster
        raise Unauthorized(
            f"cluster {cluster.name}: its namespace kube-system can't be read, which tells one cluster from another",
            side="site",
            status=error.status,
            hint="ask for a role that may get it; what `install --handoff DIR` writes has one",
        ) from None
    uid = str((body or {}).get("metadata", {}).get("uid") or "")
    if not uid:
        raise SiteError(f"cluster {cluster.name}: its namespace kube-system has no uid", outcome="unchanged")
    said = {f"{order.site.site.where} (cluster.uid)": order.site.site.cluster.uid}
    said["an earlier install of this site"] = kept.uid if kept else ""
    for where, expected in said.items():
        if expected and expected != uid:
            raise SiteError(
                f"cluster {cluster.name} is not the site's: kube-system has the uid {uid}, {where} says {expected}",
                outcome="unchanged",
                hint="name the right one with --kubeconfig or --context; for another cluster use another site name",
            )
    kubeconfig, context = order.reach()
    return SiteCluster(uid, context, str(kubeconfig.absolute()) if kubeconfig else "")
