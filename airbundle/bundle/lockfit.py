"""Whether a lock fits an inventory; and if it doesn't, which entries are to blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from airbundle.bundle.clamav import CUSTOM_FAMILY
from airbundle.bundle.inventory import Inventory
from airbundle.bundle.lock import LOCK_NAME, Lock, LockedRoot
from airbundle.errors import Finding

_RELOCK = "run `airbundle lock`"


def lock_misfits(inventory: Inventory, lock: Lock, *, digest: str = "") -> list[Finding]:
    """Return what of the lock does not fit the inventory; nothing when it fits.

    Args:
        inventory: as it is now.
        lock: as it was made from an inventory.
        digest: `inventory.digest(…)` of now; empty to compare names only. It also finds changed local files.
    """
    if digest and digest == lock.inventory:
        return []
    findings = [*_metadata(inventory, lock), *_images(inventory, lock), *_charts(inventory, lock)]
    findings += [*_files(inventory, lock), *_databases(inventory, lock)]
    if digest and not findings:
        findings.append(
            Finding(
                "a setting or a local file (values, manifests, a chart) has changed since the bundle was locked",
                where=inventory.where,
                code="lock-changed",
                found=digest,
                expected=lock.inventory,
                hint=_RELOCK,
            )
        )
    return findings


def _misfit(message: str, where: str, *, code: str, found: str = "", expected: str = "") -> Finding:
    return Finding(message, where, code, found, expected, _RELOCK)


def _metadata(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    for name, wanted, locked in (
        ("name", inventory.name, lock.name),
        ("version", inventory.version, lock.version),
    ):
        if wanted != locked:
            where = f"{inventory.where} metadata.{name}"
            yield _misfit(f"the lock is of another {name}", where, code="lock-metadata", found=locked, expected=wanted)


def _images(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = {root.ref: root for root in lock.roots if root.kind == "image"}
    for image in inventory.images:
        name = image.target.full_name
        root = locked.pop(name, None)
        if root is None:
            yield _misfit(f"the image {name} is not in the lock", image.where, code="lock-missing")
            continue
        pinned = image.target.digest
        if root.requested != image.requested and not _same_registry_image(root, image.requested):
            yield _misfit(
                f"the image {name} comes from elsewhere now",
                image.where,
                code="lock-source",
                found=root.requested,
                expected=image.requested,
            )
        elif pinned and pinned != root.descriptor.digest:
            yield _misfit(
                f"the image {name} is pinned to another digest",
                image.where,
                code="lock-digest",
                found=root.descriptor.digest,
                expected=pinned,
            )
        elif sorted(root.platforms) != sorted(image.platforms):
            yield _misfit(
                f"the image {name} has other platforms",
                image.where,
                code="lock-platforms",
                found=", ".join(root.platforms) or "all",
                expected=", ".join(image.platforms) or "all",
            )
    yield from _leftover(locked.values(), inventory)


def _same_registry_image(root: LockedRoot, requested: str) -> bool:
    """Tell whether two spellings are one image: `redis` and `docker.io/library/redis:latest`."""
    from airbundle.bundle.image_source import REGISTRY, parse_image_source
    from airbundle.errors import UsageError

    try:
        old, new = parse_image_source(root.requested), parse_image_source(requested)
    except UsageError:
        return False
    if old.transport != REGISTRY or new.transport != REGISTRY:
        return old == new
    return str(old.own_name) == str(new.own_name)


def _charts(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = {root.requested: root for root in lock.roots if root.kind == "chart"}
    for chart in inventory.charts:
        if locked.pop(chart.requested, None) is None:
            yield _misfit(f"the chart {chart.requested} is not in the lock", chart.where, code="lock-missing")
    yield from _leftover(locked.values(), inventory)


def _files(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = {root.requested: root for root in lock.roots if root.kind == "file"}
    for file in inventory.files:
        root = locked.pop(file.requested, None)
        if root is None:
            yield _misfit(f"the file {file.requested} is not in the lock", file.where, code="lock-missing")
        elif file.digest and root.blobs and file.digest not in {blob.digest for blob in root.blobs}:
            found = ", ".join(blob.digest for blob in root.blobs)
            message = f"the file {file.requested} is pinned to another digest"
            yield _misfit(message, file.where, code="lock-digest", found=found, expected=file.digest)
    yield from _leftover(locked.values(), inventory)


def _databases(inventory: Inventory, lock: Lock) -> Iterable[Finding]:
    locked = Counter(root.requested for root in lock.roots if root.kind == "clamav")
    clamav = inventory.clamav
    if clamav is None:
        if locked:
            names = ", ".join(sorted(locked))
            where = f"{LOCK_NAME} {names}"
            yield _misfit("ClamAV databases are in the lock, and not in the inventory", where, code="lock-extra")
        return
    for name in clamav.databases:
        if name not in locked:
            yield _misfit(f"the ClamAV database {name} is not in the lock", clamav.where, code="lock-missing")
    for name in sorted(set(locked) - {*clamav.databases, CUSTOM_FAMILY}):
        message = f"the ClamAV database {name} is in the lock, and not asked for"
        yield _misfit(message, f"{LOCK_NAME} {name}", code="lock-extra")


def _leftover(roots: Iterable[LockedRoot], inventory: Inventory) -> Iterable[Finding]:
    for root in roots:
        message = f"the {root.kind} {root.requested} is in the lock, and not in {inventory.where}"
        yield _misfit(message, f"{LOCK_NAME} {root.ref}", code="lock-extra")
