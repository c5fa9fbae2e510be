"""`scan`: what an inventory's charts and manifests will run, and whether its bundle would have it (docs/scan.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from airbundle.builder.check import check_lock
from airbundle.builder.cluster_scan import ClusterImages
from airbundle.builder.confirm import Confirmer
from airbundle.builder.confirm_cache import Confirmed
from airbundle.builder.knowledge import knowledge_for
from airbundle.builder.lock import Locker
from airbundle.builder.looked import look
from airbundle.builder.render import render_inventory
from airbundle.builder.render_cache import RenderCache
from airbundle.builder.scan_options import ScanOptions
from airbundle.bundle.lock import Lock
from airbundle.bundle.reference import Reference
from airbundle.bundle.site import Site
from airbundle.bundle.statement import parse_time
from airbundle.bundle.template import PLACEHOLDERS, site_names
from airbundle.errors import Finding, RemoteError
from airbundle.progress import SILENT, Reporter
from airbundle.scan.model import ORDER, Manifest, Rendering, Scanned, Sighting
from airbundle.scan.operators import operator_images
from airbundle.scan.report import ScannedImage, ScanReport, held_images, join, unused_entries
from airbundle.scan.rules import run_rules
from airbundle.store.site_dir import open_site

_PORT = re.compile(r"(.+)_([0-9]{1,5})")


def scan_inventory(
    locker: Locker,
    lock: Lock | None,
    options: ScanOptions,
    *,
    running: ClusterImages | None = None,
    confirmer: Confirmer | None = None,
    reporter: Reporter = SILENT,
) -> ScanReport:
    """Find what an inventory will run, and compare it with what it brings.

    Args:
        locker: has the inventory, the client and the cache.
        lock: gives charts and digests as they are locked; None where there is no lock, or one that does not fit.
        options: how.
        running: what a live cluster runs, and by which digests.
        confirmer: asks registries whether likely images exist, and how large missing ones are.
        reporter: told what is rendered and asked.

    Raises:
        UsageError: a site file is none.
        DocumentError: a site file, or knowledge of operators, does not parse.
        HostError: helm is needed and missing.
    """
    opened, cache = locker.opened, locker.cache
    knowledge = knowledge_for(opened)
    opened_sites = [open_site(path) for path in options.sites]
    sites = [each.site for each in opened_sites]
    store = RenderCache(cache.root) if options.keep_renders else None
    renderings, about_renders = render_inventory(
        opened,
        locker.client,
        cache,
        lock=lock,
        sites=opened_sites,
        charts_from=options.charts_from,
        store=store,
        reporter=reporter,
    )
    looked = [look(rendering, store) for rendering in renderings]
    manifests = [manifest for each in looked for manifest in each.manifests]
    seen = tuple(sighting for each in looked for sighting in each.sightings)
    scanned = Scanned(seen) + operator_images(knowledge, manifests) + (running.scanned if running else Scanned())
    samples = [each.sample for each in opened.inventory.site if isinstance(each.sample, str) and each.sample]
    found = _rules(manifests, renderings, sites, samples) if options.rules else []
    held = held_images(opened.inventory, lock)
    images = join(_at_upstream(scanned.sightings, sites), held)
    if confirmer is not None:
        images = _confirmed(images, confirmer)
    images = _aged(images, lock, options.max_age)
    if running is not None:
        images = [_as_run(image, running.digests.get(image.image, ())) for image in images]
    unasked: list[Finding] = []
    if options.upstream and lock is not None:
        try:
            images = _moved(images, locker, lock)
        except RemoteError as error:
            problem = f"whether upstream has moved is not known: {error.problem}"
            unasked = [Finding(problem, code="upstream", hint=error.hint, severity="warning")]
    told = [*about_renders, *dict.fromkeys(finding for each in looked for finding in each.findings)]
    return ScanReport(
        images=tuple(images),
        findings=(*(finding for finding in told if finding.severity != "error"), *scanned.findings, *found, *unasked),
        failed=tuple(finding for finding in told if finding.severity == "error"),
        unused=tuple(unused_entries(images, held)),
        allowed=options.allowed,
        sources=len(renderings),
    )


def _rules(
    manifests: Sequence[Manifest], renderings: Sequence[Rendering], sites: Sequence[Site], samples: Sequence[str]
) -> list[Finding]:
    found = run_rules(
        manifests,
        renderings,
        known=[(secret.namespace, secret.name) for site in sites for secret in site.secrets],
        domains=[site.domain for site in sites if site.domain],
        storage_classes=[site.storage_class for site in sites if site.storage_class],
        samples=samples,
    )
    return found if sites else list(map(_doubtful, found))


def _doubtful(finding: Finding) -> Finding:
    """Return a finding as it stands without a site: nobody knows then which Secrets the site makes."""
    if finding.code != "missing-secret":
        return finding
    return replace(finding, severity="warning", hint=f"{finding.hint}; --site FILE tells what a site makes")


def _at_upstream(sightings: Iterable[Sighting], sites: Sequence[Site]) -> Iterator[Sighting]:
    """Give images that charts take from the site's registry the names that they have upstream (design §5)."""
    hosts = {(PLACEHOLDERS["registry"], "")}
    hosts |= {(site_names(site).get("registry", ""), site.registry.prefix.strip("/")) for site in sites}
    prefixes = sorted((f"{host}/{prefix}/" if prefix else f"{host}/" for host, prefix in hosts if host), key=len)
    for sighting in sightings:
        prefix = next((prefix for prefix in reversed(prefixes) if sighting.image.name.startswith(prefix)), "")
        yield replace(sighting, image=_upstream(sighting.image, prefix)) if prefix else sighting


