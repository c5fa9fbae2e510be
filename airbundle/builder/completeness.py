"""`build` refuses what `scan` finds incomplete. What is complete is remembered: nightly builds don't scan again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.builder.scan_options import ScanOptions, code_digest
from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.lock import Lock
from airbundle.bundle.oci import canonical_json
from airbundle.errors import CheckFailed, Finding
from airbundle.progress import SILENT, Reporter
from airbundle.store.host import private_directory, write_atomically
from airbundle.store.tidy import RENDERS

if TYPE_CHECKING:
    from airbundle.builder.lock import Locker
    from airbundle.scan.report import ScannedImage, ScanReport

MISSING = "image-missing"
LOOK_FIRST = "mend what could not be looked at, and scan again: it may run more"
IDLE = "`--allow-missing {patterns}` lets no image pass: a pattern is held against the whole name, such as NAME:*"


def check_complete(
    locker: Locker, lock: Lock, options: ScanOptions, *, inventory: str, reporter: Reporter = SILENT
) -> None:
    """Scan an inventory that is about to be built.

    Args:
        locker: has the inventory, the client and the cache.
        lock: fits the inventory.
        options: of the scan; what it says of rules and of asking registries does not count here.
        inventory: how the user calls it, for the command that mends it.
        reporter: told what is rendered.

    Raises:
        CheckFailed: an image that is certain to run is missing, or a chart can't be looked at; all are listed.
    """
    opened = locker.opened.inventory
    if not opened.charts and not opened.manifests:
        return
    if _Known.of(locker, lock, options).is_complete():
        return
    from airbundle.builder.scan import scan_inventory  # half a second of imports, which most builds do without

    report = scan_inventory(locker, lock, options, reporter=reporter)
    remember(report, locker, lock, options)
    if not report.complete:
        raise _incomplete(report, options.mending(inventory))


def remember(report: ScanReport, locker: Locker, lock: Lock, options: ScanOptions) -> None:
    """Remember that an inventory was found complete, so that its build need not scan again."""
    if report.complete:
        _Known.of(locker, lock, options).keep()


def _incomplete(report: ScanReport, command: str) -> CheckFailed:
    missing = len(report.missing)
    told = [f"{missing} {'image is' if missing == 1 else 'images are'} certain to run and missing"] if missing else []
    told += [f"{len(report.failed)} charts or manifests can't be looked at"] if report.failed else []
    hint = f"`{command}` adds what is missing, then run `airbundle lock`; or `--allow-missing PATTERN`"
    if report.idle:
        hint += f". {IDLE.format(patterns=', '.join(report.idle))}"
    return CheckFailed(
        f"the bundle would not be complete: {' and '.join(told)}",
        hint=hint if report.missing else LOOK_FIRST,
        findings=[*map(_finding, report.missing), *report.failed],
        body={"missing": [str(image.image) for image in report.missing]},
    )


def _finding(image: ScannedImage) -> Finding:
    seen = image.sightings[0]
    key = f"; set by {seen.place.values_key}" if seen.place.values_key else ""
    return Finding(
        f"{image.image} is certain to run ({seen.evidence}{key}) and not in the inventory",
        where=str(seen.place),
        code=MISSING,
        found=image.why,
        hint=f'add to images: "{image.image}"',
    )


class _Known:
    """Remembers by one empty file that what `key` stands for was complete; without a key nothing is remembered."""

    def __init__(self, renders: Path, key: str) -> None:
        self._path = renders / f"complete-{key}" if key else None

    @classmethod
    def of(cls, locker: Locker, lock: Lock, options: ScanOptions) -> _Known:
        return cls(locker.cache.root / RENDERS, _key(locker, lock, options))

    def is_complete(self) -> bool:
        return self._path is not None and self._path.is_file()

    def keep(self) -> None:
        if self._path is not None:
            private_directory(self._path.parent)
            write_atomically(self._path, b"", mode=0o600)


def _key(locker: Locker, lock: Lock, options: ScanOptions) -> str:
    """Return what the answer depends on; empty where that is more than can be told, as with a site's own values."""
    if options.sites or options.charts_from:
        return ""
    body = [
        code_digest(),
        locker.opened.digest(),
        sha256(lock.to_bytes()),
        sorted(options.allowed),
    ]
    return hex_of(sha256(canonical_json(body)))
