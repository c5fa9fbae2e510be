"""Proving that a bundle's bytes are what its statement says: what is no blob is recomputed, blobs are hashed.

What is proved is wholeness; origin is `bundle.trust`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from airbundle.bundle.content import Node, piece_buffer
from airbundle.bundle.docker_archive import docker_manifest
from airbundle.bundle.index import ref_of
from airbundle.bundle.layout import DOCKER_NAME, HEAD, INDEX_NAME, LOCK_MEMBER, OCI_LAYOUT, OCI_LAYOUT_NAME
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import INSTALLER
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import END, Member, frame, padded
from airbundle.errors import DigestMismatch, Finding, VerificationError
from airbundle.progress import Phase, Reporter
from airbundle.store.checksum import range_sum
from airbundle.store.damage import carry_again, damaged_files
from airbundle.store.delta import nodes_of
from airbundle.store.reader import BundleFile
from airbundle.store.volumes import CHUNK, bundle_path

_AHEAD = 8 * 1024 * 1024
_HINT = "the file is damaged, or something was put into it; carry it again"


def verify_head(bundle: BundleFile) -> None:
    """Compare every byte of a bundle that is no blob and no signature with what follows from its statement.

    Raises:
        VerificationError: names the region that differs.
    """
    table = bundle.table  # first of all the file has the size it must have
    _same(bundle, bundle.head[OCI_LAYOUT_NAME].offset, OCI_LAYOUT, OCI_LAYOUT_NAME)
    bundle.bound_bytes(INDEX_NAME)
    bundle.bound_bytes(LOCK_MEMBER)
    for name in HEAD:
        _padding(bundle, bundle.head[name])
    expected = docker_manifest(_roots(bundle))
    _same(bundle, bundle.head[DOCKER_NAME].offset, expected, DOCKER_NAME)
    if bundle.head[DOCKER_NAME].size != len(expected):
        raise VerificationError(f"{bundle.path.name}: {DOCKER_NAME} does not follow from index.json", hint=_HINT)
    _frames(bundle, table)
    _installer(bundle)


def _same(bundle: BundleFile, position: int, expected: bytes, region: str) -> None:
    found = bundle.file.read(position, len(expected))
    if found == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), len(found))
    raise VerificationError(
        f"{bundle.place(position + at)}: {region}: the byte at {position + at} is not what the statement implies",
        hint=_HINT,
    )


def _frames(bundle: BundleFile, table: BlobTable) -> None:
    """Compare what lies between the blobs: the padding of one and the frame of the next."""
    before, name = b"", ""
    for member in table:
        expected = before + frame(member)
        start = member.offset - len(expected)
        if bundle.file.read(start, len(expected)) != expected:
            _same(bundle, start, before, f"padding after {name}")
            _same(bundle, member.start, frame(member), f"header of {member.name}")
        before, name = bytes(padded(member.size) - member.size), member.name
    _same(bundle, table.end - len(before), before, f"padding after {name}")
    _same(bundle, table.end, END, "end of the archive")


def _roots(bundle: BundleFile) -> Iterator[tuple[Descriptor, list[Node]]]:
    """Yield the roots with their manifests, each read once.

    On the way, and after the last: check that everything a root needs is there, in the size its manifest says and in
    the order said, and no more.
    """
    sizes = dict(bundle.toc.blobs + bundle.toc.external)
    needed: set[str] = set()
    metadata: set[str] = set()
    for root in bundle.index:
        nodes = nodes_of(bundle, root)
        for node in nodes:
            for blob in (node.descriptor, *node.manifest.blobs):
                if sizes.get(blob.digest) != blob.size:
                    found = f"{sizes[blob.digest]} bytes" if blob.digest in sizes else "no such blob"
                    raise VerificationError(f"{ref_of(root)}: {blob.digest}: found {found}, expected {blob.size} bytes")
                needed.add(blob.digest)
            metadata.add(node.descriptor.digest)
            if node.manifest.config is not None:
                metadata.add(node.manifest.config.digest)
        if root.digest not in needed:
            raise VerificationError(f"{ref_of(root)}: its manifest {root.digest} is not in the bundle")
        yield root, nodes
    if len(needed) != len(sizes):
        stray = next(digest for digest in sizes if digest not in needed)
        raise VerificationError(f"airbundle/toc.json: nothing in index.json needs {stray}")
    if metadata != {digest for digest, _ in bundle.toc.blobs[: bundle.toc.metadata]}:
        raise VerificationError(
            f"airbundle/toc.json: the first {bundle.toc.metadata} are not the manifests and configs"
        )


def _padding(bundle: BundleFile, member: Member) -> None:
    end = member.offset + member.size
    _same(bundle, end, bytes(padded(member.size) - member.size), f"padding after {member.name}")


def _installer(bundle: BundleFile) -> None:
    position, size = bundle.installer_range
    if not size:
        return
    found, expected = f"sha256:{range_sum(bundle.file, position, size)}", bundle.statement.subjects[INSTALLER][0]
    if found != expected:
        raise DigestMismatch(
            f"{bundle.place(position)}: installer: found digest {found}, expected {expected}", hint=_HINT
        )


def verify_blobs(bundle: BundleFile, reporter: Reporter, threads: int | None = None) -> None:
    """Hash every blob; threads take the largest that is left.

    Args:
        bundle: whose head was verified.
        reporter: told of each blob.
        threads: how many; by default one for each processor.

    Raises:
        DigestMismatch: lists every damaged blob, with the volumes it lies in.
    """
    members = sorted(bundle.table, key=lambda member: -member.size)
    count = threads or len(os.sched_getaffinity(0))
    with reporter.phase("verify", total=sum(member.size for member in members)) as phase:
        damaged = _Hashing(bundle, members, phase).run(min(count, len(members) or 1))
        if damaged:
            raise _damage(bundle, damaged)


class _Hashing:
    """Members that are hashed by several threads; each thread has one buffer."""

    def __init__(self, bundle: BundleFile, members: list[Member], phase: Phase) -> None:
        self._bundle, self._phase = bundle, phase
        self._left = iter(members)
        self._lock = threading.Lock()
        self._stop = False
        self._damaged: list[tuple[Member, str]] = []

    def run(self, threads: int) -> list[tuple[Member, str]]:
        with ThreadPoolExecutor(threads, "verify") as pool:
            futures = [pool.submit(self._work) for _ in range(threads)]
            try:
                for future in futures:
                    future.result()
            finally:
                self._stop = True
        return sorted(self._damaged, key=lambda found: found[0].offset)

    def _work(self) -> None:
        with piece_buffer(CHUNK) as buffer:
            while not self._stop:
                with self._lock:
                    member = next(self._left, None)
                if member is None:
                    return
                found = self._hash(member, buffer)
                if found != member.digest:
                    with self._lock:
                        self._damaged.append((member, found))

    def _hash(self, member: Member, buffer: memoryview) -> str:
        hasher = hashlib.sha256()
        position, end = member.offset, member.offset + member.size
        with self._phase.item(member.digest[7:19], member.size) as item:
            while position < end and not self._stop:
                if not (position - member.offset) % _AHEAD:
                    self._bundle.file.will_need(position + _AHEAD, min(_AHEAD, end - position - _AHEAD))
                count = self._bundle.file.read_into(position, buffer[: end - position])
                if not count:
                    break
                hasher.update(buffer[:count])
                item.advance(count)
                position += count
        return "sha256:" + hasher.hexdigest()


def _damage(bundle: BundleFile, damaged: list[tuple[Member, str]]) -> DigestMismatch:
    findings = []
    touched: list[list[str]] = []
    for member, found in damaged:
        parts = bundle.file.parts_of(member.offset, member.size)
        touched.append([part.path.name for part in parts])
        where = ", ".join(touched[-1])
        findings.append(Finding("blob is damaged", where=where, code="digest", found=found, expected=member.digest))
    many = f"{len(damaged)} blobs are" if len(damaged) > 1 else "a blob is"
    names = damaged_files(bundle.file, touched)
    return DigestMismatch(
        f"{bundle_path(bundle.path).name}: {many} not what the statement says; damaged: {', '.join(names)}",
        findings=findings,
        hint=carry_again(bundle.file, names),
    )
