"""An inventory as sites will have it: every chart and manifest rendered, with each value set and for each site.

What one chart does wrong is a finding; all others are rendered all the same (docs/scan.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from airbundle.builder.kitchen import UNAVAILABLE, Kitchen, Outcome
from airbundle.builder.render_cache import RenderCache
from airbundle.builder.render_follow import Follower
from airbundle.builder.render_helm import HelmJob
from airbundle.builder.render_jobs import Case, cases_of, chart_jobs, misfits, unknown_releases
from airbundle.builder.render_manifests import read_manifests
from airbundle.bundle.lock import Lock
from airbundle.errors import Finding
from airbundle.progress import SILENT, Reporter
from airbundle.scan.model import Rendering
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import InventoryDir
from airbundle.store.site_dir import SiteDir
from airbundle.transfer.registry import RegistryClient

__all__ = ["UNAVAILABLE", "render_inventory"]


def render_inventory(
    opened: InventoryDir,
    client: RegistryClient,
    cache: Cache,
    *,
    lock: Lock | None = None,
    sites: Sequence[SiteDir] = (),
    charts_from: Path | None = None,
    store: RenderCache | None = None,
    reporter: Reporter = SILENT,
) -> tuple[list[Rendering], list[Finding]]:
    """Render everything that an inventory deploys.

    Charts are rendered with their release's values, with each of their variants laid over those, and as each site has
    them. Releases that are switched off are rendered, too: a site may switch them on. A site that has one off gives no
    render of it.

    Args:
        opened: the inventory.
        client: asks upstream for charts that the cache does not have.
        cache: airbundle's; has the lock's charts.
        lock: charts in it are taken as it says.
        sites: their names and values are filled in. Without any, only placeholders are.
        charts_from: a directory of NAME-VERSION.tgz in the place of all repositories.
        store: renders that were made before, with the Secrets in them; None to make all anew and keep none.
        reporter: told what is rendered.

    Returns:
        The renders in the inventory's order, those of objects that deploy charts at the end; and what is wrong.

    Raises:
        HostError: helm is needed and missing.
    """
    with Kitchen(opened, client, cache, lock, charts_from, store, reporter) as kitchen:
        own = opened.inventory.site
        findings = [*unknown_releases(sites, opened.inventory.releases), *misfits(sites, own)]
        cases = cases_of(sites, own)
        outcomes, about_charts = _charts(kitchen, cases)
        manifests, about_manifests = _manifests(opened, cases)
        charts = [rendering for _, rendering, _ in outcomes if rendering is not None]
        follower = Follower(kitchen, {case.setting.variant: case.setting for case in cases})
        followed, about_followed = follower.follow([*charts, *manifests])
    # What an object deploys with values of its own is not deployed with the chart's alone.
    about_charts = [each for each in about_charts if each.where not in follower.used or not _is_of_values(each)]
    charts = [each for job, each, _ in outcomes if each is not None and job.where not in follower.used]
    told = dict.fromkeys([*findings, *about_charts, *about_manifests, *about_followed])
    return _shared([*charts, *manifests, *followed]), sorted(told, key=lambda finding: _order(finding, opened))


def _order(finding: Finding, opened: InventoryDir) -> tuple[object, ...]:
    """Return what sorts findings by their place in the inventory; those of other files come after."""
    start = f"{opened.inventory.where}:"
    if not finding.where.startswith(start):
        return (1,)
    return (0, *(int(number) for number in re.findall(r"\d+", finding.where[len(start) :])[:2]))


def _is_of_values(finding: Finding) -> bool:
    return finding.code.startswith("render-")


def _charts(kitchen: Kitchen, cases: Sequence[Case]) -> tuple[list[Outcome], list[Finding]]:
    charts = kitchen.opened.inventory.charts
    if not charts:
        return [], []
    findings: list[Finding] = []
    jobs: list[HelmJob] = []
    for chart, found in zip(charts, kitchen.find(charts)):
        if isinstance(found, list):
            findings += found
            continue
        wanted, about = chart_jobs(kitchen.opened, chart, found, cases)
        jobs += wanted
        findings += about
    outcomes = kitchen.render(jobs)
    carried = {chart.where for chart in charts if chart.release is None and not chart.variants}
    for outcome in outcomes:
        findings += _softened(outcome, outcomes, carried)
    return outcomes, findings


def _softened(outcome: Outcome, outcomes: Sequence[Outcome], carried: Collection[str]) -> list[Finding]:
    """Return findings of a render; some are no more than warnings.

    That is so for a render without a site where each site's went well, and for a chart that is only carried: with what
    values somebody will deploy it, the inventory does not say.
    """
    job, rendering, findings = outcome
    if job.where in carried:
        return [replace(finding, severity="warning") if _is_of_values(finding) else finding for finding in findings]
    of_sites = [other for other in outcomes if other[0].where == job.where and other[0].variant.startswith("site ")]
    if job.variant or rendering is not None or not of_sites or any(other[1] is None for other in of_sites):
        return findings
    return [replace(finding, severity="warning") for finding in findings]


def _manifests(opened: InventoryDir, cases: Sequence[Case]) -> tuple[list[Rendering], list[Finding]]:
    inventory = opened.inventory
    settings = [case.setting for case in cases]
    wanted = [(manifest.path, manifest.release, manifest.where) for manifest in inventory.manifests]
    wanted += [
        (path, release, release.where) for release in inventory.releases for path in (*release.before, *release.restore)
    ]
    renderings: list[Rendering] = []
    findings: list[Finding] = []
    for path, release, where in wanted:
        made, about = read_manifests(opened, path, release, settings, where=where)
        renderings += made
        findings += about
    return renderings, findings


def _shared(renderings: Sequence[Rendering]) -> list[Rendering]:
    """Return the same renders, those of equal text with one text: who reads them needs to read it once."""
    texts: dict[bytes, bytes] = {}
    return [replace(rendering, output=texts.setdefault(rendering.output, rendering.output)) for rendering in renderings]
