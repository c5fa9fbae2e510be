"""An inventory as sites will have it: every chart and manifest rendered, with each value set and for each site.

What one chart does wrong is a finding; all others are rendered all the same (docs/scan.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Optional

from airbundle.builder.chart_finder import ChartFinder, FoundChart
from airbundle.builder.pool import worker_pool
from airbundle.builder.render_cache import RenderCache
from airbundle.builder.render_helm import HelmJob, HelmRenderer
from airbundle.builder.render_jobs import Case, cases_of, chart_jobs, unknown_releases
from airbundle.builder.render_manifests import read_manifests
from airbundle.builder.sources import SourceResolver
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.lock import Lock
from airbundle.errors import AirbundleError, Finding, HostError
from airbundle.progress import SILENT, Reporter
from airbundle.scan.model import Rendering
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import InventoryDir
from airbundle.store.site_dir import open_site
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.registry import RegistryClient

UNAVAILABLE = "chart-unavailable"
"""Code of findings about charts that can't be had; others are about what charts render to."""
_FETCHERS = 8

Outcome = tuple[HelmJob, Optional[Rendering], list[Finding]]


def render_inventory(
    opened: InventoryDir,
    client: RegistryClient,
    cache: Cache,
    *,
    lock: Lock | None = None,
    sites: Sequence[Path] = (),
    charts_from: Path | None = None,
    no_cache: bool = False,
    reporter: Reporter = SILENT,
) -> tuple[list[Rendering], list[Finding]]:
    """Render everything that an inventory deploys.

    Charts are rendered with their release's values, with each of their variants laid over those, and as each site has
    them. Releases that are switched off are rendered, too: a site may switch them on. A site that has one off gives no
    render of it.

    Args:
        opened: the inventory.
        client: asks upstream for charts that the cache does not have.
        cache: airbundle's; has the lock's charts, and renders that were made before.
        lock: charts in it are taken as it says.
        sites: site files: their names and values are filled in. Without any, only placeholders are.
        charts_from: a directory of NAME-VERSION.tgz in the place of all repositories.
        no_cache: read and keep no renders; rendered Secrets are in them.
        reporter: told what is rendered.

    Returns:
        The renders in the inventory's order, those of objects that deploy charts at the end; and what is wrong.

    Raises:
        UsageError: a site file is none.
        HostError: helm is needed and missing.
    """
    known = [open_site(path) for path in sites]
    store = None if no_cache else RenderCache(cache.root)
    with Kitchen(opened, client, cache, lock, charts_from, store, reporter) as kitchen:
        findings = unknown_releases(known, opened.inventory.releases)
        cases = cases_of(known)
        charts, about_charts = _charts(kitchen, cases)
        manifests, about_manifests = _manifests(opened, cases)
    return _shared([*charts, *manifests]), list(dict.fromkeys([*findings, *about_charts, *about_manifests]))


@dataclass
class Kitchen:
    """What rendering needs: charts, helm, threads. A context manager.

    Helm is looked for when the first chart is; `finder` and `renderer` are made by one thread.
    """

    opened: InventoryDir
    client: RegistryClient
    cache: Cache
    lock: Lock | None = None
    directory: Path | None = None
    store: RenderCache | None = None
    reporter: Reporter = SILENT
    _open: list[HelmHome | SourceResolver] = field(default_factory=list)

    @cached_property
    def _helm(self) -> Helm:
        return Helm.find(side=self.client.http.side, versions=self.store)

    @cached_property
    def _finder(self) -> ChartFinder:
        sources = SourceResolver(self.opened, self.client, self.cache, self.reporter, self._helm)
        self._open.append(sources)
        return ChartFinder(sources, self.lock, self.directory)

    @cached_property
    def _renderer(self) -> HelmRenderer:
        home = HelmHome()
        self._open.append(home)
        return HelmRenderer(self._helm, home, self.opened.inventory.kubernetes, self.store)

    def find(self, requests: Sequence[ChartRequest]) -> list[FoundChart | list[Finding]]:
        """Find charts; one that can't be had is findings.

        Raises:
            HostError: helm is missing.
        """
        finder = self._finder

        def find(request: ChartRequest) -> FoundChart | list[Finding]:
            try:
                return finder.find(request)
            except HostError:
                raise
            except AirbundleError as error:
                if error.findings:
                    return [replace(finding, where=finding.where or request.where) for finding in error.findings]
                message = f"chart {request.name} can't be had: {error.problem}"
                return [Finding(message, request.where, UNAVAILABLE, hint=error.hint)]

        with worker_pool(_FETCHERS, "chart", self.client.close) as pool:
            return list(pool.map(find, requests))

    def render(self, jobs: Sequence[HelmJob]) -> list[Outcome]:
        """Render charts, on all processors. Raises HostError."""
        renderer = self._renderer

        def render(job: HelmJob) -> Outcome:
            with phase.item(job.label, 0):
                return (job, *renderer.render(job))

        with self.reporter.phase("render") as phase, worker_pool(_processors(), "render", self.client.close) as pool:
            return list(pool.map(render, jobs))

    def __enter__(self) -> Kitchen:
        return self

    def __exit__(self, *_: object) -> None:
        for thing in self._open:
            thing.close()


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _charts(kitchen: Kitchen, cases: Sequence[Case]) -> tuple[list[Rendering], list[Finding]]:
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
    for outcome in outcomes:
        findings += _softened(outcome, outcomes)
    return [rendering for _, rendering, _ in outcomes if rendering is not None], findings


def _softened(outcome: Outcome, outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return findings of a render; those of one without a site are warnings where each site's render went well."""
    job, rendering, findings = outcome
    of_sites = [other for other in outcomes if other[0].where == job.where and other[0].variant.startswith("site ")]
    if job.variant or rendering is not None or not of_sites or any(other[1] is None for other in of_sites):
        return findings
    return [replace(finding, severity="warning") for finding in findings]


def _manifests(opened: InventoryDir, cases: Sequence[Case]) -> tuple[list[Rendering], list[Finding]]:
    inventory = opened.inventory
    settings = [case.setting for case in cases]
    wanted = [(manifest.path, manifest.release, manifest.where) for manifest in inventory.manifests]
    wanted += [(path, release, release.where) for release in inventory.releases for path in release.before]
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
