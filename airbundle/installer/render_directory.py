"""The directory that `airbundle render` writes: one directory a release, and `render.json`, which says what is ours.

A second render changes only what differs, and takes away what is no longer rendered. So the directory may lie in a
repository of Flux or Argo CD, where what changes is what will be deployed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.release import RELEASE_NAME
from airbundle.installer.owned_directory import OwnedDirectory, OwnedFile, Written
from airbundle.installer.render import CRDS, FILES, Rendered, RenderedRelease
from airbundle.installer.verify import Trusted
from airbundle.store.site_dir import SiteDir

INDEX = "render.json"
_OURS = re.compile(rf"(?:{RELEASE_NAME.pattern})/(?:{'|'.join(map(re.escape, (CRDS, *FILES.values())))})")


def check_directory(directory: Path) -> None:
    """See that a render may be written into a directory: it is new, empty, or an earlier render's.

    Raises:
        UsageError: it is something else.
        HostError: it can't be read.
    """
    _owned(directory).check()


def write_render(directory: Path, rendered: Rendered, trusted: Trusted, site: SiteDir, registry: str) -> Written:
    """Write a render; what an earlier one wrote and this one doesn't is taken away.

    Args:
        directory: as `check_directory` wants it.
        rendered: what is written.
        trusted: the bundle that it comes from.
        site: whose it is.
        registry: host and port that images are pinned to.

    Raises:
        Busy: another render is writing it.
        UsageError: a release's directory in it is a link.
        HostError: it can't be written; the same command goes on.
    """
    files = {
        f"{each.release.name}/{name}": OwnedFile(text.encode())
        for each in rendered.releases
        for name, text in each.files.items()
    }
    return _owned(directory).write(files, _index(rendered, trusted, site, registry))


def _owned(directory: Path) -> OwnedDirectory:
    return OwnedDirectory(directory, INDEX, "Render", _OURS, "render")


def _index(rendered: Rendered, trusted: Trusted, site: SiteDir, registry: str) -> dict[str, Any]:
    statement = trusted.statement
    return {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Render",
        "bundle": {
            "name": statement.name,
            "version": statement.version,
            "serial": statement.serial,
            "statement": sha256(trusted.bundle.statement_raw),
        },
        "site": site.site.name,
        "registry": registry,
        "releases": [release_body(each) for each in rendered.releases],
        "off": list(rendered.off),
    }


def release_body(each: RenderedRelease) -> dict[str, Any]:
    """Return what is told of a release in JSON."""
    release = each.release
    return {
        "name": release.name,
        "namespace": release.namespace,
        "needs": list(release.needs),
        "timeout": release.timeout,
        "files": [f"{release.name}/{name}" for name in each.files],
        "images": dict(sorted(each.images.items())),
        "unpinned": sorted({str(sighting.image) for sighting in each.kept}),
    }
