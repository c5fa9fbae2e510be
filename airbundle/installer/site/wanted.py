"""What a bundle would deploy at a site, put together from its renders, its images and the site file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airbundle.bundle.chart_metadata import ChartMetadata, parse_metadata
from airbundle.bundle.index import CHART, ref_of
from airbundle.bundle.oci import HELM_CONFIG, MANIFEST_LIMIT, Descriptor, Platform, parse_json, parse_manifest
from airbundle.bundle.own_names import names_at
from airbundle.bundle.release import Release
from airbundle.bundle.release_artifact import CarriedRelease
from airbundle.bundle.template import site_names
from airbundle.bundle.values_file import VALUES_LIMIT, read_values
from airbundle.deploy.brings import DEFAULT_NAMESPACE
from airbundle.deploy.hooks import hook_images
from airbundle.deploy.trust import CA_NAME
from airbundle.deploy.wanted import Wanted, WantedRelease
from airbundle.errors import AirbundleError, DocumentError
from airbundle.installer.image_pins import ImagePins
from airbundle.installer.load_plan import Tag
from airbundle.installer.releases import carried_releases
from airbundle.installer.render import Rendered, RenderedRelease
from airbundle.installer.render_source import read_blob
from airbundle.installer.site.release_tracks import Tracks
from airbundle.installer.site.site_state import SiteState
from airbundle.installer.verify import Trusted
from airbundle.scan.documents import read_manifests
from airbundle.scan.model import Manifest, Origin, Rendering, Sighting
from airbundle.store.reader import BundleFile
from airbundle.store.site_dir import SiteDir

_CONFIG_LIMIT = 4 << 20


def wanted_of(trusted: Trusted, site: SiteDir, site_state: SiteState, rendered: Rendered) -> Wanted:
    """Return what a run would deploy.

    Args:
        trusted: the bundle.
        site: the site file, with the values beside it.
        site_state: says what was deployed here before.
        rendered: of `render_releases` or `try_releases`.

    Raises:
        VerificationError: the bundle is damaged.
        DocumentError: a record of the site does not parse.
    """
    carried = {each.release.name: each for each in carried_releases(trusted.bundle)}
    latest, kept = site_state.latest(), site_state.cluster()
    up = latest.releases if latest else ()
    tracks = {name: Tracks(site_state, name).read() for name in carried}
    begun = {(_home(each.release), each.release.name) for each in carried.values() if tracks[each.release.name].begun}
    return Wanted(
        site=site.site,
        releases=tuple(_release(trusted, site, carried[each.release.name], each) for each in rendered.releases),
        platforms=platforms_of(trusted.bundle, ImagePins.of(trusted.bundle, site.site)),
        kubernetes=next((each.kubernetes.version for each in carried.values() if each.kubernetes.version), ""),
        registry=site_names(site.site).get("registry", ""),
        uid=site.site.cluster.uid or (kept.uid if kept else ""),
        ours=frozenset(text for release in up for text in release.objects).union(
            *(track.objects for track in tracks.values())
        ),
        releases_of_ours=frozenset({(release.namespace or DEFAULT_NAMESPACE, release.name) for release in up} | begun),
        of_bundles={each.name: each.bundle for each in up if each.bundle != trusted.statement.name},
        unrestored={
            name: track.takes(trusted.statement.name, trusted.statement.serial)
            for name, track in tracks.items()
            if track.restoring
        },
        made=frozenset(_made(site, rendered)),
        findings=rendered.warnings,
    )


def _home(release: Release) -> str:
    return release.namespace or DEFAULT_NAMESPACE


def _made(site: SiteDir, rendered: Rendered) -> Iterator[tuple[str, str, str]]:
    """Yield what the steps before the releases make."""
    yield "ClusterIssuer", "", site.site.ca.issuer
    for each in rendered.releases:
        yield "ConfigMap", _home(each.release), CA_NAME


def _release(trusted: Trusted, site: SiteDir, carried: CarriedRelease, rendered: RenderedRelease) -> WantedRelease:
    release, registry = rendered.release, site_names(site.site).get("registry", "")
    metadata = chart_metadata(trusted.bundle, carried.chart)
    origin = Origin(
        source=f"release {release.name}",
        release=release.name,
        namespace=_home(release),
        chart=metadata.name if metadata else "",
    )
    given = tuple(_given(trusted, site, carried))
    manifests = tuple(_manifests(rendered, origin))
    return WantedRelease(
        name=release.name,
        namespace=_home(release),
        manifests=manifests,
        needs=release.needs,
        chart=metadata.name if metadata else "",
        version=metadata.version if metadata else "",
        kube_version=metadata.kube_version if metadata else "",
        values=(Rendering(origin, b"", given=given),),
        hooks=tuple(_hooks(rendered, manifests, registry)) if metadata else (),
    )


def _hooks(rendered: RenderedRelease, manifests: Sequence[Manifest], registry: str) -> Iterator[Sighting]:
    """Yield the images of hooks as the chart writes them: in the render that we have they are pinned."""
    written = {pinned: text for text, pinned in rendered.images.items()}
    for sighting in hook_images(manifests, registry=""):
        text = written.get(sighting.written, sighting.written)
        if not text.startswith(f"{registry}/"):
            yield replace(sighting, written=text)


def _manifests(rendered: RenderedRelease, origin: Origin) -> Iterator[Manifest]:
    for text in rendered.files.values():
        yield from read_manifests(Rendering(origin, text.encode()))[0]


def _given(trusted: Trusted, site: SiteDir, carried: CarriedRelease) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what people wrote: the bundle's values and the site's, filled in. What does not parse, rendering told."""
    release, names = carried.release, names_at(site.site, trusted.bundle.lock.site)
    raw = [(path, read_blob(trusted.blobs, carried.files[path], VALUES_LIMIT)) for path in release.values]
    for path, data in [*raw, *site.read_values(release.name, VALUES_LIMIT)]:
        try:
            yield path, read_values(data, names, path).body
        except DocumentError:
            continue


