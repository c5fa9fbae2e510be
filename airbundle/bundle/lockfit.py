"""Whether a lock fits an inventory; and if it doesn't, which entries are to blame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Callable, Optional

from airbundle.bundle.inventory import Inventory
from airbundle.bundle.lock import LOCK_NAME, Lock, LockedRoot
from airbundle.bundle.lockmatch import database_misfits, file_misfit, image_misfit, misfit, root_key
from airbundle.errors import Finding

Check = Callable[[LockedRoot], Optional[Finding]]
"""Says why an entry of the lock is not what is asked for; None when it is."""


def lock_misfits(inventory: Inventory, lock: Lock, *, local: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what of the lock does not fit the inventory; nothing when it fits.

    Names are compared whatever the digest of the inventory says: entries may have been lost from the lock since,
    as when it was merged by hand.

    Args:
        inventory: as it is now.
        lock: as it was made from an inventory.
        local: path → digest of the inventory's own files, as they are now (`Inventory.own_paths`); None to compare
            names only.
    """
    changed = changed_files(lock, local or {})
    findings = [*_metadata(inventory, lock), *_images(inventory, lock), *_charts(inventory, lock)]
    findings += [*_files(inventory, lock), *_releases(inventory, lock)]
    findings += [*_databases(inventory, lock, changed), *_ca(inventory, lock)]
    if local is None or inventory.digest(local) == lock.inventory:
        return findings
    findings += _own_files(inventory, changed, "has changed since it was locked", told=findings)
    findings = findings or _own_files(inventory, local.keys() - lock.local.keys(), "is new since the bundle was locked")
    return findings or [_setting(inventory, lock, local)]


def changed_files(lock: Lock, local: Mapping[str, str]) -> set[str]:
    """Return the local files that are other ones than when the bundle was locked.

    Args:
        lock: knows the files of then.
        local: path → digest of the files of now.
    """
    return {path for path, digest in local.items() if lock.local.get(path, digest) != digest}


def _metadata(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    for name, wanted, locked in (
        ("name", inventory.name, lock.name),
        ("version", inventory.version, lock.version),
    ):
        if wanted != locked:
            where = f"{inventory.where} metadata.{name}"
            yield misfit(f"the lock is of another {name}", where, code="lock-metadata", found=locked, expected=wanted)


def _roots(lock: Lock, kind: str) -> dict[str, LockedRoot]:
    return {root_key(root): root for root in lock.roots if root.kind == kind}


def _images(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    wanted = [(image.target.full_name, image.where, partial(image_misfit, image)) for image in inventory.images]
    return _entries(inventory, lock, "image", wanted)


def _charts(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    # A chart is known by all that is asked for: what has its name fits.
    wanted = [(chart.requested, chart.where, _fits) for chart in inventory.charts]
    return _entries(inventory, lock, "chart", wanted)


def _files(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    wanted = [(file.name, file.where, partial(file_misfit, file)) for file in inventory.files]
    return _entries(inventory, lock, "file", wanted)


def _releases(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    # Its settings and files belong to the inventory's own digest.
    wanted = [(release.name, release.where, _fits) for release in inventory.releases]
    return _entries(inventory, lock, "release", wanted)


def _fits(root: LockedRoot) -> None:  # noqa: ARG001 - the signature of a check
    return None


def _entries(
    inventory: Inventory, lock: Lock, kind: str, wanted: Iterable[tuple[str, str, Check]]
) -> Iterable[Finding]:
    """Yield what lacks, what does not fit, and what is left over; `wanted` has name, place and check of each entry."""
    locked = _roots(lock, kind)
    for name, where, check in wanted:
        root = locked.pop(name, None)
        missing = misfit(f"the {kind} {name} is not in the lock", where, code="lock-missing")
        found = missing if root is None else check(root)
        if found is not None:
            yield found
    yield from _leftover(locked.values(), inventory)


def _databases(inventory: Inventory, lock: Lock, changed: Collection[str]) -> Iterable[Finding]:
    locked = [root for root in lock.roots if root.kind == "clamav"]
    if inventory.clamav is not None:
        yield from database_misfits(inventory.clamav, locked, changed)
    elif locked:
        where = f"{LOCK_NAME} {', '.join(sorted(root.requested for root in locked))}"
        yield misfit("ClamAV databases are in the lock, and not in the inventory", where, code="lock-extra")


def _ca(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = _roots(lock, "ca")
    if inventory.ca.mode != "bundled":
        yield from _leftover(locked.values(), inventory)
    elif not locked:
        yield misfit("the CA is not in the lock", inventory.ca.where, code="lock-missing")


def _leftover(roots: Iterable[LockedRoot], inventory: Inventory) -> Iterable[Finding]:
    for root in roots:
        message = f"the {root.kind} {root_key(root)} is in the lock, and not in {inventory.where}"
        yield misfit(message, f"{LOCK_NAME} {root.ref}", code="lock-extra")


def _own_files(
    inventory: Inventory, paths: Collection[str], what: str, *, told: Sequence[Finding] = ()
) -> list[Finding]:
    named = dict(inventory.own_paths())
    findings = [misfit(f"the local file {path} {what}", named[path], code="lock-changed") for path in sorted(paths)]
    return [finding for finding in findings if finding not in told]


def _setting(inventory: Inventory, lock: Lock, local: Mapping[str, str]) -> Finding:
    return misfit(
        "a setting (expires, kubernetes, ca, site, a release, its variants) has changed since the bundle was locked",
        inventory.where,
        code="lock-changed",
        found=inventory.digest(local),
        expected=lock.inventory,
    )
