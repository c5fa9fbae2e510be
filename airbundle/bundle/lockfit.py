"""Whether a lock fits an inventory; and if it doesn't, which entries are to blame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from airbundle.bundle.inventory import Inventory
from airbundle.bundle.lock import LOCK_NAME, Lock, LockedRoot
from airbundle.bundle.lockmatch import database_misfits, file_misfit, image_misfit, misfit, root_key
from airbundle.errors import Finding


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
    findings += [*_files(inventory, lock), *_databases(inventory, lock, changed), *_ca(inventory, lock)]
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
    locked = _roots(lock, "image")
    for image in inventory.images:
        name = image.target.full_name
        root = locked.pop(name, None)
        if root is None:
            yield misfit(f"the image {name} is not in the lock", image.where, code="lock-missing")
            continue
        found = image_misfit(image, root)
        if found is not None:
            yield found
    yield from _leftover(locked.values(), inventory)


def _charts(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = _roots(lock, "chart")
    for chart in inventory.charts:
        if locked.pop(chart.requested, None) is None:
            yield misfit(f"the chart {chart.requested} is not in the lock", chart.where, code="lock-missing")
    yield from _leftover(locked.values(), inventory)


def _files(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = _roots(lock, "file")
    for file in inventory.files:
        root = locked.pop(file.name, None)
        if root is None:
            yield misfit(f"the file {file.name} is not in the lock", file.where, code="lock-missing")
            continue
        found = file_misfit(file, root)
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
        "a setting (expires, kubernetes, ca, a release) has changed since the bundle was locked",
        inventory.where,
        code="lock-changed",
        found=inventory.digest(local),
        expected=lock.inventory,
    )
