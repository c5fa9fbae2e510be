"""What loading a bundle into a registry means: which blobs, manifests and tags, where, in which order. Pure.

Blobs first, then manifests (children before parents, subjects before referrers), then tags: whoever pulls a tag finds
all that is below it, at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airbundle.bundle.content import Node, walk
from airbundle.bundle.digest import sha256
from airbundle.bundle.index import kind_of, ref_of
from airbundle.bundle.naming import SERVED_ONLY, site_name
from airbundle.bundle.oci import Descriptor, Platform, canonical_json
from airbundle.errors import VerificationError


@dataclass(frozen=True)
class BlobTask:
    """A blob and the repositories that need it, in a fixed order."""

    blob: Descriptor
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Tag:
    """A tag at the registry.

    Attributes:
        ref: the root's full name in the bundle, for people.
        descriptor: what the tag points to.
        substitute: what it points to where the registry refuses a sparse index; None for all that is whole.
    """

    repository: str
    tag: str
    ref: str
    kind: str
    descriptor: Descriptor
    substitute: Substitute | None = None


@dataclass(frozen=True)
class Substitute:
    """What stands in for a sparse index: its one carried manifest, or an index of the several carried.

    `raw` has the bytes of an index made here; None for a carried manifest, which is in the bundle.
    """

    descriptor: Descriptor
    platforms: tuple[Platform, ...]
    raw: bytes | None = None


@dataclass(frozen=True)
class LoadPlan:
    """All that loading does.

    Attributes:
        blobs: largest first.
        manifests: by repository, children before parents and subjects before referrers.
        sparse: by repository, the digests of indexes that lack children, and of indexes above those.
        tags: one for each named root.
        unloaded: blobs of roots that no registry client asks for; they are verified, not sent.
    """

    blobs: tuple[BlobTask, ...]
    manifests: dict[str, tuple[Node, ...]]
    sparse: dict[str, frozenset[str]]
    tags: tuple[Tag, ...]
    unloaded: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes of all distinct blobs that go to the registry."""
        return sum(task.blob.size for task in self.blobs)

    def count(self, kind: str) -> int:
        """Return how many tags are of `kind`."""
        return sum(tag.kind == kind for tag in self.tags)


def plan_load(roots: Sequence[Descriptor], load: Callable[[Descriptor], bytes | None], *, prefix: str = "") -> LoadPlan:
    """Plan the loading of a bundle.

    Args:
        roots: the entries of its `index.json`.
        load: gives the verified bytes of a manifest, or None when the bundle doesn't carry it.
        prefix: what repositories at the registry begin with.

    Raises:
        VerificationError: a root has no name or an impossible one, two roots want one tag, a manifest does not parse.
    """
    planner = _Planner(load, prefix)
    for root in roots:
        planner.add(root)
    return planner.result()


