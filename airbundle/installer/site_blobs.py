"""Which blobs a site has for what is installed: what can be left out of the next delta (`status --json`, `blobs`)."""

from __future__ import annotations

from collections.abc import Iterator

from airbundle.errors import AirbundleError
from airbundle.installer.options import EMBEDDED
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.store.reader import open_bundle
from airbundle.store.supplement import Supplement

Pairs = tuple[tuple[str, int], ...]


def site_blobs(state: StateDirectory, installed: Installed) -> dict[str, int]:
    """Return the size of each blob, in bytes by digest.

    Where airbundle's own server is the registry it is what the copies have. Elsewhere the registry has, besides, what
    installed deltas leave out: it was found before they were installed. No blob is read. A copy that can't be opened
    has none (`status` tells of it).
    """
    found: dict[str, int] = {}
    for bundle in installed.bundles:
        for blobs in _of(state, bundle, everything=installed.mode != EMBEDDED):
            found.update(blobs)
    return found


def _of(state: StateDirectory, bundle: InstalledBundle, *, everything: bool) -> Iterator[Pairs]:
    try:
        if bundle.file:
            with open_bundle([state.bundles / bundle.file]) as copy:
                yield copy.toc.blobs
                if everything:
                    yield copy.toc.external
        if bundle.supplement:
            with Supplement.open(state.bundles / bundle.supplement) as supplement:
                yield supplement.toc.blobs
    except AirbundleError:
        return
