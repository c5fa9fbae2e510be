"""Cutting a finished bundle into volumes. No key is needed: volumes are byte ranges, and blobs' digests carry trust."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path

from airbundle.progress import Phase, Reporter
from airbundle.store.allocate import allocate, check_room
from airbundle.store.checksum import remove_checksums, write_checksums
from airbundle.store.host import host_errors
from airbundle.store.output import PARTIAL, remove_surplus_volumes
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import bundle_path, cut, volume_name
from airbundle.store.writer import BuiltBundle


def split_bundle(bundle: BundleFile, size: int, directory: Path, *, reporter: Reporter) -> BuiltBundle:
    """Write a bundle's bytes as volumes, and `.sha256` beside them; higher numbers of an earlier split go.

    Args:
        bundle: in one file, or in volumes of another size.
        size: bytes of a volume, at most.
        directory: where to; made if it isn't there.
        reporter: hears of each volume.

    Raises:
        UsageError: the installer does not fit a volume.
        NoSpace: there is no room; nothing is left behind.
        VerificationError: the bundle became shorter while it was read; nothing is left behind.
    """
    sizes = cut(bundle.size, size, bundle.installer_range[1])
    out = directory / bundle_path(bundle.path).name
    with host_errors("make", directory):
        directory.mkdir(parents=True, exist_ok=True)
    check_room(directory, bundle.size, what=f"{out.name} in {len(sizes)} volumes")
    sums: dict[str, str] = {}
    finals = [directory / volume_name(out.name, number) for number in range(1, len(sizes) + 1)]
    partials = [final.with_name(final.name + PARTIAL) for final in finals]
    with ExitStack() as undo, reporter.phase("split", total=bundle.size) as phase:
        position = 0
        for final, partial, length in zip(finals, partials, sizes):
            undo.callback(partial.unlink, missing_ok=True)
            sums[final.name] = _write(bundle, position, length, partial, phase)
            position += length
        remove_checksums(out)
        for final, partial in zip(finals, partials):
            with host_errors("rename", partial):
                partial.replace(final)
    remove_surplus_volumes(out, len(finals))
    write_checksums(out, sums)
    return BuiltBundle(out, tuple(finals), bundle.size, sums)


def _write(bundle: BundleFile, position: int, length: int, path: Path, phase: Phase) -> str:
    hasher = hashlib.sha256()
    with host_errors("write", path), path.open("wb", buffering=0) as file, phase.item(path.stem, length) as item:
        allocate(file.fileno(), length, path)
        for piece in bundle.file.pieces(position, length):
            hasher.update(piece)
            item.advance(len(piece))
            left = piece
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    return hasher.hexdigest()