class _Planner:
    def __init__(self, load: Callable[[Descriptor], bytes | None], prefix: str) -> None:
        self._load = load
        self._prefix = prefix
        self._blobs: dict[str, Descriptor] = {}
        self._needed_by: dict[str, dict[str, None]] = {}
        self._unloaded: dict[str, Descriptor] = {}
        self._manifests: dict[str, dict[str, Node]] = {}
        self._sparse: dict[str, set[str]] = {}
        self._tags: dict[tuple[str, str], Tag] = {}

    def add(self, root: Descriptor) -> None:
        """Add one root with all that is below it."""
        ref, kind = ref_of(root), kind_of(root)
        nodes = list(walk(root, self._load, what=ref or root.digest))
        if not nodes or nodes[-1].descriptor.digest != root.digest:
            raise VerificationError(f"{ref or root.digest}: the bundle's index.json lists it, the bundle lacks it")
        if kind in SERVED_ONLY:
            self._unloaded.update((blob.digest, blob) for node in nodes for blob in node.manifest.blobs)
            return
        name = site_name(ref, self._prefix)
        for node in nodes:
            self._add_node(name.repository, node)
        if name.tag:
            self._add_tag(Tag(name.repository, name.tag, ref, kind, root, self._substitute(root, nodes)))

    def _add_node(self, repository: str, node: Node) -> None:
        self._manifests.setdefault(repository, {}).setdefault(node.descriptor.digest, node)
        for blob in node.manifest.blobs:
            self._blobs.setdefault(blob.digest, blob)
            self._needed_by.setdefault(blob.digest, {})[repository] = None
        if self._is_sparse(repository, node):
            self._sparse.setdefault(repository, set()).add(node.descriptor.digest)

    def _is_sparse(self, repository: str, node: Node) -> bool:
        known = self._manifests[repository]
        below = self._sparse.get(repository, set())
        children = (child for child in node.manifest.manifests if child.is_index or child.is_manifest)
        return any(child.digest not in known or child.digest in below for child in children)

    def _add_tag(self, tag: Tag) -> None:
        other = self._tags.setdefault((tag.repository, tag.tag), tag)
        if other.descriptor.digest != tag.descriptor.digest:
            raise VerificationError(
                f"{tag.ref} and {other.ref} both want the tag {tag.repository}:{tag.tag}, "
                f"for {tag.descriptor.digest} and {other.descriptor.digest}",
                hint="leave one of the two out of the inventory and build again",
            )

    def _substitute(self, root: Descriptor, nodes: Sequence[Node]) -> Substitute | None:
        repository = site_name(ref_of(root), self._prefix).repository
        if root.digest not in self._sparse.get(repository, set()):
            return None
        return substitute_for(nodes)

    def result(self) -> LoadPlan:
        tasks = [BlobTask(blob, tuple(self._needed_by[digest])) for digest, blob in self._blobs.items()]
        tasks.sort(key=lambda task: (-task.blob.size, task.blob.digest))
        return LoadPlan(
            blobs=tuple(tasks),
            manifests={name: _subjects_first(nodes) for name, nodes in self._manifests.items()},
            sparse={name: frozenset(digests) for name, digests in self._sparse.items()},
            tags=tuple(self._tags.values()),
            unloaded=tuple(blob for digest, blob in self._unloaded.items() if digest not in self._blobs),
        )


def _subjects_first(nodes: dict[str, Node]) -> tuple[Node, ...]:
    """Order by length of the chain of subjects; otherwise as given, which has children before parents."""

    def depth(node: Node, seen: frozenset[str] = frozenset()) -> int:
        subject = node.manifest.subject
        if subject is None:
            return 0
        # A chain can't close on itself but by a broken hash; what is met again ends it all the same.
        above = nodes.get(subject.digest) if subject.digest not in seen else None
        return 1 + (depth(above, seen | {subject.digest}) if above else 0)

    return tuple(sorted(nodes.values(), key=depth))


def substitute_for(nodes: Sequence[Node]) -> Substitute | None:
    """Return what stands in for the sparse index that ends `nodes`, or None when it carries no platform at all.

    One carried platform gives its manifest. Several give an index of just these, made here, so that nodes of each
    platform go on to find theirs.
    """
    carried = {node.descriptor.digest for node in nodes if not node.manifest.is_index}
    found: dict[str, tuple[Descriptor, Platform]] = {}
    for index in (node.manifest for node in nodes if node.manifest.is_index):
        for child in index.manifests:
            # Attestations have the platform unknown/unknown.
            if child.digest in carried and child.platform is not None and child.platform.os != "unknown":
                found.setdefault(child.digest, (child, child.platform))
    if not found:
        return None
    platforms = tuple(platform for _, platform in found.values())
    if len(found) == 1:
        return Substitute(next(iter(found.values()))[0], platforms)
    media_type = nodes[-1].manifest.media_type
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [descriptor.to_json() for descriptor, _ in found.values()],
    }
    raw = canonical_json(body)
    return Substitute(Descriptor(media_type, sha256(raw), len(raw)), platforms, raw)
