"""`airbundle install --site`: from a bare cluster to a running, trusted, checked system (design §7).

Everything is looked at before anything changes: the bundle's signature, the host, the cluster, what the releases would
be there. Then the registry comes up as in a plain install, and the steps at the cluster follow, each after those that
it needs. A run that was cut off goes on; a run with nothing to do says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from airbundle.bundle.digest import sha256
from airbundle.installer.install import install_checked
from airbundle.installer.places import registry_place
from airbundle.installer.report import Report
from airbundle.installer.server_up import start_locked
from airbundle.installer.site.as_planned import locked_as_planned
from airbundle.installer.site.assembly import site_steps
from airbundle.installer.site.deployment import DeployedRelease, Deployment
from airbundle.installer.site.history import history_of
from airbundle.installer.site.kept_site import SITE_FILE, keep_site
from airbundle.installer.site.look import Asked, Looked, look_around
from airbundle.installer.site.order import REGISTRY, Order
from airbundle.installer.site.release_remove import remove_release
from airbundle.installer.site.release_works import OfRelease
from airbundle.installer.site.report import SitePlan, SiteReport
from airbundle.installer.site.rollback_failed import roll_back_failed
from airbundle.installer.site.runner import plan_steps, run_steps
from airbundle.installer.site.secrets_step import SecretsStep
from airbundle.installer.site.settings import SETTINGS, commit_settings
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import Change, SiteRun, Step
from airbundle.installer.site.who import who_runs
from airbundle.installer.steps import outcome
from airbundle.progress import Reporter


def plan_site(asked: Asked, reporter: Reporter) -> SitePlan:
    """Return what an install would do (`install --dry-run`); changes nothing.

    Raises:
        VerificationError, CheckFailed, NoSpace, NoPermission, SiteError: something stands in the way.
    """
    with outcome("unchanged"), _prepared(asked, reporter) as prepared:
        return prepared.plan()


def install_site(asked: Asked, reporter: Reporter, *, review: Callable[[SitePlan], None] | None = None) -> SiteReport:
    """Install a bundle and bring up what it carries.

    Args:
        asked: what is asked for.
        reporter: gets progress.
        review: is given the plan before anything changes, and refuses it by raising.

    Raises:
        VerificationError, CheckFailed, NoSpace, NoPermission: before anything changed (`unchanged`).
        Busy: another run is under way.
        SiteError: a step failed; its `outcome` is `rolled-back` or `partial`, and the same command goes on from there.
            Or another run has changed the site since it was looked at (`unchanged`).
    """
    with outcome("unchanged"):
        asked.state.check_free()
        site = SiteState(asked.state, asked.order.name)
        planned = site.deployments()
        with _prepared(asked, reporter) as prepared:
            if review is not None:
                review(prepared.plan())
            command = f"airbundle install --site {site.name}"
            with locked_as_planned(asked.state, site, planned, command), outcome("partial"):
                return _Bring(prepared, reporter).run()


@dataclass(frozen=True)
class _Prepared:
    """An install before its first change: nothing stands in its way."""

    looked: Looked
    order: Order
    steps: Sequence[Step]

    @property
    def run(self) -> SiteRun:
        """What the steps share."""
        return self.looked.run

    @property
    def statement(self) -> str:
        """Digest of the bundle's statement, which binds all its bytes."""
        return sha256(self.run.trusted.bundle.statement_raw)

    def gone(self) -> tuple[str, ...]:
        """Return the releases that earlier versions of this bundle have up and that it no longer has."""
        if "releases" not in self.order.phases:
            return ()
        wanted = {each.release.name for each in self.looked.rendered.releases}
        up = self.run.site_state.releases_of(self.run.trusted.statement.name)
        return tuple(each.name for each in up if each.name not in wanted)

    def plan(self) -> SitePlan:
        """Return what would change."""
        host = self._host_changes() if REGISTRY in self.order.phases else []
        return SitePlan(
            title=self.run.trusted.title,
            statement=self.statement,
            site=self.order.name,
            cluster=f"{self.run.cluster.name}, {self.looked.identity.uid}",
            steps={REGISTRY: host, **plan_steps(self.steps)},
            gone=self.gone(),
            warnings=tuple(self.looked.findings),
        )

    def _host_changes(self) -> list[Change]:
        installed = self.run.state.read()
        if installed.bundles and installed.bundles[0].statement == self.statement:
            return []
        url = registry_place(self.run.state, self.run.options).url
        return [Change(f"{self.run.trusted.title} into {url}", "create" if not installed.mode else "change")]


