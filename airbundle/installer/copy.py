"""The site's own copy of a bundle: verified while it is copied, whole under its name or not there (design §6).

Where the file system can share bytes between files (reflink), the copy takes neither time nor space and is then
verified by reading it. Else each blob is hashed on its way. A copy that was cut off goes on: what has arrived is
recognised by its digest.

Where airbundle's server does not serve images, because the registry is another one, the copy is partial: same size,
same places, but the blobs that only images need are holes in the file and take no space.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.serving import Fingerprint, fingerprint
from airbundle.bundle.tar import Member, frame
from airbundle.errors import HostError, UsageError, VerificationError
from airbundle.installer.files import existing_parent
from airbundle.installer.filler import Filler, filling, space_to_fill
from airbundle.installer.workers import Stop, cpu_jobs, for_each
from airbundle.progress import Phase, Reporter
from airbundle.store.delta import server_blobs
from airbundle.store.host import host_errors
from airbundle.store.reader import BundleFile, open_bundle
from airbundle.store.volumes import CHUNK

_FICLONE = 0x40049409
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LIMIT = 80


@dataclass(frozen=True)
class Copy:
    """The site's copy.

    Attributes:
        path: the file.
        whole: whether it has all blobs.
        verified: its fingerprint when all its blobs had verified.
        made: whether this run made it.
    """

    path: Path
    whole: bool
    verified: Fingerprint
    made: bool


def copy_name(bundle: BundleFile, *, whole: bool) -> str:
    """Return the file name of a copy: name, version and the beginning of the statement's digest."""
    statement = bundle.statement
    words = _UNSAFE.sub("_", f"{statement.name}-{statement.version}")[:_NAME_LIMIT].lstrip(".-")
    return f"{words}-{hex_of(sha256(bundle.statement_raw))[:12]}{'' if whole else '.partly'}.airbundle"


def wanted_blobs(bundle: BundleFile, *, whole: bool) -> frozenset[str]:
    """Return the digests of the blobs that a copy has.

    Args:
        bundle: whose head has verified.
        whole: all of them; else only what the server needs for charts, files and the ClamAV mirror.
    """
    carried = frozenset(digest for digest, _ in bundle.toc.blobs)
    return carried if whole else server_blobs(bundle) & carried


def space_needed(bundle: BundleFile, directory: Path, *, whole: bool) -> int:
    """Return the bytes that a copy in `directory` takes: none where it is there, or its bytes can be shared."""
    target = directory / copy_name(bundle, whole=whole)
    if target.exists() or (whole and _can_share(bundle, existing_parent(directory))):
        return 0
    wanted = wanted_blobs(bundle, whole=whole)
    needed = bundle.table.start + bundle.installer_range[1]
    needed += sum(member.end - member.start for member in bundle.table if member.digest in wanted)
    return space_to_fill(target, needed)


def copy_bundle(
    bundle: BundleFile, directory: Path, *, whole: bool, verified: Fingerprint | None, reporter: Reporter
) -> Copy:
    """Make sure that `directory` has a verified copy.

    Args:
        bundle: opened, trusted, its head verified.
        directory: where copies lie.
        whole: see `wanted_blobs`.
        verified: fingerprint of a copy that an earlier run verified.
        reporter: gets progress.

    Raises:
        VerificationError: the bundle is damaged, or was exchanged since its signature was checked.
        NoSpace: the copy does not fit; nothing is left under its name.
        HostError: the file system refuses.
    """
    wanted = wanted_blobs(bundle, whole=whole)
    target = directory / copy_name(bundle, whole=whole)
    if target.exists():
        found = fingerprint(target.stat())
        if found == verified or _is_good(target, bundle, wanted, reporter):
            return Copy(target, whole, found, made=False)
        reporter.warn(f"{target}: is damaged and is made anew")
    with filling(target) as (partial, descriptor):
        _fill(bundle, partial, descriptor, wanted, whole=whole, reporter=reporter)
    with host_errors("read", target):
        return Copy(target, whole, fingerprint(target.stat()), made=True)


def _is_good(path: Path, bundle: BundleFile, wanted: Collection[str], reporter: Reporter) -> bool:
    """Verify a copy of which no fingerprint is known, or another one."""
    try:
        with open_bundle([path]) as copy:
            _verify(copy, bundle, wanted, reporter)
    except (VerificationError, UsageError, HostError):  # damaged, no file at all, or on a bad disk
        return False
    return True


def _verify(copy: BundleFile, bundle: BundleFile, wanted: Collection[str], reporter: Reporter) -> None:
    _check_head(copy, bundle)
    members = [member for member in copy.table if member.digest in wanted]
    with reporter.phase("verify the copy", total=sum(member.size for member in members)) as phase:
        stop = Stop()
        for_each(members, lambda member: _read(copy, member, phase, stop), jobs=cpu_jobs(), stop=stop)


def _read(copy: BundleFile, member: Member, phase: Phase, stop: Stop) -> None:
    with phase.item(member.digest[7:19], member.size) as item:

        def read(offset: int, data: memoryview) -> None:  # noqa: ARG001 - the signature of a writer
            stop.check()
            item.advance(len(data))

        copy.copy_blob(Descriptor("", member.digest, member.size), read)


def _check_head(copy: BundleFile, bundle: BundleFile) -> None:
    if copy.statement_raw != bundle.statement_raw:
        raise VerificationError(
            f"{bundle.path}: its statement changed while it was copied", hint="let nothing write to it, then run again"
        )
    copy.verify_head()


def _fill(
    bundle: BundleFile, partial: Path, descriptor: int, wanted: Collection[str], *, whole: bool, reporter: Reporter
) -> None:
    shared = whole and _share(bundle, descriptor)
    if not shared:
        members = list(bundle.table)
        found = [member for member in members if member.digest in wanted]
        complete = len(found) == len(members)
        filler = Filler(bundle, partial, descriptor, reporter)
        filler.run(bundle.size, _between(bundle), found, whole=complete, what=bundle.path.name)
    with open_bundle([partial]) as copy:
        if shared:
            _verify(copy, bundle, wanted, reporter)
        else:
            _check_head(copy, bundle)


def _between(bundle: BundleFile) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of a bundle that are no blob, with their offsets."""
    yield from _range(bundle, 0, bundle.table.start)
    for member in bundle.table:
        yield member.start, frame(member)
    yield from _range(bundle, *bundle.installer_range)


def _range(bundle: BundleFile, start: int, length: int) -> Iterator[tuple[int, bytes]]:
    for position in range(start, start + length, CHUNK):
        yield position, bundle.file.read(position, min(CHUNK, start + length - position))


def _share(bundle: BundleFile, descriptor: int) -> bool:
    """Make the open file share the bundle's bytes, where the file system can."""
    if len(bundle.file.parts) != 1:
        return False
    try:
        fcntl.ioctl(descriptor, _FICLONE, bundle.file.parts[0].fd)
    except OSError:
        return False
    return True


def _can_share(bundle: BundleFile, directory: Path) -> bool:
    """Try it with a file that has no name and goes away at once."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        return _share(bundle, descriptor)
    finally:
        os.close(descriptor)
