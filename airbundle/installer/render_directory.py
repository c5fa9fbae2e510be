"""The directory that `airbundle render` writes: one directory a release, and `render.json`, which says what is ours.

A second render changes only what differs, and takes away what is no longer rendered. So the directory may lie in a
repository of Flux or Argo CD, where what changes is what will be deployed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airbundle.bundle.digest import sha256
from airbundle.bundle.release import RELEASE_NAME
from airbundle.errors import Busy, UsageError
from airbundle.installer.files import DIRECTORY, FILE, make_directory, read_file, write_file
from airbundle.installer.render import CRDS, FILES, Rendered, RenderedRelease
from airbundle.installer.verify import Trusted
from airbundle.store.host import host_errors
from airbundle.store.site_dir import SiteDir

INDEX = "render.json"
_LIMIT = 64 * 1024 * 1024
_OURS = re.compile(rf"(?:{RELEASE_NAME.pattern})/(?:{'|'.join(map(re.escape, (CRDS, *FILES.values())))})")
_PART = re.compile(rf"\.(?:{'|'.join(map(re.escape, (INDEX, CRDS, *FILES.values())))})\.[0-9]+\.part")
"""Files that `write_file` could not finish."""


@dataclass(frozen=True)
class Written:
    """What a render changed in its directory: files written and taken away, by their paths in it, sorted."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


def check_directory(directory: Path) -> None:
    """See that a render may be written into a directory: it is new, empty, or an earlier render's.

    Raises:
        UsageError: it is something else.
        HostError: it can't be read.
    """
    if not directory.exists():
        if not directory.parent.is_dir():
            raise UsageError(f"{directory}: {directory.parent} is not there", hint="make it first")
        return
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", hint="name another one")
    with host_errors("read", directory):
        others = any(not _PART.fullmatch(path.name) for path in directory.iterdir())
        foreign = others and not (directory / INDEX).is_file()
    if foreign:
        raise UsageError(
            f"{directory} holds files of others: there is no {INDEX} of an earlier render",
            hint="name a new directory, or an empty one",
        )
    _earlier(directory)


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
    texts = {f"{each.release.name}/{name}": text for each in rendered.releases for name, text in each.files.items()}
    with host_errors("write", directory):
        make_directory(directory, DIRECTORY)
    with _locked(directory), host_errors("write", directory):
        before = _earlier(directory)
        _check_links(directory, {*texts, *before})
        _remove_parts(directory, {*texts, *before})
        # Until the new list is there, the old one and this one together say what is ours.
        index = _index(rendered, trusted, site, registry)
        write_file(directory / INDEX, _encoded({**index, "files": sorted({*texts, *before})}), FILE)
        written = [path for path, text in sorted(texts.items()) if _write(directory, path, text)]
        removed = [path for path in sorted(before - texts.keys()) if _remove(directory, path)]
        write_file(directory / INDEX, _encoded({**index, "files": sorted(texts)}), FILE)
    return Written(tuple(written), tuple(removed))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock: what two renders write at once no list would tell. It leaves no file there."""
    with host_errors("lock", directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with host_errors("lock", directory):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"{directory}: another render is writing it", hint="wait until it ends, then run this again"
                ) from None
        yield
    finally:
        os.close(descriptor)


def _check_links(directory: Path, paths: set[str]) -> None:
    links = sorted({parent for parent in ((directory / path).parent for path in paths) if parent.is_symlink()})
    if links:
        raise UsageError(f"{links[0]} is a link, which is not followed", hint="take it away")


def _remove_parts(directory: Path, paths: set[str]) -> None:
    """Take away what a render that was killed could not finish."""
    for place in {directory, *((directory / path).parent for path in paths)}:
        for part in place.iterdir() if place.is_dir() else ():
            if _PART.fullmatch(part.name):
                part.unlink()


def _write(directory: Path, path: str, text: str) -> bool:
    file = directory / path
    make_directory(file.parent, DIRECTORY)
    return write_file(file, text.encode(), FILE)


def _remove(directory: Path, path: str) -> bool:
    file = directory / path
    if not file.is_file():
        return False
    file.unlink()
    if not any(file.parent.iterdir()):
        file.parent.rmdir()
    return True


def _earlier(directory: Path) -> set[str]:
    """Return the files that an earlier render says it wrote.

    Raises:
        UsageError: its list is not as we write it.
    """
    raw = read_file(directory / INDEX, limit=_LIMIT)
    if raw is None:
        return set()
    try:
        body = json.loads(raw)
        files = body["files"] if body["kind"] == "Render" else None
        found = {path for path in files or () if _OURS.fullmatch(path)}
    except (ValueError, KeyError, TypeError, RecursionError):
        files, found = None, set()
    if files is None or len(found) != len(files):
        raise UsageError(f"{directory / INDEX} is not as `airbundle render` writes it", hint="name another directory")
    return found


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


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"
