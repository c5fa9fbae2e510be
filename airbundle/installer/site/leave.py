"""Leaving sites: what an uninstall takes back in their clusters, on nodes, and of what this host keeps of them.

A site is left as a whole, or one bundle leaves it (`bundle_part`). What another site of the same cluster goes on
needing stays (`shared`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from airbundle.deploy.objects import NAMESPACE, parse_key
from airbundle.errors import AirbundleError, Finding, SiteError
from airbundle.installer.journal import Journal
from airbundle.installer.removed import Loss, Removed
from airbundle.installer.site.bundle_part import BundlePart, bundle_part, needed_definitions
from airbundle.installer.site.deployment import HANDED_OVER, DeployedRelease
from airbundle.installer.site.history import UNINSTALLED
from airbundle.installer.site.kept_data import KeptData
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.leave_plan import LeavePlan
from airbundle.installer.site.leaving import KEEP_CLUSTER, Leaving
from airbundle.installer.site.node_undo import NodeUndoing
from airbundle.installer.site.reach_kept import reach_kept
from airbundle.installer.site.release_helm import SiteHelm
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.shared import Share, hand_over, heir_of, share_of
from airbundle.installer.site.site_state import SITES, SiteState
from airbundle.installer.site.undo import Undoing, keep_shared, undo_all
from airbundle.installer.site.undo_order import Action
from airbundle.installer.state import StateDirectory
from airbundle.progress import SILENT, Reporter
from airbundle.transfer.cluster_write import ClusterWriter

_ADMINISTRATORS = "an administrator takes it away: undo.sh of the handoff, after this"


class LeavingSites:
    """Sites on their way out, one after the other.

    Args:
        state: of this host.
        leaving: which, and how.
        reporter: is told of each part as it begins and ends.
    """

    def __init__(self, state: StateDirectory, leaving: Leaving, reporter: Reporter = SILENT) -> None:
        self._state = state
        self._leaving = leaving
        self._reporter = reporter

    def losses(self) -> Iterator[Loss]:
        """Yield what would go and what would stay; clusters are asked, and nothing is changed.

        Raises:
            SiteError, RemoteError: a cluster can't be reached, or is another one (`unchanged`).
        """
        gone: list[str] = []
        handed: dict[str, list[tuple[str, Action]]] = {}
        for site in self._leaving.affected:
            if self._needs_cluster(site):
                with self._reached(site, tidy=False) as cluster:
                    yield from self._plan(site, cluster, gone, handed)
            elif Journal(site.journal).undo():
                yield Loss("releases", "what was made in its cluster and on nodes", "as they are", site.name)
            for each in self._handed_over(site):
                yield Loss("releases", f"release {each.name} (handed over)", _ADMINISTRATORS, site.name)
            if self._leaving.whole(site):
                gone.append(site.name)
                yield Loss("state", str(site.root))

    def _plan(
        self,
        site: SiteState,
        cluster: ClusterWriter,
        gone: Sequence[str],
        handed: dict[str, list[tuple[str, Action]]],
    ) -> Iterator[Loss]:
        made = [*handed.get(site.name, ()), *Journal(site.journal).made()]
        part, share = self._part(site), Share()
        if part is None:
            share = self._share(site, cluster, made, gone)
            if share.heir is not None:
                handed.setdefault(share.heir.name, []).extend(each for each in made if each[1] in share.actions)
        self._check_definitions(site, share)
        actions = [action for _, action in made if part is None or action in part.actions]
        plan = LeavePlan(
            site,
            cluster,
            KeptData(cluster, _spaces(site)),
            self._leaving.delete_data,
            self._leaving.bundle if part is not None else "",
            [(each, share.why) for each in share.actions],
        )
        yield from plan.losses(actions)

    def run(self) -> Removed:
        """Take back what was made at sites, and forget them; the lock of the state is held.

        A site of which something could not be taken back stays known, so that the same command goes on with it.
        """
        done = Removed()
        for site in self._leaving.affected:
            done.kept += [
                f"site {site.name}: release {each.name}, which was handed over; {_ADMINISTRATORS}"
                for each in self._handed_over(site)
            ]
            whole = self._leaving.whole(site)
            left = self._leave(site)
            done.add(left)
            if left.failed:
                continue
            if whole:
                done.attempt(str(site.root), partial(_forget, self._state, site))
            else:
                done.attempt(f"site {site.name}", partial(self._bundle_gone, site))
        return done

    def _leave(self, site: SiteState) -> Removed:
        if not self._needs_cluster(site):
            kept = [f"site {site.name}: its cluster and nodes, as they are"] if Journal(site.journal).undo() else []
            return Removed(kept=kept)
        try:
            with self._reached(site) as cluster:
                return self._take_back(site, cluster)
        except AirbundleError as error:
            findings = [Finding(error.problem, where=f"site {site.name}", hint=error.hint), *error.findings]
            return Removed(failed=findings)

    def _take_back(self, site: SiteState, cluster: ClusterWriter) -> Removed:
        reach, part = self._leaving.reach, self._part(site)
        run = kept_run(self._state, site, cluster, self._reporter, patience=reach.patience)
        share = Share() if part else self._share(site, cluster, Journal(site.journal).made(), ())
        self._check_definitions(site, share)
        bundle = {"bundle": self._leaving.bundle} if part else {}
        run.journal.note("uninstall", info=bundle)
        hand_over(site, share, cluster)
        with SiteHelm(run) as helm:
            work = Undoing(
                site=site,
                cluster=cluster,
                data=KeptData(cluster, _spaces(site)),
                helm=lambda: helm.releases,
                nodes=NodeUndoing(cluster, site, self._reporter),
                delete_data=self._leaving.delete_data,
                reporter=self._reporter,
                chosen=lambda action: action not in share.actions and (part is None or action in part.actions),
                bundle=self._leaving.bundle if part else "",
            )
            for action in share.actions:
                keep_shared(work, action, share.why)
            return undo_all(work)

    def _bundle_gone(self, site: SiteState) -> bool:
        """Record that a bundle's releases are not up any more."""
        bundle = self._leaving.bundle
        for release in site.releases_of(bundle):
            site.drop(release.name)
            Tracks(site, release.name).forget()
        site.note(bundle, **{UNINSTALLED: "yes"})
        return False

    def _needs_cluster(self, site: SiteState) -> bool:
        return not self._leaving.keep_cluster and bool(Journal(site.journal).undo())

    def _part(self, site: SiteState) -> BundlePart | None:
        """Return what goes of a site where one bundle alone does; None where all does."""
        if self._leaving.whole(site):
            return None
        return bundle_part(site.deployments(), Journal(site.journal).read(), self._leaving.bundle)

    def _share(
        self, site: SiteState, cluster: ClusterWriter, made: Sequence[tuple[str, Action]], gone: Sequence[str]
    ) -> Share:
        found = heir_of(self._state, site, {each.name for each in self._leaving.affected}, gone)
        return share_of(site, found.heir, made, cluster.get) if found.heir is not None else found

    def _check_definitions(self, site: SiteState, share: Share) -> None:
        """Refuse to delete definitions that others have objects of: those would go, too.

        Raises:
            SiteError: there are such; lists them.
        """
        if not self._leaving.delete_data:
            return
        whole, bundle = self._leaving.whole(site), self._leaving.bundle
        up = _up(site)
        going = [each for each in up if whole or each.bundle == bundle]
        staying = [(f"bundle {each.bundle}", each) for each in up if each not in going]
        if share.heir is not None:
            staying += [(f"site {share.heir.name}", each) for each in _up(share.heir)]
        findings = list(needed_definitions(going, staying))
        if findings:
            raise SiteError(
                f"site {site.name}: data that others need would go",
                outcome="unchanged",
                findings=findings,
                hint="uninstall those first, or leave out --delete-data",
            )

    @contextmanager
    def _reached(self, site: SiteState, *, tidy: bool = True) -> Iterator[ClusterWriter]:
        try:
            with reach_kept(site, self._leaving.reach, self._reporter, tidy=tidy) as cluster:
                yield cluster
        except AirbundleError as error:
            if not self._leaving.bundle:
                error.hint = f"{error.hint}; {KEEP_CLUSTER}" if error.hint else f"mend that, {KEEP_CLUSTER}"
            error.outcome = error.outcome or "unchanged"
            raise

    def _handed_over(self, site: SiteState) -> Iterator[DeployedRelease]:
        """Yield what an administrator made for a site, and alone can take back."""
        for each in _up(site):
            if each.kind == HANDED_OVER and self._leaving.bundle in ("", each.bundle):
                yield each


def _up(site: SiteState) -> tuple[DeployedRelease, ...]:
    latest = site.latest()
    return latest.releases if latest else ()


def _spaces(site: SiteState) -> set[str]:
    """Return the namespaces that a way back changes: who may not list claims everywhere may do so there."""
    actions = Journal(site.journal).undo()
    objects = {parse_key(each["object"]) for each in actions if "object" in each}
    found = {key.name if key.kind == NAMESPACE else key.namespace for key in objects}
    return (found | {each["helm"].partition("/")[0] for each in actions if "helm" in each}) - {""}


def _forget(state: StateDirectory, site: SiteState) -> bool:
    shutil.rmtree(site.root)
    parent = state.path(SITES)
    if not any(parent.iterdir()):
        parent.rmdir()
    return True
