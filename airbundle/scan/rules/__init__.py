"""What is wrong with rendered objects and values before they reach a site: one module per family of rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airbundle.errors import Finding
from airbundle.scan.model import Manifest, Rendering
from airbundle.scan.rules import (
    absent,
    hosts,
    internet,
    issuers,
    passwords,
    placeholders,
    ports,
    pulls,
    reports,
    selectors,
    storage,
)
from airbundle.scan.rules.scene import Scene
from airbundle.scan.rules.unite import united

_FAMILIES = (placeholders, passwords, hosts, absent, issuers, ports, selectors, internet, reports, pulls, storage)


def run_rules(
    manifests: Sequence[Manifest],
    renderings: Sequence[Rendering],
    *,
    known: Iterable[tuple[str, str]] = (),
    domains: Iterable[str] = (),
    storage_classes: Iterable[str] = (),
    samples: Iterable[str] = (),
) -> list[Finding]:
    """Return what is wrong, errors first; the codes are listed in docs/scan.md.

    Args:
        manifests: the objects of all renders of an inventory.
        renderings: those renders; findings name the given value that a text stems from.
        known: (namespace, name) of Secrets that are made at the site.
        domains: DNS suffixes of the sites.
        storage_classes: StorageClasses that the sites have.
        samples: what names of the inventory's own could stand for: each site gives another.
    """
    scene = Scene(
        manifests, renderings, secrets=known, domains=domains, storage_classes=storage_classes, samples=samples
    )
    found = [finding for family in _FAMILIES for finding in family.find(scene)]
    return united(found)
