"""The declared checks of what is deployed, looked at once."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import chosen_release
from airbundle.installer.served import open_kept
from airbundle.installer.site.check_run import Desk, check_findings
from airbundle.installer.site.deployment import Deployment
from airbundle.installer.site.step import SiteRun


def declared_findings(run: SiteRun, deployment: Deployment) -> Iterator[Finding]:
    """Yield what checks of a deployment's releases do not hold now.

    Args:
        run: the site.
        deployment: what is up.

    Raises:
        SiteError, VerificationError: the deployed bundle's copy, which has the checks, can't be read.
    """
    with open_kept(run.state, deployment.statement) as trusted:
        carried = carried_releases(trusted.bundle)
        desk = Desk.of(run, trusted.bundle)
    for each in carried:
        record = deployment.release(each.release.name)
        if record is not None:
            yield from check_findings(desk, chosen_release(each.release, run.site), record.namespace, wait=False)
