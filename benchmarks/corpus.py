"""What is moved: 20 images of 45 blobs in a registry's storage, 2.77 GB at full size, the largest layer 560 MB.

Layers are gzip without compression over bytes that don't compress: valid everywhere, quick to make, and nobody gains
or loses by compressing them again.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from airbundle.bundle.digest import hex_of
from airbundle.bundle.oci import OCI_LAYER, Descriptor
from tests.support.images import Blob, image
from tests.support.storage import Storage

SHARED = (200, 120, 80, 30, 4)
OWN = (560, 320, 240, 180, 160, 140, 110, 100, 90, 75, 70, 65, 60, 50, 40, 30, 20, 15, 10, 1)
"""Megabytes of the layers: five that several images share, and one of each of the 20 images."""

MB = 1_000_000
_PIECE = 1 << 20
_BLOCK = 512


@dataclass(frozen=True)
class Corpus:
    """The images in a storage directory.

    Attributes:
        images: digest of each image's manifest, by the name of its repository; the tag is `1`.
        blobs: (repository that has it, descriptor) of every config and layer, the largest first.
    """

    storage: Path
    images: Mapping[str, str]
    blobs: tuple[tuple[str, Descriptor], ...]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for _, blob in self.blobs)

    @property
    def largest(self) -> int:
        """Bytes of the largest blob."""
        return self.blobs[0][1].size

    def file(self, digest: str) -> Path:
        """Return where the bytes of a blob lie."""
        return Storage(self.storage).blob_path(digest)


def make_corpus(root: Path, megabytes: int) -> Corpus:
    """Fill a registry's storage. The last image has a tag `2`, too, with another own layer: what a night changes.

    Args:
        root: of the storage.
        megabytes: of all layers together, about.
    """
    storage = Storage(root)
    scale = megabytes * MB / sum(SHARED + OWN)
    shared = [_layer(storage, f"shared {number}", int(size * scale)) for number, size in enumerate(SHARED)]
    blobs: dict[str, tuple[str, Descriptor]] = {}
    images: dict[str, str] = {}
    for number, size in enumerate(OWN):
        base, name = shared[number % len(shared)], f"bench/img{number:02}"
        made = image([base, _layer(storage, f"own {number}", int(size * scale))], Cmd=["/data"])
        made.put(storage, name, "1")
        images[name] = made.digest
        for blob in made.blobs:
            blobs.setdefault(blob.descriptor.digest, (name, blob.descriptor))
    tonight = _layer(storage, "tonight", int(OWN[-1] * scale))
    image([shared[(len(OWN) - 1) % len(shared)], tonight], Cmd=["/data"]).put(storage, name, "2")
    largest_first = sorted(blobs.values(), key=lambda item: -item[1].size)
    return Corpus(root, images, tuple(largest_first))


def _layer(storage: Storage, seed: str, size: int) -> Blob:
    """Stream a layer of one file into the storage; its bytes are never in memory."""
    partial = storage.root / "layer.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    packed, plain = hashlib.sha256(), hashlib.sha256()
    pack = zlib.compressobj(0, wbits=31)
    with partial.open("wb") as file:

        def put(data: bytes) -> None:
            packed.update(data)
            file.write(data)

        for piece in _tar(seed, size):
            plain.update(piece)
            put(pack.compress(piece))
        put(pack.flush())
        length = file.tell()
    digest = "sha256:" + packed.hexdigest()
    path = storage.blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, path)
    assert hex_of(digest) in str(path)
    return Blob(Descriptor(f"{OCI_LAYER}+gzip", digest, length), None, "sha256:" + plain.hexdigest())


def _tar(seed: str, size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo("data")
    info.size = size
    yield info.tobuf(tarfile.USTAR_FORMAT)
    # A cipher's stream: as quick as the disk, and nothing in it comes twice (zstd would find that from far away).
    noise = Cipher(AES(hashlib.sha256(seed.encode()).digest()), CTR(bytes(16))).encryptor()
    for start in range(0, size, _PIECE):
        yield noise.update(bytes(min(_PIECE, size - start)))
    yield bytes(-size % _BLOCK + 2 * _BLOCK)
