"""What of nodes and DNS goes back: set again as the site file said then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.dns_step import DnsStep
from airbundle.installer.site.kept_run import kept_run
from airbundle.installer.site.kept_site import SITE_FILE, keep_site, kept_site
from airbundle.installer.site.nodes_step import NodesStep
from airbundle.installer.site.step import SiteRun, Step

SETTINGS: tuple[str, ...] = (NodesStep.name, DnsStep.name)
"""Names of the steps."""


def settings_steps(run: SiteRun) -> Sequence[Step]:
    """Return the steps; each does nothing where all is as it is to be.

    Args:
        run: of the earlier bundle, and with the site file of that time.
    """
    return [NodesStep(run), DnsStep(run)]


def settled_before(run: SiteRun) -> Deployment | None:
    """Return the deployment whose site file held before a run that failed; None where it said the same.

    Nodes and DNS are one for all bundles of a site: the newest deployment that came to its end counts, whosesoever.

    Args:
        run: the failed one.

    Raises:
        DocumentError, HostError: a record, or a site file, can't be read.
    """
    ended = [each for each in run.site_state.deployments() if each.complete and each.who.get(SITE_FILE)]
    if not ended or ended[-1].who[SITE_FILE] == keep_site(run.site_state, run.site):
        return None
    return ended[-1] if kept_site(run.site_state, ended[-1]) is not None else None


def set_back(run: SiteRun, then: Deployment, names: Iterable[str]) -> list[str]:
    """Set nodes and DNS again as they were before a run that failed.

    Args:
        run: the failed one.
        then: of `settled_before`.
        names: of `SETTINGS`, those that the run may have changed.

    Returns:
        Names of what changed.

    Raises:
        SiteError, RemoteError, HostError: one could not be set.
    """
    back = kept_run(
        run.state,
        run.site_state,
        run.cluster,
        run.reporter,
        trusted=run.trusted,
        deployment=then,
        patience=run.patience,
        ask=run.ask,
    )
    changed = []
    with run.reporter.phase("roll back") as phase:
        for step in settings_steps(back):
            if step.name in names:
                with run.journal.step(step.name):
                    changed += [step.name] if step.run(phase) else []
    return changed
