"""The plan of a bundle: every byte's place, and every byte that is known, before the first large one arrives."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from airbundle.bundle.content import walk
from airbundle.bundle.digest import sha256
from airbundle.bundle.docker_archive import docker_manifest
from airbundle.bundle.index import encode_index, ref_of
from airbundle.bundle.layout import (
    DOCKER_NAME,
    HEAD,
    INDEX_NAME,
    LOCK_MEMBER,
    OCI_LAYOUT,
    OCI_LAYOUT_NAME,
    SIGNATURES_NAME,
    STATEMENT_NAME,
    TOC_NAME,
    BundleContent,
)
from airbundle.bundle.oci import Descriptor
from airbundle.bundle.statement import INSTALLER, SIGNATURES_SIZE, Base, Contents, Statement
from airbundle.bundle.table import BlobTable
from airbundle.bundle.tar import END, Member, frame, padded, place
from airbundle.bundle.toc import Toc


@dataclass(frozen=True)
class BaseBundle:
    """The bundle that a delta builds on: what the statement says of it, and the digests it has."""

    base: Base
    blobs: Container[str]


@dataclass(frozen=True)
class BundlePlan:
    """A bundle, laid out.

    Attributes:
        content: what it will hold.
        head: the bytes of the head, frames and padding included; the signatures are zeros.
        table: where each blob lies.
        toc: digests and sizes in file order.
        statement: the bytes to sign.
        signatures_at: where the data of `airbundle/signatures` begins.
        installer: the bytes of the zip application; empty where there is none.
    """

    content: BundleContent
    head: bytes
    table: BlobTable
    toc: Toc
    statement: bytes
    signatures_at: int
    installer: bytes

    @property
    def installer_at(self) -> int:
        """Where the zip begins, or would: after the archive's end marker."""
        return self.table.end + len(END)

    @property
    def total_size(self) -> int:
        """Size of the whole file in bytes."""
        return self.installer_at + len(self.installer)

    @cached_property
    def blobs_to_fetch(self) -> tuple[Descriptor, ...]:
        """Blobs whose bytes are not known yet, in file order."""
        blobs = self.content.blobs
        return tuple(blobs[digest] for digest, _ in self.toc.blobs if digest in blobs)

    def known_bytes(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of everything but fetched blobs: head, frames, manifests, end marker, zip."""
        yield 0, self.head
        for member in self.table:
            yield member.start, frame(member)
            data = self.content.small.get(member.digest)
            if data is not None:
                yield member.offset, data
        yield self.table.end, END
        yield self.installer_at, self.installer


def plan_bundle(
    content: BundleContent,
    *,
    installer: bytes | None = None,
    base: BaseBundle | None = None,
    allowed_missing: Iterable[str] = (),
) -> BundlePlan:
    """Lay out a bundle. Equal arguments give an equal plan.

    Args:
        content: from `bundle.layout.content_of`.
        installer: the zip application; None leaves it out.
        base: makes a delta: blobs that the base has are left out, manifests and configs never.
        allowed_missing: patterns of images that charts run and that may be missing; the statement names them.
    """
    toc = _toc(content, base)
    members = _documents(content, toc)
    members[SIGNATURES_NAME] = bytes(SIGNATURES_SIZE)
    claim = _statement(content, members, toc, installer, base)
    claim = replace(claim, allowed_missing=tuple(sorted(set(allowed_missing))))
    table = _table(toc, members, claim)
    members[STATEMENT_NAME] = statement = _sized(claim, table).to_bytes()
    head, places, _ = build_head(members)
    return BundlePlan(
        content=content,
        head=head,
        table=table,
        toc=toc,
        statement=statement,
        signatures_at=places[SIGNATURES_NAME].offset,
        installer=installer or b"",
    )


def build_head(members: Mapping[str, bytes]) -> tuple[bytes, dict[str, Member], int]:
    """Return the head's bytes, where each of its members lies, and where it ends."""
    placed = list(place((name, len(members[name])) for name in HEAD))
    parts = []
    for member in placed:
        data = members[member.name]
        parts += [frame(member), data, bytes(padded(len(data)) - len(data))]
    return b"".join(parts), {member.name: member for member in placed}, placed[-1].end


def _toc(content: BundleContent, base: BaseBundle | None) -> Toc:
    external = [digest for digest in content.others if base is not None and digest in base.blobs]
    absent = frozenset(external)
    carried = [*content.metadata, *(digest for digest in content.others if digest not in absent)]
    return Toc(
        blobs=tuple((digest, content.size(digest)) for digest in carried),
        metadata=len(content.metadata),
        external=tuple((digest, content.size(digest)) for digest in external),
    )


def _documents(content: BundleContent, toc: Toc) -> dict[str, bytes]:
    manifests = frozenset(content.metadata)

    def load(descriptor: Descriptor) -> bytes | None:
        return content.small.get(descriptor.digest) if descriptor.digest in manifests else None

    return {
        OCI_LAYOUT_NAME: OCI_LAYOUT,
        INDEX_NAME: encode_index(content.index),
        DOCKER_NAME: docker_manifest((root, walk(root, load, what=ref_of(root))) for root in content.index),
        LOCK_MEMBER: content.lock.to_bytes(),
        TOC_NAME: toc.to_bytes(),
    }


def _table(toc: Toc, members: Mapping[str, bytes], claim: Statement) -> BlobTable:
    """Return where each blob lies behind a statement that says how large the file is.

    The size has digits, and the digits have a size: a longer statement never makes a shorter file, so the steps end.
    """
    while True:
        sizes = {name: len(data) for name, data in members.items()}
        sizes[STATEMENT_NAME] = len(claim.to_bytes())
        *_, last = place((name, sizes[name]) for name in HEAD)
        table = BlobTable(toc.blobs, last.end)
        following = _sized(claim, table)
        if following == claim:
            return table
        claim = following


def _sized(claim: Statement, table: BlobTable) -> Statement:
    installer = claim.subjects.get(INSTALLER, ("", 0))[1]
    return replace(claim, contents=replace(claim.contents, size=table.end + len(END) + installer))


def _statement(
    content: BundleContent,
    members: Mapping[str, bytes],
    toc: Toc,
    installer: bytes | None,
    base: BaseBundle | None,
) -> Statement:
    subjects = {name: (sha256(members[name]), len(members[name])) for name in (INDEX_NAME, LOCK_MEMBER, TOC_NAME)}
    if installer is not None:
        subjects[INSTALLER] = (sha256(installer), len(installer))
    lock = content.lock
    return Statement(
        name=lock.name,
        version=lock.version,
        serial=lock.serial,
        created=lock.created,
        expires=lock.expires,
        subjects=subjects,
        contents=Contents.of(toc),
        base=base.base if base else None,
    )