@contextmanager
def _prepared(asked: Asked, reporter: Reporter) -> Iterator[_Prepared]:
    """Look at everything, and refuse what stands in the way, all at once."""
    with look_around(asked, reporter) as looked:
        looked.refuse(reporter)
        with site_steps(looked.run, looked.wanted, asked.order.phases, looked.early) as steps:
            yield _Prepared(looked, asked.order, steps)


def _secrets(steps: Sequence[Step]) -> list[SecretsStep]:
    return [step for step in steps if isinstance(step, SecretsStep)]


class _Bring:
    """One run over the steps. The lock is held."""

    def __init__(self, prepared: _Prepared, reporter: Reporter) -> None:
        self._prepared = prepared
        self._run = prepared.run
        self._state = prepared.run.site_state
        self._reporter = reporter

    def run(self) -> SiteReport:
        """Bring up the registry, then what is asked for at the cluster."""
        for step in _secrets(self._prepared.steps):
            step.gather()
        self._state.make()
        if self._prepared.looked.identity.uid:
            self._state.write_cluster(self._prepared.looked.identity)
        host = self._host()
        before, others = self._last_complete(), self._of_others()
        if "releases" in self._prepared.order.phases:
            self._begin()
        ran = run_steps(self._prepared.steps, self._run.journal, self._reporter)
        if ran.failed:
            roll_back_failed(self._run, ran.failed, ran.changed, before, others)
        commit_settings(self._state, self._prepared.order.phases)
        removed = self._remove()
        if "releases" in self._prepared.order.phases:
            self._state.finish(self._bundle)
            if set(SETTINGS) <= set(self._prepared.order.phases):
                # A run that only changed settings begins no deployment: what is up is up with them now.
                self._state.note(self._bundle, **{SITE_FILE: keep_site(self._state, self._run.site)})
        return SiteReport(
            title=self._run.trusted.title,
            site=self._state.name,
            host=host,
            steps=ran.changed,
            deployment=next(reversed(self._own()), None),
            removed=removed,
            phases=self._prepared.order.phases,
        )

    def _host(self) -> Report | None:
        if REGISTRY not in self._prepared.order.phases:
            start_locked(self._run.state, self._reporter)  # what follows has nodes pull from it
            return None
        return install_checked(self._prepared.looked.checked, self._reporter)

    @property
    def _bundle(self) -> str:
        return self._run.trusted.statement.name

    def _own(self) -> list[Deployment]:
        return history_of(self._state.deployments(), self._bundle)

    def _last_complete(self) -> Deployment | None:
        return next((each for each in reversed(self._own()) if each.complete), None)

    def _of_others(self) -> tuple[DeployedRelease, ...]:
        latest = self._state.latest()
        return tuple(each for each in latest.releases if each.bundle != self._bundle) if latest else ()

    def _begin(self) -> None:
        """Begin a deployment, or go on with the one that was cut off; what is up stays recorded as such."""
        latest, own = self._state.latest(), next(reversed(self._own()), None)
        if own is not None and latest is not None and own.statement == self._prepared.statement:
            cut_off = own.number == latest.number and not own.complete
            if cut_off or not self._will_change():
                return
        statement = self._run.trusted.statement
        self._state.write(
            Deployment(
                number=latest.number + 1 if latest else 1,
                name=statement.name,
                version=statement.version,
                serial=statement.serial,
                statement=self._prepared.statement,
                time=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                who={**who_runs(self._run.trusted), SITE_FILE: keep_site(self._state, self._run.site)},
                releases=latest.releases if latest else (),
            )
        )

    def _will_change(self) -> bool:
        releases = (step for step in self._prepared.steps if isinstance(step, OfRelease))
        return bool(self._prepared.gone()) or any(step.deploys() for step in releases)

    def _remove(self) -> tuple[str, ...]:
        """Take away releases that the bundle no longer has, those that the operator agrees to; data stays."""
        removed = []
        for name in self._prepared.gone():
            latest = self._state.latest()
            release = latest.release(name) if latest else None
            if release is not None and self._run.ask(f"The release {name} is not in this bundle any more. Remove it?"):
                remove_release(self._run, release)
                self._state.drop(name)
                removed.append(name)
            else:
                self._reporter.warn(f"release {name}: is not in this bundle any more, and goes on running")
        return tuple(removed)
