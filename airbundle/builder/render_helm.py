"""One chart with one set of values, rendered by helm or taken from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airbundle.builder.chart_finder import FoundChart
from airbundle.builder.render_cache import RenderCache, Rendered, render_key
from airbundle.builder.render_faults import is_bad_yaml, is_far_schema, render_faults, render_habits
from airbundle.builder.render_gaps import UNREAD, render_gaps
from airbundle.bundle.chart_values import ChartTree, chart_tree, coalesce, merge_files
from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.values_file import ValuesFile
from airbundle.errors import AirbundleError, Finding, HostError
from airbundle.scan.model import Origin, Rendering
from airbundle.transfer.helm import Helm, HelmHome
from airbundle.transfer.helm_template import OUTPUT_LIMIT, TIMEOUT, HelmTemplate
from airbundle.transfer.programs import Done, TooLong

OF_CHART = frozenset({"reads-cluster", "calls-out", "chart-unavailable", UNREAD})
"""Codes of findings that are the same whatever else is set."""


@dataclass(frozen=True)
class HelmJob:
    """A render that is wanted.

    Attributes:
        chart: the chart.
        name: the chart's, for what is said of it.
        values: values files in order, later ones win.
        variant: see `Origin`.
        via: the object in another render that deploys it; empty for the inventory's own.
        where: the place in the inventory, for findings.
    """

    chart: FoundChart = field(repr=False)
    name: str
    release: str
    namespace: str = ""
    values: tuple[ValuesFile, ...] = ()
    variant: str = ""
    via: str = ""
    where: str = ""

    @property
    def label(self) -> str:
        """What a person calls it."""
        via = f" of {self.via}" if self.via else ""
        return f"chart {self.name}{via}" + (f" [{self.variant}]" if self.variant else "")


@dataclass(frozen=True)
class HelmRenderer:
    """Renders charts; for many threads.

    Attributes:
        home: helm's; nothing that the user has configured counts.
        target: the cluster.
        cache: renders that were made before; None to make all anew and keep none.
    """

    helm: Helm
    home: HelmHome
    target: KubernetesTarget
    cache: RenderCache | None = None

    def render(self, job: HelmJob) -> tuple[Rendering | None, list[Finding]]:
        """Render a chart; what goes wrong is a finding.

        Raises:
            HostError: helm can't be started.
        """
        key = self._key(job)
        known = self.cache.read(key) if self.cache else None
        if known is None:
            known, findings = self._render(job)
            if known is None:
                lacking = any(finding.severity == "error" for finding in job.chart.findings)
                # What a chart without one of its parts complains of leads nobody anywhere.
                about = job.chart.findings if lacking else (*job.chart.findings, *findings)
                return None, [_placed(finding, job) for finding in about]
            if self.cache and not findings:
                self.cache.write(key, known)
        else:
            findings = []
        told = [*job.chart.findings, *known.findings, *findings]
        return _rendering(job, known), [_placed(finding, job) for finding in told]

    def _key(self, job: HelmJob) -> str:
        return render_key(
            job.chart.digest,
            [file.text for file in job.values],
            release=job.release,
            namespace=job.namespace,
            kubernetes=self.target.version,
            api_versions=self.target.api_versions,
            helm=self.helm.version,
        )

    def _render(self, job: HelmJob) -> tuple[Rendered | None, list[Finding]]:
        """Return the render, whose own findings always hold, and findings because of which it must not be kept."""
        try:
            archive = job.chart.load()
            tree = chart_tree(archive, what=job.label)
        except HostError:
            raise
        except AirbundleError as error:
            return None, [Finding(error.problem, code="chart-unavailable", hint=error.hint), *error.findings]
        habits = render_habits(tree)
        if tree.metadata.type == "library":
            return Rendered(tree.metadata.name, tree.metadata.version, tree.metadata.app_version, b""), []
        try:
            done, faults = self._run_twice(job, archive, tree)
        except TooLong as error:
            return None, [Finding(error.problem, code="render-too-large")]
        if done is None:
            return None, [*faults, *habits]
        given = merge_files([file.body for file in job.values])
        rendered = Rendered(
            tree.metadata.name,
            tree.metadata.version,
            tree.metadata.app_version,
            done.output,
            coalesce(tree),
            coalesce(tree, given),
            (*habits, *render_gaps(done.output, tree, given)),
        )
        return rendered, faults

    def _run_twice(self, job: HelmJob, archive: bytes, tree: ChartTree) -> tuple[Done | None, list[Finding]]:
        """Run helm, and once more where it holds back what can be told.

        That is what it rendered when some of it isn't YAML; and all, when a schema can't be fetched.
        """
        with TemporaryDirectory(dir=self.home.path) as directory:
            template = HelmTemplate(job.release, job.namespace, archive, job.values, self.target)
            arguments = template.arguments(Path(directory))
            done = self._run(["template", *arguments], job)
            if done.code and is_far_schema(done.complaint):  # told as a habit of the chart
                done = self._run(["template", "--skip-schema-validation", *arguments], job)
            if not done.code:
                return done, []
            killed = done.code < 0  # what it said before that, such as warnings, is not why
            complaint = template.told(done.complaint, Path(directory), job.name).strip()
            faults = render_faults(done.ending if killed else complaint or done.ending, tree)
            if not is_bad_yaml(done.complaint):
                return None, faults
            again = self._run(["template", "--debug", *arguments], job)
            return (again if again.output.strip() else None), faults

    def _run(self, arguments: Sequence[str | Path], job: HelmJob) -> Done:
        what = f"render {job.label}"
        return self.helm.ended(*arguments, home=self.home, what=what, timeout=TIMEOUT, output_limit=OUTPUT_LIMIT)


def _rendering(job: HelmJob, known: Rendered) -> Rendering:
    origin = Origin(
        source=f"chart {known.chart} {known.version}" + (f" of {job.via}" if job.via else ""),
        release=job.release,
        namespace=job.namespace,
        variant=job.variant,
        chart=known.chart,
        version=known.version,
        app_version=known.app_version,
    )
    given = tuple((file.name, file.body) for file in job.values)
    return Rendering(origin, known.output, known.defaults, known.values, given)


def _placed(finding: Finding, job: HelmJob) -> Finding:
    """Give a finding the place and name of what was rendered; what holds for each value set is the chart's own."""
    if finding.where and finding.code != UNREAD:
        return finding
    where = _file_of(finding.where, job) if finding.code == UNREAD else job.where
    label = replace(job, variant="").label if finding.code in OF_CHART else job.label
    return replace(finding, where=where, message=f"{label}: {finding.message.removeprefix(f'{job.label}: ')}")


def _file_of(value: str, job: HelmJob) -> str:
    """Return the last values file that sets a value, given by its dotted name."""
    return next((file.name for file in reversed(job.values) if _has(file.body, value)), job.where)


def _has(values: Mapping[str, Any], value: str) -> bool:
    inner = [(value[len(name) + 1 :], below) for name, below in values.items() if value.startswith(f"{name}.")]
    return value in values or any(isinstance(below, dict) and _has(below, rest) for rest, below in inner)
