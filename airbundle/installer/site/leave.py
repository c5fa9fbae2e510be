"""Leaving sites: what an uninstall takes back in their clusters, on nodes, and of what this host keeps of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from airbundle.deploy.objects import NAMESPACE, parse_key
from airbundle.errors import AirbundleError, Finding
from airbundle.installer.journal import Journal
from airbundle.installer.removed import Removed
from airbundle.installer.site.deployment import HANDED_OVER
from airbundle.installer.site.kept_data import KeptData, made_claims
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.node_undo import NodeUndoing
from airbundle.installer.site.reach_kept import Reach, reach_kept
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.site_state import SITES, SiteState, sites_of
from airbundle.installer.site.undo import Undoing, undo_all
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_write import ClusterWriter

_ADMINISTRATORS = "an administrator takes it away: undo.sh of the handoff, after this"
KEEP_CLUSTER = "or leave the cluster as it is: --keep-cluster"


@dataclass(frozen=True)
class Leaving:
    """How sites are left.

    Attributes:
        sites: those that are.
        reach: how their clusters are reached.
        delete_data: whether what holds data goes, too.
        keep_cluster: leave clusters and nodes as they are.
    """

    sites: Sequence[SiteState]
    reach: Reach = field(default_factory=Reach)
    delete_data: bool = False
    keep_cluster: bool = False


def what_sites_lose(leaving: Leaving, reporter: Reporter = SILENT) -> Iterator[str]:
    """Yield what is taken back at each site, one line each; clusters are asked, and nothing is changed.

    Raises:
        SiteError, RemoteError: a cluster can't be reached, or is another one (`unchanged`).
    """
    for site in leaving.sites:
        if _needs_cluster(site, leaving):
            try:
                with reach_kept(site, leaving.reach, reporter) as cluster:
                    yield from (f"site {site.name}: {line}" for line in _goes(site, cluster, leaving))
            except AirbundleError as error:
                error.hint = f"{error.hint}; {KEEP_CLUSTER}" if error.hint else f"mend that, {KEEP_CLUSTER}"
                error.outcome = error.outcome or "unchanged"
                raise
        elif _undo(site):
            yield f"site {site.name}: what is known of it here; its cluster and nodes stay as they are"
        yield from (f"not taken away: {line}" for line in _handed_over(site))
        yield str(site.root)


def leave_sites(state: StateDirectory, leaving: Leaving, reporter: Reporter) -> Removed:
    """Take back what was made at sites, and forget them; the lock of the state is held.

    A site of which something could not be taken back stays known, so that the same command goes on with it.
    """
    done = Removed()
    for site in leaving.sites:
        done.kept += _handed_over(site)
        left = _leave(state, site, leaving, reporter)
        done.add(left)
        if not left.failed:
            done.attempt(str(site.root), partial(_forget, state, site))
    return done


def others_left(state: StateDirectory, leaving: Leaving) -> list[str]:
    """Return the names of sites of this host that are not left: they go on needing the registry."""
    leaves = {site.name for site in leaving.sites}
    return [site.name for site in sites_of(state) if site.name not in leaves]


def _leave(state: StateDirectory, site: SiteState, leaving: Leaving, reporter: Reporter) -> Removed:
    if not _needs_cluster(site, leaving):
        kept = [f"site {site.name}: its cluster and nodes, as they are"] if _undo(site) else []
        return Removed(kept=kept)
    try:
        with reach_kept(site, leaving.reach, reporter) as cluster:
            return _take_back(state, site, cluster, leaving, reporter)
    except AirbundleError as error:
        hint = f"{error.hint}; {KEEP_CLUSTER}" if error.hint else f"mend that, {KEEP_CLUSTER}"
        return Removed(failed=[Finding(error.problem, where=f"site {site.name}", hint=hint)])


def _take_back(
    state: StateDirectory, site: SiteState, cluster: ClusterWriter, leaving: Leaving, reporter: Reporter
) -> Removed:
    run = kept_run(state, site, cluster, reporter, patience=leaving.reach.patience)
    run.journal.note("uninstall")
    with SiteHelm(run) as helm:
        work = Undoing(
            site=site,
            cluster=cluster,
            data=KeptData(cluster, _spaces(site)),
            helm=lambda: helm.releases,
            nodes=NodeUndoing(cluster, site, reporter),
            delete_data=leaving.delete_data,
        )
        return undo_all(work)


def _needs_cluster(site: SiteState, leaving: Leaving) -> bool:
    return not leaving.keep_cluster and bool(_undo(site))


def _undo(site: SiteState) -> list[Mapping[str, str]]:
    return Journal(site.journal).undo()


def _spaces(site: SiteState) -> set[str]:
    """Return the namespaces that a way back changes: who may not list claims everywhere may do so there."""
    actions = _undo(site)
    objects = {parse_key(each["object"]) for each in actions if "object" in each}
    found = {key.name if key.kind == NAMESPACE else key.namespace for key in objects}
    return (found | {each["helm"].partition("/")[0] for each in actions if "helm" in each}) - {""}


def _handed_over(site: SiteState) -> Iterator[str]:
    """Yield what an administrator made for a site, and alone can take back."""
    latest = site.latest()
    for name in (each.name for each in (latest.releases if latest else ()) if each.kind == HANDED_OVER):
        yield f"site {site.name}: release {name}, which was handed over; {_ADMINISTRATORS}"


def _forget(state: StateDirectory, site: SiteState) -> bool:
    shutil.rmtree(site.root)
    parent = state.path(SITES)
    if not any(parent.iterdir()):
        parent.rmdir()
    return True


def _goes(site: SiteState, cluster: ClusterWriter, leaving: Leaving) -> Iterator[str]:
    """Yield what would be taken back, and what holds data: that it stays, or that it goes."""
    data = KeptData(cluster, _spaces(site))
    spaces = []
    for action in _undo(site):
        if "object" in action:
            key = parse_key(action["object"])
            live = cluster.get(key)
            if live is None:
                continue
            why = "" if leaving.delete_data else data.why(key, live)
            yield f"{key.title} stays: {why}" if why else key.title
            spaces += [key.name] if key.kind == NAMESPACE else []
        elif "helm" in action:
            yield f"release {action['helm']}"
        elif "restore" in action:
            yield f"{parse_key(action['restore']).title}: as it was before"
        elif "node" in action:
            yield f"what node {action['node']} was given"
        elif "file" in action:
            yield action["file"]
    yield from _volumes(site, cluster, data, spaces, delete_data=leaving.delete_data)


def _volumes(
    site: SiteState, cluster: ClusterWriter, data: KeptData, spaces: Sequence[str], *, delete_data: bool
) -> Iterator[str]:
    claims = {f"{key.namespace}/{key.name}" for key in made_claims(site, cluster)}
    claims.update(title for space in spaces for title in data.claims(space))
    for title in sorted(claims):
        yield f"the data in volume claim {title}" if delete_data else f"volume claim {title} stays, with its data"
