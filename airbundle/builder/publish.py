"""`publish` and `pull`: a finished bundle goes to a registry as an artifact, and comes back byte for byte."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.builder.fetch import fetch_blobs
from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.parts import Part, cut
from airbundle.errors import Busy, NoSpace, UsageError
from airbundle.progress import SILENT, Reporter
from airbundle.store.allocate import allocate
from airbundle.store.checksum import range_sum
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.volumes import ByteFile
from airbundle.transfer.artifacts import PART_TYPE, Artifact, BundleBytes, find_artifact, publish_parts
from airbundle.transfer.repository import Repository


@dataclass(frozen=True)
class Published:
    """What `publish_bundle` did: the artifact, and the bytes that had to be sent."""

    artifact: Artifact
    sent: int


def publish_bundle(bundle: BundleFile, repository: Repository, tag: str, *, reporter: Reporter = SILENT) -> Published:
    """Push a bundle; large blobs that the registry has are not sent again.

    Raises:
        VerificationError: the bundle is damaged; nothing gets the tag.
        RemoteError: the registry.
    """
    bundle.verify_head()
    statement = bundle.statement
    parts = _parts(bundle)
    annotations = {
        "org.opencontainers.image.version": statement.version,
        "dev.airbundle.name": statement.name,
        "dev.airbundle.serial": str(statement.serial),
    }
    name = f"{statement.name}-{statement.version}.airbundle"
    artifact, sent = publish_parts(
        repository, tag, name, parts, _Source(bundle.file), annotations=annotations, reporter=reporter
    )
    return Published(artifact, sent)


def _parts(bundle: BundleFile) -> list[Part]:
    """Cut, and hash what is no large blob; the small blobs in there are verified, the large ones when they are sent."""
    members = list(bundle.table)
    parts = cut(bundle.size, [(member.digest, member.offset, member.size) for member in members])
    large = {part.digest for part in parts}
    for member in members:
        if member.digest not in large:
            bundle.copy_blob(Descriptor("", member.digest, member.size), _nowhere)
    return [_hashed(bundle.file, part) for part in parts]


def _nowhere(offset: int, data: memoryview) -> None:
    pass


class _Source(BundleBytes):
    def __init__(self, file: ByteFile) -> None:
        self._file = file

    def read_at(self, position: int, buffer: memoryview) -> int:
        """Fill `buffer` from `position` on."""
        return self._file.read_into(position, buffer)


def _hashed(file: ByteFile, part: Part) -> Part:
    return part if part.digest else Part(part.offset, part.size, _digest(file, part))


def _digest(file: ByteFile, part: Part) -> str:
    return f"sha256:{range_sum(file, part.offset, part.size)}"


def pull_bundle(
    repository: Repository, ref: str, directory: Path, *, jobs: int = 4, reporter: Reporter = SILENT
) -> Path:
    """Fetch a published bundle into `directory`; one that was cut off goes on.

    The name appears when all parts have verified and the whole is a bundle; its origin is for `verify --key`.

    Raises:
        UsageError: the file is there already, or the artifact is no bundle.
        VerificationError: wrong bytes.
        NotFound, RemoteError, HostError.
    """
    artifact = find_artifact(repository, ref)
    path = directory / artifact.name
    if path.exists():
        raise UsageError(f"{path} is there already", hint="move it away, or name another directory with -o")
    partial = path.with_name(f"{path.name}.partial")
    with _open_partial(partial, artifact.size) as file:
        resumed = _has_size(file)
        if not resumed:
            _make_room(file)
        target = _Target(file, artifact, resumed=resumed)
        fetch_blobs(target, lambda _: [repository], jobs=jobs, reporter=reporter)
        file.sync()
    with open_bundle([partial]) as bundle:
        bundle.verify_head()
    with host_errors("write", path):
        partial.rename(path)
    return path


def _open_partial(path: Path, size: int) -> ByteFile:
    with host_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    file = ByteFile([(path, fd, size)])
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Busy(f"{path}: another run fetches it", hint="wait for it to end") from None
    return file


def _has_size(file: ByteFile) -> bool:
    return os.fstat(file.parts[0].fd).st_size == file.size


def _make_room(file: ByteFile) -> None:
    os.ftruncate(file.parts[0].fd, 0)
    try:
        allocate(file.parts[0].fd, file.size, file.path)
    except NoSpace:
        file.path.unlink()
        raise


class _Target:
    """The file that is being fetched, as `fetch_blobs` wants it. What is there already is found by its digest."""

    def __init__(self, file: ByteFile, artifact: Artifact, *, resumed: bool) -> None:
        self._file = file
        self._places: dict[str, list[int]] = {}
        wanted = {}
        for part in artifact.parts:
            if resumed and _digest(file, part) == part.digest:
                continue
            self._places.setdefault(part.digest, []).append(part.offset)
            wanted[part.digest] = Descriptor(PART_TYPE, part.digest, part.size)
        self._wanted = sorted(wanted.values(), key=lambda blob: -blob.size)

    def pending(self) -> Sequence[Descriptor]:
        """Return what is still to be fetched, largest first."""
        return self._wanted

    def resume_point(self, digest: str) -> tuple[int, Hasher | None]:  # noqa: ARG002 - parts begin at their start
        """Return how much of a part is there: nothing."""
        return 0, None

    def write_at(self, digest: str) -> WriteAt:
        """Return what writes a part to each of its places."""
        places = self._places[digest]

        def write(offset: int, data: memoryview) -> None:
            for place in places:
                self._file.write(place + offset, data)

        return write

    def done(self, digest: str) -> None:
        """Nothing is recorded: what is there is found by its digest."""
