"""What goes into a bundle: from the lock and the raw manifests to roots, known bytes and blobs in file order.

Every manifest is checked against the descriptor that points to it. `urls` of foreign layers are never followed: a
layer is fetched from its registry or not at all (CVE-2026-49349).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airbundle.bundle.content import Node, walk
from airbundle.bundle.digest import check
from airbundle.bundle.index import IMAGE, REFERRER, SIGNATURE, kind_of, make_root, ref_of, root_order
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import BUNDLE_REF, EMPTY_DESCRIPTOR, EMPTY_JSON, Descriptor
from airbundle.errors import MissingContent, VerificationError

if TYPE_CHECKING:
    from airbundle.bundle.cosign import SignatureArtifact

OCI_LAYOUT_NAME = "oci-layout"
OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_NAME = "index.json"
DOCKER_NAME = "manifest.json"
STATEMENT_NAME = "airbundle/statement.json"
SIGNATURES_NAME = "airbundle/signatures"
LOCK_MEMBER = "airbundle/lock.json"
TOC_NAME = "airbundle/toc.json"
HEAD = (OCI_LAYOUT_NAME, INDEX_NAME, DOCKER_NAME, STATEMENT_NAME, SIGNATURES_NAME, LOCK_MEMBER, TOC_NAME)
"""The members of the head, in file order."""


@dataclass(frozen=True)
class BundleContent:
    """Everything that a bundle will hold, before the large bytes are there.

    Attributes:
        index: the roots, in the order of `index.json`.
        small: bytes known already, by digest: manifests, signatures' payloads.
        blobs: what is still to be fetched, by digest: configs, layers, all else.
        metadata: digests of manifests and configs, in file order; they come first.
        others: digests of all other blobs, in file order.
        owners: for each digest in `blobs`, the first root of the lock that needs it.
    """

    lock: Lock
    index: tuple[Descriptor, ...]
    small: Mapping[str, bytes]
    blobs: Mapping[str, Descriptor]
    metadata: tuple[str, ...]
    others: tuple[str, ...]
    owners: Mapping[str, LockedRoot]

    def size(self, digest: str) -> int:
        """Return the size in bytes of any digest of this content."""
        known = self.small.get(digest)
        return self.blobs[digest].size if known is None else len(known)


@dataclass(frozen=True)
class Extra:
    """A signature that the build makes itself; it becomes a root beside its image's. See `cosign.sign_image`."""

    ref: str
    manifest: Descriptor
    raw: bytes
    blobs: Mapping[str, bytes]

    @classmethod
    def of(cls, repository: str, artifact: SignatureArtifact) -> Extra:
        """Return the extra for `artifact`, which signs an image of `repository` (`docker.io/library/redis`)."""
        return cls(repository + artifact.ref_suffix, artifact.manifest, artifact.raw, artifact.blobs)


def repository_of(ref: str) -> str:
    """Return the repository of an image's full name: `docker.io/library/redis` of `docker.io/library/redis:7.2`."""
    name = ref.partition("@")[0]
    return name[: name.rfind(":")] if name.rfind(":") > name.rfind("/") else name


def content_of(lock: Lock, manifests: Mapping[str, bytes], extra: Sequence[Extra] = ()) -> BundleContent:
    """Walk every root of the lock and return what the bundle will hold.

    Args:
        lock: decides roots, carried children and referrers.
        manifests: raw bytes of every manifest and index that is carried, by digest.
        extra: signatures made by this build. One with the name of a locked signature takes its place.

    Raises:
        VerificationError: a manifest is not what its descriptor says, a locked child is not in its index, two sizes
            are claimed for one digest, or two roots have one name.
        MissingContent: the bytes of a carried manifest are not in `manifests`.
    """
    gatherer = _Gatherer(manifests)
    replaced = {item.ref for item in extra}
    for root in lock.roots:
        gatherer.root(root.kind, root.ref, root.descriptor, [child.digest for child in root.children], root)
        for referrer in root.referrers:
            ref = referrer.annotations.get(BUNDLE_REF) or f"{repository_of(root.ref)}@{referrer.digest}"
            if ref not in replaced:
                gatherer.root("", ref, referrer, None, root)
    owners = {repository_of(root.ref): root for root in reversed(lock.roots) if root.kind == IMAGE}
    for item in extra:
        gatherer.known[item.manifest.digest] = item.raw
        gatherer.known.update(item.blobs)
        gatherer.root("", item.ref, item.manifest, None, owners.get(repository_of(item.ref)))
    return gatherer.content(lock)


