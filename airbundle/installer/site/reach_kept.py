"""Reaching the cluster of a site that was installed before, without its site file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airbundle.deploy.objects import NAMESPACE, ObjectKey
from airbundle.errors import AirbundleError, SiteError
from airbundle.installer.site.errands import sweep_errands
from airbundle.installer.site.site_state import SiteCluster, SiteState
from airbundle.installer.site.step import PATIENCE
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_write import ClusterWriter, open_cluster_writer

_IDENTITY = ObjectKey("v1", NAMESPACE, "", "kube-system")


@dataclass(frozen=True)
class Reach:
    """How clusters are reached.

    Attributes:
        kubeconfig, context: win over those of the install; None and empty for those.
        patience: seconds for which the API may keep failing.
    """

    kubeconfig: Path | None = None
    context: str = ""
    patience: float = PATIENCE


@contextmanager
def reach_kept(
    site: SiteState, reach: Reach, reporter: Reporter = SILENT, *, tidy: bool = True
) -> Iterator[ClusterWriter]:
    """Yield the cluster that a site is, after asking whether it is still the same; what killed runs left there goes.

    Args:
        site: of an earlier install.
        reach: how.
        reporter: gets warnings and long waits.
        tidy: whether what killed runs left is taken away; else the cluster is only read.

    Raises:
        SiteError: nothing was installed there, or the cluster is another one.
        UsageError, HostError: the kubeconfig can't be used.
        RemoteError: the cluster does not answer.
    """
    kept = site.cluster()
    if kept is None:
        raise SiteError(f"site {site.name}: no install has reached its cluster yet", outcome="unchanged")
    path = reach.kubeconfig or (Path(kept.kubeconfig) if kept.kubeconfig else None)
    context = reach.context or kept.context
    with open_cluster_writer(path, context, patience=reach.patience, reporter=reporter) as cluster:
        _check(cluster, site, kept)
        if tidy:
            sweep_errands(cluster, site)
        yield cluster


def _check(cluster: ClusterWriter, site: SiteState, kept: SiteCluster) -> None:
    try:
        body = cluster.get(_IDENTITY)
    except AirbundleError as error:
        error.outcome = error.outcome or "unchanged"
        raise
    metadata = (body or {}).get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    if uid != kept.uid:
        raise SiteError(
            f"cluster {cluster.name} is not that of site {site.name}: kube-system has the uid {uid}, "
            f"the install found {kept.uid}",
            outcome="unchanged",
            hint="name the right one with --kubeconfig or --context",
        )
