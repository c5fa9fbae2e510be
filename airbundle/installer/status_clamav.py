"""How old the ClamAV databases are that the site's server has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from airbundle.bundle.clamav_artifact import CREATED, KIND, TITLE, VERSION
from airbundle.bundle.oci import MANIFEST_LIMIT, parse_manifest
from airbundle.bundle.statement import parse_time
from airbundle.errors import Finding, VerificationError
from airbundle.installer.state import Installed, StateDirectory
from airbundle.store.reader import BundleFile, open_bundle

OLD, STALE = 7, 30
"""Days: from the first on freshclam itself complains; from the second on nothing new is found any more."""
DAILY = "daily"
"""The database that ClamAV makes anew each day; the others it makes once in months, and they are well for years."""
_LONGEST = 16


@dataclass(frozen=True)
class DatabaseAge:
    """A database that the server has.

    Attributes:
        name: such as `daily`.
        version: of several bundles' the highest, which is what clients get.
        days: whole days since it was built.
    """

    name: str
    version: int
    days: int


def clamav_ages(state: StateDirectory, installed: Installed) -> list[DatabaseAge]:
    """Return the databases that have a time of their own, by name; none where all are custom signatures.

    Raises:
        VerificationError: a copy is damaged.
    """
    newest: dict[str, tuple[int, datetime]] = {}
    for bundle in installed.bundles:
        for name, version, built in _databases(state, bundle.file):
            newest[name] = max(newest.get(name, (version, built)), (version, built))
    now = datetime.now(timezone.utc)
    return [DatabaseAge(name, version, (now - built).days) for name, (version, built) in sorted(newest.items())]


def deciding(ages: Sequence[DatabaseAge]) -> DatabaseAge | None:
    """Return the database whose age tells whether the site finds what is new: `daily`, else the newest one."""
    daily = [each for each in ages if each.name == DAILY]
    return min(daily or ages, key=lambda each: each.days, default=None)


def clamav_findings(ages: Sequence[DatabaseAge]) -> Iterator[Finding]:
    """Yield a finding where the database that counts is old: a warning at first."""
    age = deciding(ages)
    if age is not None and age.days > OLD:
        yield Finding(
            f"the ClamAV database {age.name} is {'stale' if age.days > STALE else 'old'}",
            where=f"{KIND}/{age.name}:{age.version}",
            code="clamav",
            found=f"{age.days} days old",
            expected=f"at most {OLD} days",
            hint="bring a bundle with newer databases (connected side: airbundle lock --update clamav)",
            severity="error" if age.days > STALE else "warning",
        )


def _databases(state: StateDirectory, file: str) -> Iterator[tuple[str, int, datetime]]:
    path = state.bundles / file
    if not file or not path.is_file():
        return
    with open_bundle([path]) as bundle:
        yield from _times(bundle)


def _times(bundle: BundleFile) -> Iterator[tuple[str, int, datetime]]:
    for root in bundle.roots(KIND):
        told = parse_manifest(bundle.read_small(root.digest, MANIFEST_LIMIT), what=root.digest).annotations
        version = told.get(VERSION, "")
        try:
            built = parse_time(told[CREATED])
        except (KeyError, VerificationError):
            continue
        number = int(version) if version.isascii() and version.isdigit() and len(version) < _LONGEST else 0
        yield told.get(TITLE, ""), number, built