@dataclass
class _Walked:
    """A root with its manifests, and whose it is."""

    entry: Descriptor
    nodes: list[Node]
    owner: LockedRoot | None


@dataclass
class _Gatherer:
    manifests: Mapping[str, bytes]
    known: dict[str, bytes] = field(default_factory=lambda: {EMPTY_DESCRIPTOR.digest: EMPTY_JSON})
    roots: dict[tuple[str, str], _Walked] = field(default_factory=dict)

    def root(
        self, kind: str, ref: str, target: Descriptor, children: Iterable[str] | None, owner: LockedRoot | None
    ) -> None:
        """Walk one root; `children` are the carried digests below an index, None for all that there are bytes of."""
        nodes = self._nodes(ref, target, children)
        manifest = nodes[-1].manifest
        if not kind:
            kind = SIGNATURE if manifest.subject is None else REFERRER
        total = sum({blob.digest: blob.size for node in nodes for blob in _needs(node)}.values())
        entry = make_root(kind, ref, target, total, manifest.kind_type)
        earlier = self.roots.get((kind, ref))
        if earlier is not None and earlier.entry.digest != target.digest:
            raise VerificationError(
                f"{kind} {ref} stands twice: as {earlier.entry.digest} and as {target.digest}",
                hint="give one of them another name",
            )
        self.roots.setdefault((kind, ref), _Walked(entry, nodes, owner))

    def _nodes(self, ref: str, target: Descriptor, children: Iterable[str] | None) -> list[Node]:
        carried = None if children is None else {target.digest, *children}

        def load(descriptor: Descriptor) -> bytes | None:
            if carried is not None and descriptor.digest not in carried:
                return None
            raw = self._bytes(descriptor.digest)
            if raw is None and carried is None and descriptor.digest != target.digest:
                return None
            if raw is None:
                raise MissingContent(
                    f"{ref}: the manifest {descriptor.digest} is not at hand", hint="run `airbundle lock` again"
                )
            check(raw, descriptor.digest, what=f"{ref}: manifest {descriptor.digest}", size=descriptor.size)
            return raw

        nodes = list(walk(target, load, what=ref))
        lost = (carried or set()) - {node.descriptor.digest for node in nodes}
        if lost:
            raise VerificationError(
                f"{ref}: the lock carries {min(lost)}, which {target.digest} does not list",
                hint="run `airbundle lock` again",
            )
        return nodes

    def _bytes(self, digest: str) -> bytes | None:
        raw = self.known.get(digest)
        return self.manifests.get(digest) if raw is None else raw

    def content(self, lock: Lock) -> BundleContent:
        """Return all that was gathered, each digest once, metadata first."""
        ordered = sorted(self.roots.values(), key=lambda w: root_order(kind_of(w.entry), ref_of(w.entry)))
        sizes: dict[str, Descriptor] = {}
        metadata: dict[str, None] = {}
        small: dict[str, bytes] = {}
        owners: dict[str, LockedRoot] = {}
        for walked in ordered:
            for node in walked.nodes:
                small[node.descriptor.digest] = node.manifest.raw
                metadata[node.descriptor.digest] = None
            for node in walked.nodes:
                if node.manifest.config is not None:
                    metadata[node.manifest.config.digest] = None
            for node in walked.nodes:
                for blob in _needs(node):
                    self._one_size(sizes, blob, ref_of(walked.entry))
                    if walked.owner is not None:
                        owners.setdefault(blob.digest, walked.owner)
        small.update({digest: self.known[digest] for digest in sizes if digest in self.known})
        blobs = {digest: blob for digest, blob in sizes.items() if digest not in small}
        return BundleContent(
            lock=lock,
            index=tuple(walked.entry for walked in ordered),
            small=small,
            blobs=blobs,
            metadata=tuple(metadata),
            others=tuple(digest for digest in sizes if digest not in metadata),
            owners={digest: owner for digest, owner in owners.items() if digest in blobs},
        )

    def _one_size(self, sizes: dict[str, Descriptor], blob: Descriptor, ref: str) -> None:
        other = sizes.setdefault(blob.digest, blob)
        known = self.known.get(blob.digest)
        expected = other.size if known is None else len(known)
        if blob.size != expected:
            raise VerificationError(f"{ref}: {blob.digest} is said to have {blob.size} bytes, and {expected} elsewhere")


def _needs(node: Node) -> tuple[Descriptor, ...]:
    return (node.descriptor, *node.manifest.blobs)
