"""What a build takes from earlier bundles inside the kernel, and how it counts where its bytes come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airbundle.builder.donors import Donor, Donors
from airbundle.bundle.content import BlobSource, Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.tar import ALIGNMENT
from airbundle.errors import HostError, NoSpace
from airbundle.progress import SILENT, Reporter
from airbundle.store.host import host_errors
from airbundle.store.ranges import can_share, copy_segments
from airbundle.store.writer import BundleWriter


@dataclass
class Origins:
    """Bytes of blobs by where they came from: earlier bundles and airbundle's own cache, or upstream."""

    reused: int = 0
    fetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, reused: int = 0, fetched: int = 0) -> None:
        """Count more bytes; called by many threads."""
        with self._lock:
            self.reused += reused
            self.fetched += fetched

    def local(self, source: BlobSource) -> BlobSource:
        """Return `source`, counted as reused."""
        return _Counted(source, lambda size: self.count(reused=size))

    def upstream(self, source: BlobSource) -> BlobSource:
        """Return `source`, counted as fetched."""
        return _Counted(source, lambda size: self.count(fetched=size))


@dataclass(frozen=True)
class _Counted:
    source: BlobSource
    count: Callable[[int], None]

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        self.source.copy_blob(blob, write, start=start, hasher=hasher)
        self.count(blob.size - start)


def reuse_blobs(
    writer: BundleWriter, wanted: Sequence[Descriptor], donors: Donors, origins: Origins, *, reporter: Reporter = SILENT
) -> None:
    """Copy what proven bundles have to its place; what can't be had this way is left for `fetch_blobs`.

    Args:
        writer: the bundle being written.
        wanted: its blobs, in file order: the checksum follows the end of what is done.
        donors: only those with a proof are read, and the proof is looked at again after each blob.
        origins: counts.
        reporter: where progress goes.

    Raises:
        HostError: the target can't be written.
    """
    pending = {blob.digest for blob in writer.pending()}
    proven = [donor for donor in donors.all if donor.proof is not None]
    owners = ((blob, _first(proven, blob)) for blob in wanted if blob.digest in pending)
    places = [(blob, donor) for blob, donor in owners if donor is not None]
    if not places:
        return
    with reporter.phase("reuse", total=sum(blob.size for blob, _ in places)) as phase:
        for blob, donor in places:
            with phase.item(blob.digest[7:19], blob.size) as item:
                if _copy(writer, blob, donor, item.advance):
                    writer.copied(blob.digest)
                    origins.count(reused=blob.size)


def shared_blobs(
    wanted: Sequence[Descriptor], donors: Donors, directory: Path, *, volume_size: int = 0
) -> frozenset[str]:
    """Return the digests of the blobs that `reuse_blobs` shares instead of copying them.

    Args:
        wanted: blobs of the bundle that will be written.
        donors: those with a proof count.
        directory: where it will lie.
        volume_size: bytes of a volume; 0 for one file. Cut within blocks, nothing is shared.
    """
    if volume_size % ALIGNMENT:
        return frozenset()
    proven = [donor for donor in donors.all if donor.proof is not None]
    sharing = {id(donor) for donor in proven if _can_share(donor, directory)}
    if not sharing:
        return frozenset()
    owners = ((blob.digest, _first(proven, blob)) for blob in wanted)
    return frozenset(
        digest
        for digest, donor in owners
        if donor is not None and id(donor) in sharing and _in_whole_blocks(donor, digest)
    )


def _can_share(donor: Donor, directory: Path) -> bool:
    return donor.file is not None and all(can_share(part.fd, directory) for part in donor.file.file.parts)


def _in_whole_blocks(donor: Donor, digest: str) -> bool:
    """Volumes may be cut anywhere; then what follows lies elsewhere in its blocks than it will in the new bundle."""
    segments = donor.file.segments(digest) if donor.file is not None else []
    return all(offset % ALIGNMENT == 0 for _, offset, _ in segments) and all(
        length % ALIGNMENT == 0 for _, _, length in segments[:-1]
    )


def _first(donors: Sequence[Donor], blob: Descriptor) -> Donor | None:
    return next((donor for donor in donors if donor.has(blob.digest, blob.size)), None)


def _copy(writer: BundleWriter, blob: Descriptor, donor: Donor, advance: Callable[[int], None]) -> bool:
    if donor.proof is None or donor.file is None:
        return False
    problem = "it was changed while it was read"
    try:
        with host_errors("copy", donor.name):
            whole = copy_segments(donor.file.segments(blob.digest), writer.segments(blob.digest), advance)
    except NoSpace:
        raise
    except HostError as error:
        whole, problem = False, error.problem
    if whole and donor.proof.holds(donor.file.file):
        return True
    donor.proof = None  # from here on all of it is hashed
    donor.disappoints(problem)
    return False
