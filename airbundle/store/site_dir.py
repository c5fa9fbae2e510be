"""A site file with the values files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.site import Site, parse_site
from airbundle.bundle.yamldoc import SIZE_LIMIT
from airbundle.errors import UsageError
from airbundle.store.host import read_bounded


@dataclass(frozen=True)
class SiteDir:
    """A site and the directory that its paths are relative to."""

    root: Path
    site: Site

    def read_values(self, release: str, limit: int) -> list[tuple[str, bytes]]:
        """Return path and bytes of the site's own values files for a release, in order.

        Raises:
            UsageError: one isn't there, or has more than `limit` bytes.
            HostError: one can't be read.
        """
        return [(path, self._read(path, release, limit)) for path in self.site.values.get(release, ())]

    def _read(self, path: str, release: str, limit: int) -> bytes:
        file = self.root / path
        if not file.is_file():
            raise UsageError(
                f"{self.site.where} values.{release}: {path!r} is not there", hint=f"expected it at {file}"
            )
        return read_bounded(file, limit)


def open_site(path: Path) -> SiteDir:
    """Read a site file.

    Raises:
        UsageError: there is none.
        DocumentError: it does not parse; every finding is listed.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no site file", hint="`airbundle init DIR --site` writes one to start from")
    return SiteDir(path.parent, parse_site(read_bounded(path, SIZE_LIMIT), where=path.name))
