"""What rendering needs: where charts are had, helm, and threads."""

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
from airbundle.builder.sources import SourceResolver
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.lock import Lock
from airbundle.errors import AirbundleError, Finding, HostError
from airbundle.progress import SILENT, Reporter
from airbundle.scan.model import Rendering
from airbundle.store.cache import Cache
from airbundle.store.inventory_dir import InventoryDir
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.registry import RegistryClient

UNAVAILABLE = "chart-unavailable"
"""Code of findings about charts that can't be had; others are about what charts render to."""
_FETCHERS = 8

Outcome = tuple[HelmJob, Optional[Rendering], list[Finding]]


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

    def version_of(self, request: ChartRequest) -> str:
        """Return the version of a chart that the lock has for it; without one, that which is asked for."""
        return self._finder.version_of(request)

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
