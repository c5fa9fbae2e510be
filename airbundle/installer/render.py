"""`airbundle render`: what a bundle deploys at a site, as text for Flux, Argo CD, kubectl or a change board.

Each release is rendered with the bundle's values and the site's, every image pinned to the private registry and its
signed digest. Nothing is asked of a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from airbundle.bundle.inventory import KubernetesTarget
from airbundle.bundle.own_names import OwnName, own_name_findings
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.bundle.site import Site
from airbundle.bundle.template import site_names
from airbundle.errors import CheckFailed, DocumentError, Finding
from airbundle.installer.image_pins import ImagePins
from airbundle.installer.releases import carried_releases
from airbundle.installer.render_source import ReleaseSource
from airbundle.installer.verify import Trusted
from airbundle.progress import SILENT, Reporter
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Phase, Sighting
from airbundle.scan.pin import Pinned, pin_images
from airbundle.store.site_dir import SiteDir

CRDS = "crds.yaml"
FILES: Mapping[Phase, str] = {"run": "manifests.yaml", "hook": "hooks.yaml", "test": "tests.yaml"}
"""Where objects go by when they act; definitions of custom resources go into `CRDS`."""
_CRD = "CustomResourceDefinition"
_KEEPS = re.compile(r"[|>][1-9]?\+")


@dataclass(frozen=True)
class RenderedRelease:
    """A release as it would be deployed.

    Attributes:
        release: with the site's choices.
        files: name (`CRDS`, `FILES`) → text; those that hold something.
        images: what each reference became, by how the chart writes it.
        kept: certain images of the bundle that keep their names: nodes need the registry's mirrors for them.
    """

    release: Release
    files: Mapping[str, str] = field(repr=False)
    images: Mapping[str, str]
    kept: tuple[Sighting, ...]


@dataclass(frozen=True)
class Rendered:
    """All that a bundle deploys at a site, in the order of needs.

    Attributes:
        off: names of releases that are switched off there.
        warnings: what a person should look at.
    """

    releases: tuple[RenderedRelease, ...]
    off: tuple[str, ...]
    warnings: tuple[Finding, ...]


def render_releases(
    trusted: Trusted, site: SiteDir, *, kubernetes: KubernetesTarget | None = None, reporter: Reporter = SILENT
) -> Rendered:
    """Render the releases of a bundle for a site.

    Args:
        trusted: the bundle; blobs that a delta leaves out come from its bases.
        site: the site file, with the values beside it.
        kubernetes: the cluster to render for; by default the one that the inventory names.
        reporter: told which release is under way.

    Raises:
        CheckFailed: a chart or manifest can't be rendered, or an image that is certain to run is not in the bundle; all
            findings at once.
        DocumentError: the site file does not go with the bundle (`check_site`).
        HostError: there is no helm.
    """
    rendered = try_releases(trusted, site, kubernetes=kubernetes, reporter=reporter)
    if any(finding.severity == "error" for finding in rendered.warnings):
        raise CheckFailed(
            f"{trusted.title} can't be rendered for {site.site.name}; nothing was written", findings=rendered.warnings
        )
    return rendered


def try_releases(
    trusted: Trusted, site: SiteDir, *, kubernetes: KubernetesTarget | None = None, reporter: Reporter = SILENT
) -> Rendered:
    """Render what can be rendered, as `render_releases` does; what is wrong stands among the warnings.

    Raises:
        DocumentError, HostError: as `render_releases`.
    """
    carried = carried_releases(trusted.bundle)
    check_site(site, carried, trusted.bundle.lock.site)
    chosen = [(each, chosen_release(each.release, site)) for each in carried]
    off = tuple(release.name for _, release in chosen if not release.enabled)
    renderer = _Renderer(ImagePins.of(trusted.bundle, site.site), trusted.statement.allowed_missing)
    with reporter.phase("render") as phase, ReleaseSource(trusted, site, kubernetes) as source:
        for each, release in chosen:
            if release.enabled:
                with phase.item(release.name, 0):
                    renderer.add(each, release, source)
    findings = [*renderer.findings, *_needs_off([release for _, release in chosen])]
    return Rendered(tuple(renderer.done), off, tuple(findings))


def check_site(site: SiteDir, carried: Sequence[CarriedRelease], own: Sequence[OwnName]) -> None:
    """Refuse a site file that does not go with a bundle.

    Args:
        site: it.
        carried: the bundle's releases.
        own: the names that the bundle declares.

    Raises:
        DocumentError: it names releases or names that the bundle does not have, says something else of a name than
            that can be, lacks one, or names no registry; all at once.
    """
    findings = [*_unknown_releases(site.site, carried), *own_name_findings(site.site, own)]
    if "registry" not in site_names(site.site):
        hint = "write `domain`, or `registry: {mode, url}`"
        findings.append(Finding("it names no private registry", site.site.where, "site-registry", hint=hint))
    if findings:
        count = f"{len(findings)} thing{'' if len(findings) == 1 else 's'}"
        raise DocumentError(f"{site.site.where} does not go with this bundle: {count} to put right", findings=findings)


def _unknown_releases(site: Site, carried: Sequence[CarriedRelease]) -> Iterator[Finding]:
    names = sorted(each.release.name for each in carried)
    for name in sorted((site.releases.keys() | site.values.keys()) - set(names)):
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names) or 'none'}"
        yield Finding(f"the bundle has no release {name}", site.where, "site-release", hint=hint)


def chosen_release(release: Release, site: SiteDir) -> Release:
    """Return a release with what the site file chooses for it."""
    choice = site.site.releases.get(release.name)
    if choice is None:
        return release
    return replace(
        release,
        enabled=release.enabled if choice.enabled is None else choice.enabled,
        namespace=choice.namespace or release.namespace,
        timeout=choice.timeout or release.timeout,
    )


def _needs_off(releases: Sequence[Release]) -> Iterator[Finding]:
    off = {release.name for release in releases if not release.enabled}
    for release in releases:
        for need in off.intersection(release.needs) if release.enabled else ():
            yield Finding(
                f"the release {release.name} needs {need}, which is switched off at this site",
                code="needs-off",
                hint="see to it that something else does its work, or switch both off",
                severity="warning",
            )


class _Renderer:
    """Renders releases one after the other; `done` and `findings` grow."""

    def __init__(self, pins: ImagePins, allowed: Sequence[str]) -> None:
        self.done: list[RenderedRelease] = []
        self.findings: list[Finding] = []
        self._pins = pins
        self._allowed = allowed

    def add(self, carried: CarriedRelease, release: Release, source: ReleaseSource) -> None:
        """Render a release."""
        renderings, findings = source.renderings(carried, release)
        self.findings += findings
        pinned = []
        for rendering in renderings:
            self.findings += read_manifests(rendering)[1]
            pinned.append(pin_images(rendering, self._pins.of_image))
        self.findings += [finding for each in pinned for finding in each.findings]
        self.findings += [self._missing(sighting) for each in pinned for sighting in each.missing]
        kept = tuple(sighting for each in pinned for sighting in each.kept)
        self.findings += [_keeps_its_name(sighting) for sighting in kept]
        images = {written: name for each in pinned for written, name in sorted(each.images.items())}
        self.done.append(RenderedRelease(release, files_of(pinned), images, kept))

    def _missing(self, sighting: Sighting) -> Finding:
        allowed = any(fnmatchcase(str(sighting.image), pattern) for pattern in self._allowed)
        hint = "switch the part off that runs it, or build a bundle with it"
        return Finding(
            f"{sighting.image} would run and is not in the bundle",
            where=str(sighting.place),
            code="image-missing",
            hint="whoever built the bundle allowed that" if allowed else hint,
            severity="warning" if allowed else "error",
        )


def _keeps_its_name(sighting: Sighting) -> Finding:
    return Finding(
        f"{sighting.image} stands there in pieces and keeps its name: nodes need the private registry as its mirror",
        where=str(sighting.place),
        code="image-unpinned",
        severity="warning",
    )


def files_of(pinned: Sequence[Pinned]) -> dict[str, str]:
    """Return the documents of renders by the file that they go into; those that hold no object are left out."""
    texts: dict[str, list[str]] = {}
    for document in (document for each in pinned for document in each.documents):
        if document.objects:
            phases = {each.phase for each in document.objects}
            crds = all(each.kind == _CRD for each in document.objects)
            name = CRDS if crds else FILES[phases.pop() if len(phases) == 1 else "run"]
            texts.setdefault(name, []).append(f"---\n{_own_lines(document.text)}\n")
    return {name: "".join(texts[name]) for name in sorted(texts)}


def _own_lines(text: str) -> str:
    """Return a document's text without empty lines around it, but for those that a block scalar may keep (`|+`)."""
    bare = text.strip("\n")
    return text.lstrip("\n").removesuffix("\n") if _KEEPS.search(bare) else bare