def chart_metadata(bundle: BundleFile, requested: str) -> ChartMetadata | None:
    """Return what a carried chart says of itself; None for a release without one.

    Args:
        bundle: the bundle.
        requested: what the lock calls the chart; empty for a release of manifests.

    Raises:
        VerificationError: the bundle is damaged.
    """
    refs = {root.ref for root in bundle.lock.roots if root.kind == CHART and root.requested == requested}
    for root in bundle.roots(CHART) if requested else ():
        if ref_of(root) in refs:
            config = parse_manifest(bundle.read_small(root.digest, MANIFEST_LIMIT), what=requested).config
            if config is not None and config.media_type == HELM_CONFIG:
                raw = bundle.read_small(config.digest, _CONFIG_LIMIT)
                return parse_metadata(parse_json(raw, what=requested, limit=_CONFIG_LIMIT), what=requested)
    return None


def platforms_of(bundle: BundleFile, pins: ImagePins) -> dict[str, frozenset[str]]:
    """Return image as it is pinned → `os/architecture` of what the bundle carries; one that doesn't say has none."""
    found: dict[str, frozenset[str]] = {}
    for tag in pins.by_name.values():
        standing = tag.substitute.descriptor if tag.substitute and not pins.sparse else tag.descriptor
        name = f"{pins.registry}/{tag.repository}:{tag.tag}@{standing.digest}"
        found[name] = frozenset(_platforms(bundle, pins, tag))
    return found


def _platforms(bundle: BundleFile, pins: ImagePins, tag: Tag) -> Sequence[str]:
    nodes = {node.descriptor.digest: node for node in pins.plan.manifests.get(tag.repository, ())}
    top = nodes.get(tag.descriptor.digest)
    if top is None:
        return ()
    if not top.manifest.is_index:
        return _of_config(bundle, top.manifest.config)
    platforms = [each.platform for each in top.manifest.manifests if each.digest in nodes and each.platform]
    return [_short(platform) for platform in platforms if platform.os != "unknown"]


def _short(platform: Platform) -> str:
    return f"{platform.os}/{platform.architecture}"


def _of_config(bundle: BundleFile, config: Descriptor | None) -> Sequence[str]:
    if config is None or not bundle.has_blob(config.digest):
        return ()
    try:
        body = parse_json(bundle.read_small(config.digest, _CONFIG_LIMIT), what=config.digest, limit=_CONFIG_LIMIT)
        return [f"{body['os']}/{body['architecture']}"]
    except (AirbundleError, KeyError, TypeError):
        return ()
