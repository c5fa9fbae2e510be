"""OCI image layouts as sources of images: a directory (`oci:DIR:REF`), or a tar of one (`oci-archive:FILE:REF`).

Nothing is unpacked: blobs of an archive are read by offset. Names of files are made of checked digests only.
Spec: OCI image spec `image-layout.md`. A bundle is such an archive, too.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from airbundle.bundle.content import BlobSink, Hasher, Materialised, WriteAt, blobs_of, piece_buffer, walk
from airbundle.bundle.digest import check, hex_of, parse_digest
from airbundle.bundle.oci import CONTAINERD_NAME, MANIFEST_LIMIT, REF_NAME, Descriptor, Manifest, parse_manifest
from airbundle.bundle.tarstream import TarStream, safe_name
from airbundle.errors import DigestMismatch, NotFound, UsageError, VerificationError
from airbundle.store.host import host_errors
from airbundle.store.volumes import CHUNK

_INDEX = "index.json"
_GZIP_OR_ZSTD = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")

Place = tuple[int, int, int]
"""An open file, and offset and size in bytes of what is wanted in it."""


class _Files(Protocol):
    def find(self, name: str) -> Place | None:
        """Return where a file of the layout is; None when it isn't there."""

    def close(self) -> None:
        """Close what is open."""


class _Directory:
    """A layout's directory; one file is open at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = -1

    def find(self, name: str) -> Place | None:
        self.close()
        path = self._path / name
        with host_errors("read", path):
            try:
                # Without O_NONBLOCK a pipe in the place of a blob would make us wait for ever.
                self._open = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return None
            status = os.fstat(self._open)
        if not stat.S_ISREG(status.st_mode):
            raise VerificationError(f"{path}: found no regular file")
        return self._open, 0, status.st_size

    def close(self) -> None:
        if self._open >= 0:
            os.close(self._open)
            self._open = -1


class _Archive:
    """A tar of a layout, indexed once."""

    def __init__(self, path: Path) -> None:
        with host_errors("read", path):
            self._file = path.open("rb")
        try:
            self._members = self._index(path)
        except BaseException:
            self._file.close()
            raise

    def _index(self, path: Path) -> dict[str, tuple[int, int]]:
        what = str(path)
        file = self._file
        with host_errors("read", path):
            total = os.fstat(file.fileno()).st_size
            if file.read(4).startswith(_GZIP_OR_ZSTD):
                raise VerificationError(f"{what}: it is compressed", hint="unpack it first, with gunzip or zstd -d")
            file.seek(0)
            members: dict[str, tuple[int, int]] = {}
            stream = TarStream(file, what=what, skip=lambda count: file.seek(count, os.SEEK_CUR), total=total)
            for entry in stream:
                name = safe_name(entry.name, what=what)
                if entry.kind == "directory":
                    continue
                if entry.kind != "file" or name in members:
                    problem = "stands twice" if name in members else f"is a {entry.kind}; expected only files"
                    raise VerificationError(f"{what}: {name!r} {problem}")
                members[name] = (entry.offset, entry.size)
        return members

    def find(self, name: str) -> Place | None:
        place = self._members.get(name)
        return None if place is None else (self._file.fileno(), *place)

    def close(self) -> None:
        self._file.close()


class OciLayout:
    """An OCI image layout; a `BlobSource`. Made by `open_layout`; for one thread."""

    def __init__(self, files: _Files, what: str) -> None:
        self._files = files
        self._what = what
        self.index = self._read_index()

    def _read_index(self) -> Manifest:
        has_marker = self._files.find("oci-layout") is not None
        place = self._files.find(_INDEX)
        if place is None or not has_marker:
            raise VerificationError(f"{self._what}: {_INDEX} or oci-layout is missing; expected an OCI image layout")
        index = parse_manifest(self._read(place, MANIFEST_LIMIT, _INDEX), what=f"{self._what}: {_INDEX}")
        if not index.is_index:
            raise VerificationError(f"{self._what}: {_INDEX} is no index")
        return index

    def root(self, ref: str) -> Descriptor:
        """Return the image that `ref` names.

        Args:
            ref: as the layout's annotations have it, or a digest; empty for the only one.

        Raises:
            NotFound: there is no such image.
            UsageError: there are several.
        """
        named = [entry for entry in self.index.manifests if not ref or ref in _names(entry)]
        distinct = {entry.digest: entry for entry in named}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        known = sorted({name for entry in self.index.manifests for name in _names(entry)[:-1]})
        offered = f"it has {', '.join(known[:10])}" if known else "its images have no names: use a digest"
        if not distinct:
            raise NotFound(f"{self._what}: there is no image {ref}".rstrip(), hint=offered)
        raise UsageError(f"{self._what}: {len(distinct)} images are meant by {ref!r}", hint=offered)

    def read(self, digest: str, limit: int) -> bytes:
        """Return a blob's verified bytes, of which there may be at most `limit`.

        Raises:
            NotFound: the layout does not have it.
            VerificationError: it is larger, or not what its name says.
        """
        data = self._read(self._blob(digest), limit, digest)
        check(data, digest, what=f"{self._what}: blob")
        return data

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of `blob` from `start` on (see `BlobSource`).

        Raises:
            NotFound: the layout does not have it.
            DigestMismatch: it is not what its name says.
            HostError: it can't be read.
        """
        fd, offset, size = self._blob(blob.digest)
        if size != blob.size:
            raise DigestMismatch(f"{self._what}: blob {blob.digest}: found {size} bytes, expected {blob.size}")
        if not start or hasher is None:
            start, hasher = 0, hashlib.sha256()
        for position, data in self._pieces((fd, offset + start, size - start), start):
            hasher.update(data)
            write(position, data)
        found = f"sha256:{hasher.hexdigest()}"
        if found == blob.digest:
            return
        if start:  # the bytes before `start` may be the wrong ones
            self.copy_blob(blob, write)
            return
        raise DigestMismatch(f"{self._what}: blob: found digest {found}, expected {blob.digest}")

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _blob(self, digest: str) -> Place:
        place = self._files.find(f"blobs/sha256/{hex_of(parse_digest(digest, what=self._what))}")
        if place is None:
            raise NotFound(f"{self._what}: blob {digest} is not there")
        return place

    def _read(self, place: Place, limit: int, name: str) -> bytes:
        if place[2] > limit:
            raise VerificationError(f"{self._what}: {name}: {place[2]} bytes are more than the {limit} allowed")
        return b"".join(bytes(data) for _, data in self._pieces(place, 0))

    def _pieces(self, place: Place, position: int) -> Iterator[tuple[int, memoryview]]:
        fd, offset, size = place
        buffer = piece_buffer(min(size, CHUNK))
        end = offset + size
        while offset < end:
            with host_errors("read", self._what):
                count = os.preadv(fd, [buffer[: end - offset]], offset)
            if not count:
                raise DigestMismatch(f"{self._what}: the file ends {end - offset} bytes too early")
            yield position, buffer[:count]
            offset, position = offset + count, position + count


