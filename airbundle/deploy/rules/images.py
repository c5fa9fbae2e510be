"""Images: what rendering found of them, and those of hooks, which only the nodes' mirrors lead to the registry."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.deploy.facts import SiteFacts
from airbundle.deploy.hooks import unpinned_hooks
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding


def rendering(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield what rendering found: images that the bundle lacks, charts that can't be rendered."""
    del facts
    yield from wanted.findings


def hooks(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield the images of hooks and tests that nodes without mirrors would pull from where the site can't reach."""
    del facts
    for release in wanted.releases:
        yield from unpinned_hooks(release.name, release.hooks, unmirrored=wanted.unmirrored, untried=wanted.untried)
