"""A bundle that `publish` put into a registry, read in place: large blobs are layers, small ones are read by range.

It is one more bundle that gives (`builder.donors`), for build hosts that keep nothing (`--cache oci://…`).
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.parts import Part
from airbundle.bundle.reference import parse_reference
from airbundle.errors import DigestMismatch
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import ByteFile
from airbundle.transfer.artifacts import PART_TYPE, Artifact, find_artifact
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository

SCHEME = "oci://"
_BLOCK = 4 * 1024 * 1024
"""Bytes read at once around what is asked for: head, manifests and configs lie beside each other."""
_KEPT = 8
"""Blocks that are kept."""


class PublishedFile(ByteFile):
    """The bytes of a published bundle; read only, unverified. Safe for many threads."""

    def __init__(self, repository: Repository, artifact: Artifact) -> None:
        super().__init__([(Path(artifact.name), -1, artifact.size)])
        self._repository = repository
        self._pieces = ByteFile([(Path(part.digest), number, part.size) for number, part in enumerate(artifact.parts)])
        self._artifact = artifact
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def segments(self, position: int, length: int) -> list[tuple[int, int, int]]:
        """There are no descriptors: no copy inside the kernel, no `sendfile`.

        Raises:
            OSError: always.
        """
        raise io.UnsupportedOperation(f"{self.path}: bytes {position} to {position + length} lie in a registry")

    def read_into(self, position: int, buffer: memoryview) -> int:
        """Fill `buffer` from `position` on, a block at a time.

        Raises:
            NotFound, RemoteError: the registry fails.
        """
        done = 0
        for number, offset, count in self._pieces.segments(position, len(buffer)):
            end = done + count
            while done < end:
                first = offset - offset % _BLOCK
                block = self._block(number, first)
                piece = block[offset - first : offset - first + end - done]
                buffer[done : done + len(piece)] = piece
                done += len(piece)
                offset += len(piece)
        return done

    def read_once(self, position: int, length: int) -> bytes:
        """Return at most `length` bytes from `position` on, at least one, by one request or none."""
        number, offset, count = self._pieces.segments(position, length)[0]
        first = offset - offset % _BLOCK
        with self._lock:
            block = self._blocks.get((number, first), b"")
        piece = block[offset - first : offset - first + count]
        return piece or self._fetch(number, offset, min(count, _BLOCK))

    def close(self) -> None:
        """Forget what was read."""
        with self._lock:
            self._blocks.clear()

    def _block(self, number: int, first: int) -> bytes:
        with self._lock:  # what one thread fetches, the others find
            block = self._blocks.get((number, first))
            if block is None:
                block = self._fetch(number, first, min(_BLOCK, self._artifact.parts[number].size - first))
                self._blocks[number, first] = block
                while len(self._blocks) > _KEPT:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end((number, first))
            return block

    def _fetch(self, number: int, offset: int, count: int) -> bytes:
        return self._repository.read_range(_layer(self._artifact.parts[number]), offset, count)


class PublishedBundle(BundleFile):
    """A published bundle; a `BlobSource` whose blobs are verified one by one."""

    def __init__(self, repository: Repository, artifact: Artifact) -> None:
        """Read the head, by range.

        Raises:
            VerificationError: it is no bundle, or its head is damaged.
            NotFound, RemoteError: the registry fails.
        """
        self._bytes = PublishedFile(repository, artifact)
        self._repository = repository
        self._layers = {part.digest: part for part in artifact.parts}
        super().__init__(self._bytes)

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of `blob`, verified (see `BlobSource`): as a layer of its own where it is one."""
        member = self._member(blob.digest)
        if blob.digest in self._layers:
            self._repository.copy_blob(blob, write, start=start, hasher=hasher)
            return
        hashed = hashlib.sha256()
        done = 0
        while done < member.size:
            piece = self._bytes.read_once(member.offset + done, member.size - done)
            hashed.update(piece)
            write(done, memoryview(piece))
            done += len(piece)
        if f"sha256:{hashed.hexdigest()}" != blob.digest or member.size != blob.size:
            raise DigestMismatch(f"{self.path.name}: the bytes of blob {blob.digest} are not those of its digest")


def open_published(client: RegistryClient, url: str) -> PublishedBundle:
    """Open a bundle that `publish` put into a registry.

    Args:
        client: knows the registries.
        url: `oci://host/repository:tag`, or `@digest`.

    Raises:
        NotFound: there is none of that name.
        UsageError: the URL has another form, or it is something else than a bundle.
        VerificationError: it is damaged.
        RemoteError: the registry fails.
    """
    reference = parse_reference(url[len(SCHEME) :], default_tag="")
    repository = client.repository(reference.name)
    return PublishedBundle(repository, find_artifact(repository, reference.wanted))


def _layer(part: Part) -> Descriptor:
    return Descriptor(PART_TYPE, part.digest, part.size)
