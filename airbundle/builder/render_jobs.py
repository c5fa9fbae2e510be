"""Which renders an inventory asks for: each release with its own values, each variant, and each site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airbundle.builder.chart_finder import FoundChart
from airbundle.builder.render_helm import HelmJob
from airbundle.builder.render_manifests import Setting
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.own_names import OwnName, names_at, own_name_findings, samples
from airbundle.bundle.release import Release
from airbundle.bundle.values_file import VALUES_LIMIT, ValuesFile, read_values
from airbundle.errors import AirbundleError, Finding, Interrupted
from airbundle.store.host import read_bounded
from airbundle.store.inventory_dir import InventoryDir
from airbundle.store.site_dir import SiteDir


@dataclass(frozen=True)
class Case:
    """One way in which releases are rendered: as the inventory has them (no site), or as a site has them."""

    setting: Setting
    site: SiteDir | None = None


def cases_of(sites: Sequence[SiteDir], own: Sequence[OwnName]) -> list[Case]:
    """Return the inventory's own case, with placeholders and samples of its `own` names, and one for each site."""
    at_sites = (Case(Setting(f"site {site.site.name}", names_at(site.site, own)), site) for site in sites)
    return [Case(Setting("", samples(own))), *at_sites]


def chart_jobs(
    opened: InventoryDir, chart: ChartRequest, found: FoundChart, cases: Sequence[Case]
) -> tuple[list[HelmJob], list[Finding]]:
    """Return the renders of a chart: its own, its variants, and those of the sites that have it on.

    Args:
        opened: the inventory, whose values files are read.
        chart: what is asked for.
        found: the chart itself.
        cases: see `cases_of`.

    Returns:
        The jobs, and findings about values files; a job whose values can't be read is left out.
    """
    jobs: list[HelmJob] = []
    findings: list[Finding] = []
    release = chart.release or Release(chart.name)
    for case in cases:
        if not _is_on(release, case.site):
            continue
        further = chart.variants if case.site is None else {}
        for variant, paths in [("", ()), *further.items()]:
            try:
                values = _values(opened, release, paths, case, chart.where)
            except Interrupted:
                raise
            except AirbundleError as error:
                findings += error.findings or [Finding(error.problem, chart.where, "values-file", hint=error.hint)]
                continue
            findings += [finding for file in values for finding in file.findings]
            namespace = _namespace(release, case.site)
            label = variant or case.setting.variant
            jobs.append(HelmJob(found, chart.name, release.name, namespace, values, label, where=chart.where))
    return jobs, findings


def _is_on(release: Release, site: SiteDir | None) -> bool:
    if site is None:
        return True
    choice = site.site.releases.get(release.name)
    return release.enabled if choice is None or choice.enabled is None else choice.enabled


def _namespace(release: Release, site: SiteDir | None) -> str:
    choice = site.site.releases.get(release.name) if site else None
    return choice.namespace if choice and choice.namespace else release.namespace


def _values(
    opened: InventoryDir, release: Release, further: Sequence[str], case: Case, where: str
) -> tuple[ValuesFile, ...]:
    paths = [*release.values, *further]
    raw = [(path, read_bounded(opened.file(path, where=where), VALUES_LIMIT)) for path in paths]
    if case.site is not None:
        raw += case.site.read_values(release.name, VALUES_LIMIT)
    return tuple(read_values(data, case.setting.names, path) for path, data in raw)


def unknown_releases(sites: Sequence[SiteDir], releases: Sequence[Release]) -> list[Finding]:
    """Return a warning for each release that a site file names and the inventory does not have."""
    there = {release.name for release in releases}
    return [
        Finding(
            f"the site says something of the release {name!r}, which the inventory does not have",
            site.site.where,
            "site-release",
            expected=f"one of {', '.join(sorted(there))}" if there else "",
            severity="warning",
        )
        for site in sites
        for name in dict.fromkeys([*site.site.values, *site.site.releases])
        if name not in there
    ]


def misfits(sites: Sequence[SiteDir], own: Sequence[OwnName]) -> list[Finding]:
    """Return what site files say wrongly of names of the inventory's `own`, and which they lack."""
    return [finding for site in sites for finding in own_name_findings(site.site, own)]
