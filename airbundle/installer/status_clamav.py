"""How old the ClamAV databases are that the site's server has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from airbundle.bundle.clamav_artifact import CREATED, KIND
from airbundle.bundle.oci import MANIFEST_LIMIT, parse_manifest
from airbundle.bundle.statement import parse_time
from airbundle.errors import Finding, VerificationError
from airbundle.installer.state import Installed, StateDirectory
from airbundle.store.reader import BundleFile, open_bundle

OLD, STALE = 7, 30
"""Days: from the first on freshclam itself complains; from the second on nothing new is found any more."""


def clamav_days(state: StateDirectory, installed: Installed) -> int | None:
    """Return the age in days of the newest database; None where there is none, as where all are custom signatures.

    Raises:
        VerificationError: a copy is damaged.
    """
    built = [time for bundle in installed.bundles for time in _built(state, bundle.file)]
    return (datetime.now(timezone.utc) - max(built)).days if built else None


def clamav_findings(days: int | None) -> Iterator[Finding]:
    """Yield a finding where the newest database is old: a warning at first."""
    if days is not None and days > OLD:
        yield Finding(
            f"the newest ClamAV database is {days} days old",
            code="clamav",
            expected=f"at most {OLD} days",
            hint="bring a bundle with newer databases (connected side: airbundle lock --update clamav)",
            severity="error" if days > STALE else "warning",
        )


def _built(state: StateDirectory, file: str) -> Iterator[datetime]:
    path = state.bundles / file
    if not file or not path.is_file():
        return
    with open_bundle([path]) as bundle:
        yield from _times(bundle)


def _times(bundle: BundleFile) -> Iterator[datetime]:
    for root in bundle.roots(KIND):
        manifest = parse_manifest(bundle.read_small(root.digest, MANIFEST_LIMIT), what=root.digest)
        for layer in manifest.layers:
            try:
                yield parse_time(layer.annotations[CREATED])
            except (KeyError, VerificationError):
                continue
