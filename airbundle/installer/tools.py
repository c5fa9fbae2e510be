"""Programs that a bundle carries for the site, unpacked by digest: what runs is what was signed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path
from threading import get_native_id

from airbundle.bundle.clamav_artifact import TITLE
from airbundle.bundle.digest import hex_of
from airbundle.bundle.index import ref_of
from airbundle.bundle.oci import MANIFEST_LIMIT, Descriptor, parse_manifest
from airbundle.bundle.tool import KIND, TOOL_LIMIT, architecture_here, architecture_of
from airbundle.errors import VerificationError
from airbundle.installer.files import PROGRAM, sync_directory
from airbundle.installer.verify import Trusted
from airbundle.store.host import host_errors

HELM = "helm"
_CHUNK = 1024 * 1024
_KEPT = re.compile(rf"{HELM}-[0-9a-f]{{12}}")


def unpack_helm(trusted: Trusted, directory: Path) -> Path | None:
    """Return the bundle's helm for this machine, unpacked into a directory; None when it carries none.

    One that is there already is hashed, and written anew where it differs. `helm` beside it leads to it, for people;
    airbundle itself never runs what that names.

    Raises:
        VerificationError: it is not what the bundle says.
        HostError: it can't be written.
    """
    blob = _find(trusted, HELM, architecture_here(platform.machine()))
    if blob is None:
        return None
    path = directory / f"{HELM}-{hex_of(blob.digest)[:12]}"
    if not _has(path, blob.digest):
        _write(path, trusted, blob)
    _name(path)
    return path


def site_helm(trusted: Trusted | None, directory: Path) -> Path | None:
    """Return the helm to use at a site: the bundle's, or without a bundle the newest that one has left there.

    Raises:
        As `unpack_helm`.
    """
    if trusted is not None:
        return unpack_helm(trusted, directory)
    with host_errors("look into", directory):
        found = [path for path in directory.iterdir() if _KEPT.fullmatch(path.name)]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for path in found if _digest(path).startswith(path.name.partition("-")[2])), None)


def _find(trusted: Trusted, name: str, architecture: str) -> Descriptor | None:
    start = f"tool/{name}-{architecture}:"
    for root in trusted.bundle.roots(KIND):
        if ref_of(root).startswith(start):
            manifest = parse_manifest(trusted.bundle.read_small(root.digest, MANIFEST_LIMIT), what=ref_of(root))
            layers = [layer for layer in manifest.layers if layer.annotations.get(TITLE) == name]
            if len(layers) != 1:
                raise VerificationError(f"{trusted.bundle.path.name} {ref_of(root)}: expected one file {name!r}")
            return layers[0]
    return None


def _has(path: Path, digest: str) -> bool:
    return path.is_file() and _digest(path) == hex_of(digest)


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with host_errors("read", path), path.open("rb") as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
    return hasher.hexdigest()


def _write(path: Path, trusted: Trusted, blob: Descriptor) -> None:
    if blob.size > TOOL_LIMIT:
        raise VerificationError(f"{blob.digest}: {blob.size} bytes are more than the {TOOL_LIMIT} allowed")
    if not trusted.blobs.has_blob(blob.digest):
        trusted.blobs.find(blob.digest)  # a delta leaves it out
    part = path.with_name(f".{path.name}.{get_native_id()}.part")
    with host_errors("write", path):
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                # Raises when the bytes are not what the digest says.
                trusted.blobs.copy_blob(blob, lambda offset, data: _put(descriptor, offset, data))
                _check(os.pread(descriptor, 64, 0), trusted)
                os.fchmod(descriptor, PROGRAM)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        sync_directory(path.parent)


def _name(path: Path) -> None:
    link, part = path.with_name(HELM), path.with_name(f".{HELM}.{get_native_id()}.part")
    with host_errors("write", link):
        if link.is_symlink() and link.readlink() == Path(path.name):
            return
        part.unlink(missing_ok=True)
        part.symlink_to(path.name)
        part.replace(link)


def _put(descriptor: int, offset: int, data: memoryview) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _check(head: bytes, trusted: Trusted) -> None:
    if architecture_of(head) != architecture_here(platform.machine()):
        raise VerificationError(f"{trusted.bundle.path.name}: the helm in it is no program for this machine")
