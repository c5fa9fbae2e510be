"""The content-addressed cache: bytes of sources that don't tell digest and size beforehand (design §3).

Layout: `blobs/sha256/<hex>`, `tmp/` on the same file system, `verified/` (see `store.verified`). A blob appears under
its name by one rename, so any number of processes may use a cache at once. Nothing is flushed to disk: what a power
cut takes is found by its digest and fetched or made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from airbundle.bundle.content import Hasher, WriteAt
from airbundle.bundle.digest import hex_of, parse_digest
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, HostError, NotFound, VerificationError
from airbundle.store.blob_file import Adder, pieces, read_all, same_file
from airbundle.store.host import host_errors, private_directory
from airbundle.store.verified import VerifiedRecords

_log = logging.getLogger(__name__)
_ABANDONED = 24 * 3600  # a temporary file this old, in seconds, belongs to no running process


def default_cache_root() -> Path:
    """Return `$XDG_CACHE_HOME/airbundle`, or `~/.cache/airbundle`.

    Raises:
        HostError: there is no home directory.
    """
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if configured.startswith("/"):  # the specification has relative ones ignored
        return Path(configured) / "airbundle"
    try:
        return Path.home() / ".cache" / "airbundle"
    except (RuntimeError, KeyError):  # the latter on Python 3.9
        raise HostError("this user has no home directory for the cache", hint="set XDG_CACHE_HOME") from None


class Cache:
    """A content-addressed cache below `root`; a `BlobSource`, `BlobSink` and `BlobReader`.

    Directories are made on first use, for this user alone: images may be private.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_cache_root() if root is None else root
        self.records = VerifiedRecords(self.root / "verified")
        self._blobs = self.root / "blobs" / "sha256"
        self._temporary = self.root / "tmp"

    def path(self, digest: str) -> Path:
        """Return where the blob lies, whether it is there or not.

        Raises:
            VerificationError: `digest` is none.
        """
        return self._blobs / hex_of(parse_digest(digest, what="cache"))

    def has(self, digest: str, size: int | None = None) -> bool:
        """Tell whether the blob is there, and has `size` bytes if given; its bytes are checked when they are used."""
        found = self.size(digest)
        return found is not None and size in (None, found)

    def size(self, digest: str) -> int | None:
        """Return how many bytes the blob has; None when it is not there."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            return None

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep `data` and return its descriptor.

        Raises:
            HostError: the disk is full, or the cache can't be written.
        """
        with self.adder() as adder:
            adder.write(data)
            return adder.commit(media_type)

    def add_file(self, path: Path, media_type: str, *, expected: str = "") -> Descriptor:
        """Copy a file into the cache and return its descriptor.

        Args:
            path: a regular file.
            media_type: for the descriptor.
            expected: its digest, where that is known.

        Raises:
            DigestMismatch: the file has another digest.
            HostError: it can't be read, or the cache can't be written.
        """
        with host_errors("read", path):
            file = path.open("rb", buffering=0)
        with file, self.adder(expected) as adder:
            for piece in pieces(file):
                adder.write(piece)
            return adder.commit(media_type)

    @contextmanager
    def adder(self, expected: str = "") -> Iterator[Adder]:
        """Begin a blob that comes in pieces: `write` them, then `commit(media_type)`.

        Args:
            expected: its digest, where that is known beforehand.

        Raises:
            DigestMismatch: at `commit`, the bytes have another digest.
            HostError: the disk is full, or the cache can't be written.
        """
        with host_errors("write to the cache", self.root):
            for directory in (self.root, self._blobs.parent, self._blobs, self._temporary):
                private_directory(directory)
            adder = Adder(self._temporary / secrets.token_hex(16), expected, self._keep)
        with adder:
            yield adder

    def _keep(self, digest: str, temporary: Path, fd: int) -> None:
        """Put a finished file under its digest, unless the cache has verified bytes there."""
        if self.verified(digest):
            return
        with host_errors("write to the cache", self.root):
            os.fchmod(fd, 0o600)  # whatever the umask
            temporary.replace(self.path(digest))
            status = os.fstat(fd)
        self._remember(digest, status)

    def read(self, digest: str, limit: int) -> bytes:
        """Return a blob's verified bytes.

        Args:
            digest: of the blob.
            limit: the most bytes it may have.

        Raises:
            NotFound: it is not in the cache.
            VerificationError: it is larger than `limit`, or not what its name says; then it is dropped.
        """
        with self._open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise VerificationError(f"cached blob {digest}: {size} bytes are more than the {limit} allowed")
            content = bytearray(size)
            blob = Descriptor("", digest, size)

            def keep(offset: int, data: memoryview) -> None:
                content[offset : offset + len(data)] = data

            self._copy(file, blob, keep)
        return bytes(content)

    def copy_blob(self, blob: Descriptor, write: WriteAt, *, start: int = 0, hasher: Hasher | None = None) -> None:
        """Write the bytes of `blob` from `start` on (see `BlobSource`).

        They are hashed, unless airbundle's own record says that this very file was verified and nothing came before.

        Raises:
            NotFound: it is not in the cache.
            DigestMismatch: the bytes are not those of `blob`; the entry is dropped.
            HostError: it can't be read.
        """
        with self._open(blob.digest) as file:
            status = os.fstat(file.fileno())
            if status.st_size != blob.size:
                self._drop(blob.digest, status)
                raise self._wrong(blob.digest, f"found {status.st_size} bytes, expected {blob.size}")
            if start and hasher is not None:
                try:
                    self._hash_on(file, blob, write, start, hasher)
                    return
                except DigestMismatch:  # the bytes before `start` may be the wrong ones: once more, from the first
                    _log.info("cached blob %s does not continue what was there; starting over", blob.digest)
            self._copy(file, blob, write)

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` of a blob and return how many bytes, 0 at its end; unverified.

        Raises:
            NotFound: it is not in the cache.
            HostError: it can't be read.
        """
        with self._open(digest) as file, host_errors("read from the cache", self.root):
            return os.preadv(file.fileno(), [buffer], offset)

    def prune(self, older_than: float) -> int:
        """Drop blobs that were neither added nor used for `older_than` seconds; return how many bytes that freed.

        Raises:
            HostError: something can't be removed.
        """
        freed = 0
        limit = time.time() - older_than
        with host_errors("prune the cache", self.root):
            for path in self._files(self._temporary):
                if path.stat().st_mtime < min(limit, time.time() - _ABANDONED):
                    path.unlink(missing_ok=True)
            for path in self._files(self._blobs):
                status = path.stat()
                if max(status.st_mtime, self.records.last_used(f"sha256-{path.name}")) < limit:
                    path.unlink(missing_ok=True)
                    freed += status.st_size
        self.records.prune(older_than)
        return freed

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        return sorted(directory.iterdir()) if directory.is_dir() else []

    @contextmanager
    def _open(self, digest: str) -> Iterator[BinaryIO]:
        path = self.path(digest)
        with host_errors("read from the cache", path):
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                raise NotFound(
                    f"blob {digest} is not in the cache {self.root}",
                    hint="run `airbundle lock` to make it again",
                ) from None
        with file:
            yield file

    def _copy(self, file: BinaryIO, blob: Descriptor, write: WriteAt) -> None:
        before = os.fstat(file.fileno())
        key = _key(blob.digest)
        try:
            if self.records.holds(key, before):
                read_all(file, blob, write, 0)
                if same_file(before, os.fstat(file.fileno())):
                    return
            self._hash_on(file, blob, write, 0, hashlib.sha256())
        except DigestMismatch as error:
            self._drop(blob.digest, before)
            raise self._wrong(blob.digest, error.problem) from None
        # Another process may have put the same blob in its place meanwhile: then there is nothing to record.
        if same_file(before, os.fstat(file.fileno())):
            self._remember(blob.digest, before)

    def _remember(self, digest: str, status: os.stat_result) -> None:
        try:
            self.records.remember(_key(digest), status)
        except HostError as error:  # a record only saves time; a cache may be one that others fill
            _log.info("%s", error.problem)

    @staticmethod
    def _hash_on(file: BinaryIO, blob: Descriptor, write: WriteAt, start: int, hasher: Hasher) -> None:
        def hashed(offset: int, data: memoryview) -> None:
            hasher.update(data)
            write(offset, data)

        read_all(file, blob, hashed, start)
        found = "sha256:" + hasher.hexdigest()
        if found != blob.digest:
            raise DigestMismatch(f"found digest {found}, expected {blob.digest}")

    def _drop(self, digest: str, status: os.stat_result) -> None:
        """Remove an entry, unless another process has put a new file in its place."""
        path = self.path(digest)
        with host_errors("drop from the cache", path):
            try:
                current = path.stat()
            except FileNotFoundError:
                return
            if (current.st_dev, current.st_ino) == (status.st_dev, status.st_ino):
                _log.warning("dropping %s from the cache: it is not what its name says", digest)
                path.unlink(missing_ok=True)
                self.records.forget(_key(digest))

    def verified(self, digest: str) -> bool:
        """Tell whether the blob is there, and airbundle's own record says that this very file was verified."""
        try:
            return self.records.holds(_key(digest), self.path(digest).stat())
        except OSError:
            return False

    @staticmethod
    def _wrong(digest: str, problem: str) -> DigestMismatch:
        return DigestMismatch(
            f"cached blob {digest}: {problem}",
            hint="the entry was dropped; run the command again, or `airbundle lock` to make it again",
        )


def _key(digest: str) -> str:
    return f"sha256-{hex_of(digest)}"
