"""The files at a site that may have what a delta leaves out: `--base` bundles, and copies that the site keeps."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.serving import Fingerprint, fingerprint
from airbundle.errors import AirbundleError
from airbundle.installer.state import Installed, InstalledBundle, StateDirectory
from airbundle.installer.supplement import supplement_name
from airbundle.store.delta import base_bundles, server_blobs
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.supplement import Supplement
from airbundle.store.table_file import TableFile
from airbundle.store.union import BlobUnion, Holder

logger = logging.getLogger(__name__)


@contextmanager
def open_blobs(bundle: BundleFile, bases: Sequence[Path], state: StateDirectory) -> Iterator[BlobUnion]:
    """Open what may have the blobs that a bundle leaves out; of a bundle that leaves out none, nothing.

    Args:
        bundle: that is to be installed.
        bases: of `--base`.
        state: of the site.

    Raises:
        UsageError: a base isn't there.
        VerificationError: a base is no bundle, or its head is damaged.
    """
    with ExitStack() as undo:
        # Also where the bundle needs none: a name that is wrong is told.
        given = [undo.enter_context(open_bundle(paths)) for paths in base_bundles(bases)]
        for base in given:
            _ = base.table
        if not bundle.missing():
            yield BlobUnion(bundle)
            return
        installed = state.read()
        kept = list(_kept(bundle, installed, state, undo))
        own = list(_own(bundle, installed, state, undo))
        yield BlobUnion(bundle, [*kept, *own, *(Holder(base) for base in given)])


def kept_bundles(blobs: BlobUnion) -> list[BundleFile]:
    """Return the copies of other bundles that the site keeps."""
    return [each.file for each in blobs.holders if each.kept and isinstance(each.file, BundleFile)]


def _kept(bundle: BundleFile, installed: Installed, state: StateDirectory, undo: ExitStack) -> Iterator[Holder]:
    """Yield copies and supplements of other bundles; one that can't be opened is no source (`status` tells of it)."""
    statement = sha256(bundle.statement_raw)
    for each in installed.bundles:
        if each.statement == statement:
            continue
        try:
            if each.file and each.fingerprint:
                yield _copy(each, state, undo)
            if each.supplement:
                yield _supplement(state.bundles / each.supplement, each.supplement_fingerprint, undo, kept=True)
        except AirbundleError as error:
            logger.warning("%s", error.problem)


def _copy(each: InstalledBundle, state: StateDirectory, undo: ExitStack) -> Holder:
    copy = undo.enter_context(open_bundle([state.bundles / each.file]))
    _ = copy.table  # one that is cut is no source, either
    present = None if each.whole else server_blobs(copy)
    return Holder(copy, kept=True, proven=_seen(copy) == each.fingerprint, present=present)


def _own(bundle: BundleFile, installed: Installed, state: StateDirectory, undo: ExitStack) -> Iterator[Holder]:
    """Yield the supplement that an earlier run made for this bundle, though it may not have come to its end."""
    statement = sha256(bundle.statement_raw)
    known = {each.supplement: each.supplement_fingerprint for each in installed.bundles if each.statement == statement}
    for whole in (True, False):
        name = supplement_name(bundle, whole=whole)
        path = state.bundles / name
        if not path.is_file():
            continue
        try:
            yield _supplement(path, known.get(name), undo, kept=False)
        except AirbundleError as error:
            logger.warning("%s", error.problem)


def _supplement(path: Path, known: Fingerprint | None, undo: ExitStack, *, kept: bool) -> Holder:
    found = undo.enter_context(Supplement.open(path))
    return Holder(found, kept=kept, proven=known is not None and _seen(found) == known)


def _seen(file: TableFile) -> Fingerprint:
    return fingerprint(os.fstat(file.file.parts[0].fd))
