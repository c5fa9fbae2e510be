"""Whether one entry of a lock still is what an entry of the inventory asks for.

`lock` keeps exactly what fits by these rules, and `build` refuses exactly what does not; so `lock` always mends what
`build` complains of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from airbundle.bundle.clamav import CUSTOM_FAMILY
from airbundle.bundle.image_source import REGISTRY, parse_image_source
from airbundle.bundle.inventory import ClamavRequest, FileRequest, ImageRequest
from airbundle.bundle.lock import LockedRoot
from airbundle.errors import Finding, UsageError

RELOCK = "run `airbundle lock`"


def root_key(root: LockedRoot) -> str:
    """Return by what name, one of its kind, the inventory knows an entry, whatever the spelling.

    Images have their full name in the bundle, files, releases and tools a name of their own, charts what was
    asked for; databases go together, and there is one CA.
    """
    if root.kind == "image":
        return root.ref
    if root.kind in {"file", "release", "tool"}:
        return root.info.get("name", "")
    return root.requested if root.kind == "chart" else root.kind


def clamav_origin(request: ClamavRequest, family: str) -> str:
    """Return where the databases of a family come from, for the lock."""
    custom = sorted(request.custom) if family == CUSTOM_FAMILY else []
    return ", ".join([request.source, *custom])


def misfit(message: str, where: str, *, code: str, found: str = "", expected: str = "") -> Finding:
    """Return a finding that `airbundle lock` mends."""
    return Finding(message, where, code, found, expected, RELOCK)


def image_misfit(image: ImageRequest, root: LockedRoot) -> Finding | None:
    """Return why a locked image of the right name is not what is asked for; None when it is."""
    name, pinned = image.target.full_name, _pin(image)
    if not _same_source(image, root):
        return misfit(
            f"the image {name} comes from elsewhere now",
            image.where,
            code="lock-source",
            found=root.requested,
            expected=image.requested,
        )
    if pinned and pinned != root.descriptor.digest:
        return misfit(
            f"the image {name} is pinned to another digest",
            image.where,
            code="lock-digest",
            found=root.descriptor.digest,
            expected=pinned,
        )
    if sorted(root.platforms) != sorted(image.platforms):
        return misfit(
            f"the image {name} has other platforms",
            image.where,
            code="lock-platforms",
            found=", ".join(root.platforms) or "all",
            expected=", ".join(image.platforms) or "all",
        )
    return None


def _pin(image: ImageRequest) -> str:
    own = image.source.own_name if image.source.transport == REGISTRY else None
    return own.digest if own else ""


def _same_source(image: ImageRequest, root: LockedRoot) -> bool:
    """Tell whether the lock's words and the inventory's mean one source: `redis` and `docker.io/library/redis:latest`.

    A pin that is new may be what is locked. One that was taken away leaves the tag to be asked.
    """
    try:
        old = parse_image_source(root.requested)
        if old.transport != REGISTRY or image.source.transport != REGISTRY:
            return old == image.source
        was, now = old.own_name, image.source.own_name
    except UsageError:
        return False
    if was is None or now is None:
        return False
    return (was.name, was.tag) == (now.name, now.tag) and (bool(now.digest) or not was.digest)


def file_misfit(file: FileRequest, root: LockedRoot) -> Finding | None:
    """Return why a locked file of the right name is not what is asked for; None when it is."""
    if root.requested != file.requested:
        message = f"the file {file.name} comes from elsewhere now"
        return misfit(message, file.where, code="lock-source", found=root.requested, expected=file.requested)
    if file.digest and file.digest not in {blob.digest for blob in root.blobs}:
        found = ", ".join(blob.digest for blob in root.blobs)
        message = f"the file {file.name} is pinned to another digest"
        return misfit(message, file.where, code="lock-digest", found=found, expected=file.digest)
    return None


def database_misfits(clamav: ClamavRequest, roots: Sequence[LockedRoot], changed: Collection[str]) -> Iterator[Finding]:
    """Yield why locked databases are not what is asked for.

    Args:
        clamav: what is asked for.
        roots: the lock's databases, all of them.
        changed: local files that are not what they were when the bundle was locked.
    """
    locked = {root.requested: root for root in roots}
    wanted = [*clamav.databases, *([CUSTOM_FAMILY] if clamav.custom else [])]
    for name in wanted:
        if name not in locked:
            yield misfit(f"the ClamAV database {name} is not in the lock", clamav.where, code="lock-missing")
    for name, root in sorted(locked.items()):
        expected = clamav_origin(clamav, name)
        # Signatures of one's own may also lie in the directory of databases.
        if name not in (*wanted, CUSTOM_FAMILY):
            yield misfit(f"the ClamAV database {name} is in the lock, and not asked for", root.ref, code="lock-extra")
        elif root.origin != expected:
            message = f"the ClamAV signatures {name} come from elsewhere now"
            yield misfit(message, clamav.where, code="lock-source", found=root.origin, expected=expected)
    for path in clamav.custom:
        if path in changed:
            yield misfit(f"the local file {path} has changed since it was locked", clamav.where, code="lock-changed")