def _names(entry: Descriptor) -> list[str]:
    names = [entry.annotations.get(REF_NAME, ""), entry.annotations.get(CONTAINERD_NAME, "")]
    return [*(name for name in names if name), entry.digest]


@contextmanager
def open_layout(path: Path) -> Iterator[OciLayout]:
    """Open a layout: a directory, or an uncompressed tar of one.

    Raises:
        VerificationError: it is no layout.
        HostError: it can't be read.
    """
    files: _Files = _Directory(path) if path.is_dir() else _Archive(path)
    try:
        yield OciLayout(files, str(path))
    finally:
        files.close()


def materialise_layout_image(
    path: Path, ref: str, sink: BlobSink, *, choose: Callable[[Manifest], Sequence[Descriptor]]
) -> Materialised:
    """Put an image of a layout into `sink`, with all bytes as the layout has them.

    Args:
        path: a directory, or a tar.
        ref: see `OciLayout.root`.
        sink: takes manifests, configs and layers.
        choose: gives the children of an index that are to be carried.

    Raises:
        NotFound: the layout has no such image, or lacks a part of it.
        UsageError: `ref` means several images.
        VerificationError: a part is not what its digest says, or no image.
        HostError: the layout can't be read, or the sink can't take it.
    """
    with open_layout(path) as layout:
        what = f"{path}: {ref}" if ref else str(path)
        root = layout.root(ref)
        raw = layout.read(root.digest, MANIFEST_LIMIT)
        manifest = parse_manifest(raw, root.media_type, what=what)
        children = tuple(choose(manifest)) if manifest.is_index else ()
        carried = {child.digest for child in children}

        def load(descriptor: Descriptor) -> bytes | None:
            below_root = any(descriptor.digest == child.digest for child in manifest.manifests)
            if below_root and descriptor.digest not in carried:
                return None
            return layout.read(descriptor.digest, MANIFEST_LIMIT)

        nodes = list(walk(root, load, what=what))
        blobs = blobs_of(nodes)
        for blob in blobs.values():
            _copy(layout, blob, sink)
        for node in nodes:
            sink.add(node.manifest.raw, node.manifest.media_type)
        descriptor = Descriptor(manifest.media_type, root.digest, len(raw), platform=root.platform)
        return Materialised(descriptor, manifests=children, blobs=tuple(blobs.values()))


def _copy(layout: OciLayout, blob: Descriptor, sink: BlobSink) -> None:
    if sink.size(blob.digest) == blob.size:
        return
    with sink.adder(blob.digest) as adder:
        layout.copy_blob(blob, lambda _, data: adder.write(data))
        adder.commit(blob.media_type)
