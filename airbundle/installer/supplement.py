"""Making the supplement of a delta's copy: blobs that the delta leaves out and no copy of another bundle here has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from airbundle.bundle.oci import Descriptor
from airbundle.bundle.serving import Fingerprint, fingerprint
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import END, frame
from airbundle.errors import HostError, UsageError, VerificationError
from airbundle.installer.copy import Copy, copy_name
from airbundle.installer.filler import Filler, Source, filling, space_to_fill
from airbundle.installer.workers import Stop, cpu_jobs, for_each
from airbundle.progress import Reporter
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile
from airbundle.store.supplement import Supplement, supplement_head
from airbundle.store.volumes import SUFFIX

Blobs = Sequence[tuple[str, int]]


def supplement_name(bundle: BundleFile, *, whole: bool) -> str:
    """Return the file name of the supplement that goes with a copy."""
    return f"{copy_name(bundle, whole=whole)[: -len(SUFFIX)]}.supplement"


def supplement_space(blobs: Blobs, target: Path) -> int:
    """Return the bytes that making a supplement takes; none where it is there."""
    if not blobs or _same(target, blobs):
        return 0
    return space_to_fill(target, _size(blobs))


def make_supplement(
    source: Source, blobs: Blobs, target: Path, *, verified: Fingerprint | None, reporter: Reporter
) -> Copy:
    """Make sure that a verified supplement is there.

    Args:
        source: gives each blob, verified.
        blobs: digest and size in bytes of each; at least one.
        target: where it lies.
        verified: fingerprint of one that an earlier run verified.
        reporter: gets progress.

    Raises:
        VerificationError: a blob is damaged.
        NoSpace: it does not fit; nothing is left under its name.
        HostError: the file system refuses.
    """
    if _same(target, blobs):
        found = fingerprint(target.stat())
        if found == verified or _is_good(target):
            return Copy(target, whole=True, verified=found, made=False)
        reporter.warn(f"{target}: is damaged and is made anew")
    head = supplement_head(blobs)
    table = BlobTable(blobs, len(head))
    with filling(target) as (partial, descriptor):
        filler = Filler(source, partial, descriptor, reporter)
        filler.run(_size(blobs), _between(head, table), list(table), whole=True, what="what the delta leaves out")
    with host_errors("read", target):
        return Copy(target, whole=True, verified=fingerprint(target.stat()), made=True)


def _size(blobs: Blobs) -> int:
    return BlobTable(blobs, len(supplement_head(blobs))).end + len(END)


def _same(path: Path, blobs: Blobs) -> bool:
    """Tell whether a supplement of these blobs is there; its blobs are not read."""
    if not path.exists():
        return False
    try:
        with Supplement.open(path) as found:
            return found.toc.blobs == tuple(blobs)
    except (VerificationError, UsageError, HostError):
        return False


def _is_good(path: Path) -> bool:
    stop = Stop()

    def check(blob: tuple[str, int]) -> None:
        found.copy_blob(Descriptor("", *blob), lambda _offset, _data: stop.check())

    with Supplement.open(path) as found:
        try:
            for_each(found.toc.blobs, check, jobs=cpu_jobs(), stop=stop)
        except (VerificationError, HostError):
            return False
    return True


def _between(head: bytes, table: BlobTable) -> Iterator[tuple[int, bytes]]:
    yield 0, head
    for member in table:
        yield member.start, frame(member)
    yield table.end, END