def _upstream(image: Reference, prefix: str) -> Reference:
    host, _, path = image.name[len(prefix) :].partition("/")
    if not path:
        return image
    port = _PORT.fullmatch(host)
    return replace(image, registry=f"{port[1]}:{port[2]}" if port else host, repository=path)


def _confirmed(images: Sequence[ScannedImage], confirmer: Confirmer) -> list[ScannedImage]:
    """Ask registries for what the inventory lacks: likely ones that aren't there are decoys, the rest has a size."""
    asked = [image.image for image in images if image.held is None and image.certainty != "decoy"]
    answers = confirmer.confirm(asked)
    found = [_with_answer(image, answers[image.image]) if image.image in answers else image for image in images]
    return sorted(found, key=lambda image: (ORDER[image.certainty], str(image.image)))


def _with_answer(image: ScannedImage, answer: Confirmed) -> ScannedImage:
    if answer.state == "absent" and image.certainty == "likely":
        refused = "; its registry has no such image"
        decoys = (replace(each, certainty="decoy", evidence=each.evidence + refused) for each in image.sightings)
        return replace(image, sightings=tuple(decoys))
    why = "its registry has no such image" if answer.state == "absent" else image.why
    return replace(image, size=answer.size, why=why)


def _aged(images: Sequence[ScannedImage], lock: Lock | None, max_age: timedelta | None) -> list[ScannedImage]:
    if lock is None or max_age is None or not lock.created:
        return list(images)
    age = datetime.now(timezone.utc) - parse_time(lock.created)
    if age <= max_age:
        return list(images)
    told = f"locked {age.days} days ago"
    return [replace(image, stale=told) if image.held else image for image in images]


def _as_run(image: ScannedImage, digests: Sequence[str]) -> ScannedImage:
    """Mark an image of which the cluster runs other bytes than those that are locked under this tag."""
    if not image.held or not image.held.digests or not digests or image.held.digests.intersection(digests):
        return image
    return replace(image, stale=f"the cluster runs {digests[0]} under this name")


def _moved(images: Sequence[ScannedImage], locker: Locker, lock: Lock) -> list[ScannedImage]:
    """Mark what upstream has moved since it was locked. Raises RemoteError where upstream can't be asked."""
    moved = {each.name: each for each in check_lock(locker.opened.inventory, lock, locker.images, locker.sources)}
    return [
        replace(image, stale="its tag has moved upstream") if image.held and image.held.requested in moved else image
        for image in images
    ]
