"""Whether nodes that airbundle did not set up itself pull what hooks run: an administrator may have set them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from airbundle.deploy.wanted import Wanted
from airbundle.errors import AirbundleError
from airbundle.installer.journal import Journal
from airbundle.installer.site.errands import maker_at, sweep_errands
from airbundle.installer.site.site_state import SiteState
from airbundle.transfer.cluster_write import ClusterWriter
from airbundle.transfer.pull_probe import PullProbe

_PATIENCE = 60.0
_MOST = 5


class SiteLike(Protocol):
    """What is asked, and where it is noted."""

    @property
    def site_state(self) -> SiteState:
        """What this host keeps of the site."""

    @property
    def cluster(self) -> ClusterWriter:
        """Its API."""


def pull_problem(run: SiteLike, wanted: Wanted) -> str:
    """Return why hooks' images can't be pulled by the names that they have; empty where they can.

    For each upstream a pod without rights, in a namespace of a release with such a hook, is all that it takes: the
    operator may make pods there, or may not deploy the release either. The cluster picks the node. Namespaces that this
    run makes are left out (`untried`).

    Args:
        run: the site.
        wanted: what would be deployed; `there` says which of its namespaces are.
    """
    for namespace, image in _asked(wanted):
        sweep_errands(run.cluster, run.site_state, namespace)
        maker = maker_at(run.site_state, Journal(run.site_state.journal))
        probe = PullProbe(run.cluster, maker, namespace=namespace)
        try:
            problem = probe.problem("", image, timeout=_PATIENCE)
        except AirbundleError as error:
            problem = error.problem
        if problem:
            return f"{image}: {problem}"
    return ""


def untried(wanted: Wanted, *, loaded: bool) -> str:
    """Return why it can't be found out yet whether hooks' images are pulled; empty where it can, or nobody runs any.

    Args:
        wanted: what would be deployed.
        loaded: whether the registry has this bundle's images already.
    """
    namespaces = {release.namespace for release in wanted.releases if release.hooks}
    if namespaces and not loaded:
        return "the registry does not have this bundle yet"
    if namespaces and not namespaces & wanted.there:
        return f"there is no namespace {', '.join(sorted(namespaces))} yet for a pod that tries it"
    return ""


def _asked(wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Yield namespace and image, one of each upstream."""
    images = {
        each.image.registry: (release.namespace, each.written)
        for release in wanted.releases
        for each in release.hooks
        if release.namespace in wanted.there
    }
    yield from list(images.values())[:_MOST]
