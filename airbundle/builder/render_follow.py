"""Follows objects that deploy charts and manifests (Flux, Argo CD) into what those render to, and on from there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from airbundle.builder.chart_finder import FoundChart
from airbundle.builder.kitchen import Kitchen
from airbundle.builder.render_argo import argo_deploys
from airbundle.builder.render_flux import flux_deploys
from airbundle.builder.render_helm import HelmJob
from airbundle.builder.render_manifests import Setting, read_manifests
from airbundle.builder.render_objects import Deployed, Object, Objects, not_followed
from airbundle.bundle.chart_values import chart_tree
from airbundle.bundle.fields import Text
from airbundle.bundle.inventory import ChartRequest
from airbundle.bundle.release import RELEASE_NAME, Release
from airbundle.bundle.semver import find, parse_version
from airbundle.bundle.terms import CHART_NAME, CHART_REPOSITORY, CHART_VERSION, dns_label
from airbundle.bundle.values_file import ValuesFile, read_values
from airbundle.errors import AirbundleError, DocumentError, Finding, Interrupted, UsageError
from airbundle.scan.model import Rendering
from airbundle.transfer.problems import clean

DEPTH_LIMIT = 5
"""How many objects may deploy each other one below the other."""
_NAMESPACE = dns_label("a namespace")
_VARIABLE = re.compile(rb"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::[-=]([^{}]*))?\}")


@dataclass
class Follower:
    """Follows renders; what it has followed once it does not follow again.

    Attributes:
        settings: variant → what fills the names of the site in.
        used: charts of the inventory without a release that objects deploy, by their place.
    """

    kitchen: Kitchen
    settings: Mapping[str, Setting]
    used: set[str] = field(default_factory=set)
    _objects: Objects = field(default_factory=Objects)
    _seen: set[object] = field(default_factory=set)

    def follow(self, renderings: Sequence[Rendering]) -> tuple[list[Rendering], list[Finding]]:
        """Return what objects in renders deploy, rendered; and what could not be followed."""
        made: list[Rendering] = []
        findings: list[Finding] = []
        latest = list(renderings)
        for depth in range(DEPTH_LIMIT + 1):
            wanted, about = self._wanted(self._objects.add(latest))
            findings += about
            if not wanted:
                break
            if depth == DEPTH_LIMIT:
                names = ", ".join(str(each.by) for each in wanted)
                message = f"objects that deploy each other are not followed further than {DEPTH_LIMIT} deep: {names}"
                findings.append(Finding(message, wanted[0].by.source, "not-followed"))
                break
            latest, about = self._render(wanted)
            made += latest
            findings += about
        return made, findings

    def _wanted(self, objects: Sequence[Object]) -> tuple[list[Deployed], list[Finding]]:
        wanted: list[Deployed] = []
        findings: list[Finding] = []
        for each in objects:
            deployed, about = flux_deploys(each, self._objects, self._exists)
            more, about_more = argo_deploys(each, self._exists)
            findings += [*about, *about_more]
            wanted += [one for one in [*([deployed] if deployed else []), *more] if self._is_new(one)]
        return wanted, findings

    def _is_new(self, deployed: Deployed) -> bool:
        chart = deployed.chart.meaning() if deployed.chart else None
        texts = tuple(file.text for file in deployed.values)
        where = (deployed.by.variant, deployed.release, deployed.namespace, deployed.path)
        key = (repr(chart), where, texts, tuple(sorted(deployed.substitutions.items())))
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _exists(self, path: str) -> bool:
        if path.startswith("/") or ".." in path.split("/"):
            return False
        try:
            self.kitchen.opened.resolve(path)
        except DocumentError:
            return False
        return True

    def _render(self, wanted: Sequence[Deployed]) -> tuple[list[Rendering], list[Finding]]:
        renderings: list[Rendering] = []
        findings = [_malformed(deployed) for deployed in wanted if not _is_formed(deployed)]
        wanted = [deployed for deployed in wanted if _is_formed(deployed)]
        charts = [(deployed, self._own(deployed, findings)) for deployed in wanted if deployed.chart is not None]
        found = self.kitchen.find([request for _, request in charts]) if charts else []
        jobs = []
        for (deployed, request), chart in zip(charts, found):
            if isinstance(chart, list):
                findings += chart
            else:
                jobs.append(_job(deployed, request, chart, findings))
        for _, rendering, about in self.kitchen.render(jobs) if jobs else ():
            renderings += [rendering] if rendering else []
            findings += about
        for deployed in wanted:
            if deployed.chart is None:
                made, about = self._manifests(deployed)
                renderings += made
                findings += about
        return renderings, findings

    def _own(self, deployed: Deployed, findings: list[Finding]) -> ChartRequest:
        """Return the inventory's own request for a chart that an object deploys: it is what a site will have."""
        wanted = deployed.chart
        if wanted is None or wanted.path:
            return wanted or ChartRequest("")
        setting = self.settings.get(deployed.by.variant, self.settings[""])
        at_site = wanted.repo.partition("://")[2].partition("/")[0] == setting.names.get("registry")
        charts = [
            chart
            for chart in self.kitchen.opened.inventory.charts
            if chart.name == wanted.name and (at_site or chart.identity == wanted.identity)
        ]
        own = {self.kitchen.version_of(chart): chart for chart in charts}
        chosen = _chosen(own, wanted.version)
        if chosen is None:
            findings.append(_unlisted(deployed, wanted, sorted(own)))
            return wanted
        if chosen.release is None:
            self.used.add(chosen.where)
        return replace(chosen, where=wanted.where)

    def _manifests(self, deployed: Deployed) -> tuple[list[Rendering], list[Finding]]:
        by = deployed.by
        setting = self.settings.get(by.variant, self.settings[""])
        release = Release(deployed.release, deployed.namespace)
        renderings, findings = read_manifests(self.kitchen.opened, deployed.path, release, [setting], where=by.source)
        made = []
        for rendering in renderings:
            output = _substituted(rendering.output, deployed.substitutions)
            origin = replace(rendering.origin, source=f"{rendering.origin.source} of {by}", variant=by.variant)
            made.append(replace(rendering, origin=origin, output=output))
        return made, findings


