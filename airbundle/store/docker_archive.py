"""`docker-archive:FILE:REF`: what `docker save` wrote into a file, plain or packed with gzip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from airbundle.bundle.content import BlobSink, Materialised
from airbundle.bundle.docker_save import read_save
from airbundle.bundle.gzipstream import GZIP_MAGIC, GunzipStream, Readable
from airbundle.errors import VerificationError
from airbundle.store.host import host_errors

_RATIO = 250
_ALWAYS = 1 << 30
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def materialise_docker_archive(path: Path, name: str, sink: BlobSink) -> Materialised:
    """Put an image of an archive into `sink`.

    Args:
        path: the file.
        name: a reference, an ID, `@N` for the N-th image; empty for the only one.
        sink: takes layers, config and manifest.

    Raises:
        NotFound: there is no such image.
        UsageError: there are several, and none was named.
        VerificationError: it is no such archive, damaged, or unpacks beyond measure.
        HostError: the file can't be read, or the sink can't take it.
    """
    what = f"docker-archive:{path}"
    with host_errors("read", path):
        file = path.open("rb")
    with file:
        return read_save(_unpacked(file, path, what), sink, name=name, what=what)


def _unpacked(file: BinaryIO, path: Path, what: str) -> Readable:
    source = _File(file, path)
    magic = source.read(4)
    file.seek(0)
    if magic.startswith(_ZSTD_MAGIC):
        raise VerificationError(f"{what}: it is packed with zstd", hint="unpack it first: zstd -d FILE")
    if not magic.startswith(GZIP_MAGIC):
        return source
    size = os.fstat(file.fileno()).st_size
    return GunzipStream(source, limit=max(_ALWAYS, size * _RATIO), what=what)


class _File:
    """A file as a `Readable` whose errors are ours."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int, /) -> bytes:
        with host_errors("read", self._path):
            return self._file.read(size)
