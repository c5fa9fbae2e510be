"""What of this host itself stands in the way of an install: where programs may run, and which cryptography it wants."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from airbundle.errors import Finding
from airbundle.installer.files import existing_parent

FIPS = Path("/proc/sys/crypto/fips_enabled")
"""Says 1 where the kernel was started in FIPS mode; not there where it can't be."""


def host_findings(root: Path, *, fips: Path = FIPS) -> Iterator[Finding]:
    """Yield what is odd about this host.

    Args:
        root: the state directory, which need not be there yet.
        fips: the kernel's file.
    """
    place = existing_parent(root)
    if os.statvfs(place).f_flag & os.ST_NOEXEC:
        yield Finding(
            "programs can't be run from there: it is mounted noexec",
            where=str(place),
            code="noexec",
            hint="programs that the bundle carries, such as helm, must be on the PATH; or name another --state-dir",
            severity="warning",
        )
    if _says_one(fips):
        yield Finding(
            "this host is in FIPS mode, and the cryptography that airbundle carries is not validated",
            where=str(fips),
            code="fips",
            hint="install the distribution's python3-cryptography, which is used where it is recent enough",
            severity="warning",
        )


def _says_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16).strip() == b"1"
    except OSError:
        return False
