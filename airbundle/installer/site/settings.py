"""Nodes and DNS, of which one site file holds for the whole site; and what of them goes back, as it said then."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.dns_step import DnsStep
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.kept_site import SITE_FILE, keep_site, kept_site, site_kept_as
from airbundle.installer.site.nodes_step import NodesStep
from airbundle.installer.site.settled import begin, commit, settled
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.site.step import Change, SiteRun, Step
from airbundle.progress import Phase

SETTINGS: tuple[str, ...] = (NodesStep.name, DnsStep.name)
"""Names of the steps."""
_KEEPING = Lock()
"""Both steps run at the same time, and keep the same file."""


class SettingsStep:
    """A step of nodes or DNS, and which site file it sets: noted before, so that a run that fails knows what held.

    Args:
        run: whose state it is.
        step: does it.
        site_file: digest of the site file, where it is one that was kept; else it is kept now.
    """

    def __init__(self, run: SiteRun, step: Step, site_file: str = "") -> None:
        self._run = run
        self._step = step
        self._site_file = site_file

    @property
    def name(self) -> str:
        """As the step's."""
        return self._step.name

    @property
    def needs(self) -> tuple[str, ...]:
        """As the step's."""
        return self._step.needs

    def plan(self) -> Sequence[Change]:
        """Return what would change."""
        return self._step.plan()

    def run(self, phase: Phase) -> bool:
        """Do it. That it holds from now on is for the run to say, when all of it has come to its end."""
        state = self._run.site_state
        with _KEEPING:
            site_file = self._site_file or keep_site(state, self._run.site)
        begin(state, self.name, site_file)
        return self._step.run(phase)


def settings_steps(run: SiteRun, site_file: str = "") -> Sequence[Step]:
    """Return the steps; each does nothing where all is as it is to be.

    Args:
        run: with the site file.
        site_file: its digest, where it is one that was kept.
    """
    return [SettingsStep(run, step, site_file) for step in (NodesStep(run), DnsStep(run))]


def other_settings(state: SiteState, then: Deployment) -> tuple[str, ...]:
    """Return the steps that would have to be run to have nodes and DNS as a deployment's site file said.

    Raises:
        DocumentError: a record, or the site file, does not parse.
    """
    if kept_site(state, then) is None:
        return ()  # as of a version that kept none: nobody knows what it said
    held = {name: settled(state, name) for name in SETTINGS}
    return tuple(name for name, now in held.items() if now.site and not now.is_at(str(then.who[SITE_FILE])))


def set_settings(run: SiteRun, phase: Phase, site_file: str, names: Sequence[str]) -> list[str]:
    """Set nodes and DNS as a site file says that was kept, and note that this holds; return which of them changed.

    Args:
        run: with that site file.
        phase: is told of it.
        site_file: its digest.
        names: of `SETTINGS`, which.

    Raises:
        SiteError, RemoteError, HostError: one could not be set.
    """
    changed = []
    for step in settings_steps(run, site_file):
        if step.name in names:
            with run.journal.step(step.name):
                changed += [step.name] if step.run(phase) else []
            commit(run.site_state, step.name)
    return changed


def set_back(run: SiteRun, names: Sequence[str]) -> list[str]:
    """Set nodes and DNS again as the site file said that held before a run that failed began to set another.

    Where the two files mean the same there is nothing to do, and nothing is looked at that may be what failed.

    Args:
        run: the failed one.
        names: of `SETTINGS`, the steps that it has begun.

    Returns:
        Names of what changed.

    Raises:
        SiteError, RemoteError, HostError: one could not be set.
        DocumentError: a record, or a site file, can't be read.
    """
    changed = []
    for name in names:
        digest = settled(run.site_state, name).undone
        site = site_kept_as(run.site_state, digest)
        if site is None:
            continue
        back = kept_run(
            run.state,
            run.site_state,
            run.cluster,
            run.reporter,
            trusted=run.trusted,
            site_dir=site,
            patience=run.patience,
            ask=run.ask,
        )
        (step,) = (each for each in settings_steps(back, digest) if each.name == name)
        if not step.plan():
            begin(run.site_state, name, digest)
            commit(run.site_state, name)
            continue
        with run.reporter.phase("roll back") as phase:
            changed += set_settings(back, phase, digest, [name])
    return changed


def commit_settings(state: SiteState, names: Sequence[str]) -> None:
    """Note that a run has come to its end: what its steps of nodes and DNS have set holds from now on."""
    for name in SETTINGS:
        if name in names:
            commit(state, name)