def _is_formed(deployed: Deployed) -> bool:
    """Tell whether names are such: they come from charts of others, and go to helm's command line and into URLs."""
    chart = deployed.chart
    texts = [(deployed.release, RELEASE_NAME), (deployed.namespace, _NAMESPACE)] if chart else []
    if chart is not None and not chart.path:
        texts += [(chart.name, CHART_NAME), (chart.repo, CHART_REPOSITORY), (chart.version, CHART_VERSION)]
    return all(_fits(text, kind) for text, kind in texts if text) and (chart is None or bool(deployed.release))


def _fits(text: str, kind: Text) -> bool:
    if len(text) > kind.limit or not re.fullmatch(kind.pattern, text):
        return False
    try:
        if kind.check is not None:
            kind.check(text)
    except UsageError:
        return False
    return True


def _malformed(deployed: Deployed) -> Finding:
    chart = deployed.chart or ChartRequest("")
    found = clean(f"{chart.name} {chart.version} of {chart.repo or chart.path}, release {deployed.release!r}")
    return not_followed(deployed.by, f"a name, a version or a URL has no legal form: {found}")


def _chosen(own: Mapping[str, ChartRequest], version: str) -> ChartRequest | None:
    """Return the chart, of those by their versions, that a version or range means; a range of its own may be any."""
    try:
        found = find(own, version)
    except UsageError:
        found = None
    if found is not None:
        return own[found]
    return next((chart for text, chart in own.items() if parse_version(text) is None), None)


def _job(deployed: Deployed, request: ChartRequest, chart: FoundChart, findings: list[Finding]) -> HelmJob:
    by = deployed.by
    inside = _inside(deployed, request, chart, findings) if deployed.value_paths else ()
    findings += [finding for file in (*inside, *deployed.values) for finding in file.findings]
    return HelmJob(
        chart,
        request.name,
        deployed.release,
        deployed.namespace,
        (*inside, *deployed.values),
        by.variant,
        str(by),
        by.source,
    )


def _inside(
    deployed: Deployed, request: ChartRequest, chart: FoundChart, findings: list[Finding]
) -> tuple[ValuesFile, ...]:
    """Return the values files that a chart itself has, and its deployment names."""
    files: list[ValuesFile] = []
    by = deployed.by
    try:
        tree = chart_tree(chart.load(), what=f"chart {request.name}")
        for path in deployed.value_paths:
            name = path[len(request.path) + 1 :] if request.path and path.startswith(f"{request.path}/") else path
            raw = tree.files.get(name.removeprefix("./"))
            if raw is None:
                findings.append(
                    Finding(f"{by} names the values file {path}, which the chart lacks", by.source, "values-file")
                )
            elif name != "values.yaml":
                files.append(read_values(raw, {}, f"{by} {path}"))
    except Interrupted:
        raise
    except AirbundleError as error:
        findings += error.findings or [Finding(f"{by}: {error.problem}", by.source, "values-file", hint=error.hint)]
    return tuple(files)


def _unlisted(deployed: Deployed, chart: ChartRequest, there: Sequence[str]) -> Finding:
    line = f"{{name: {chart.name}, repo: {chart.repo!r}, version: {chart.version!r}}}"
    return Finding(
        f"{deployed.by} deploys the chart {chart.name} {chart.version} of {chart.repo}, which the inventory lacks",
        deployed.by.source,
        "chart-missing",
        found=f"version {', '.join(there)}" if there else "",
        hint=f"add it to `charts`: {line}",
    )


def _substituted(output: bytes, names: Mapping[str, str]) -> bytes:
    if not names:
        return output
    return _VARIABLE.sub(lambda match: names.get(match[1].decode(), (match[2] or b"").decode()).encode(), output)
