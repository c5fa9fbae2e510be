"""The registry's content: which repositories there are, and what is reachable in each (distribution spec).

A manifest or blob is served in a repository when a root of that repository reaches it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from airbundle.bundle.content import Node, walk
from airbundle.bundle.index import IMAGE, kind_of, ref_of
from airbundle.bundle.naming import SERVED_ONLY, site_name
from airbundle.bundle.oci import Descriptor


@dataclass
class Repository:
    """One repository.

    Attributes:
        tags: what each points to; `images` are those that are images, not charts or signatures.
        manifests, blobs: what is reachable, by digest.
        referrers: by the digest of their subject, then by their own.
    """

    tags: dict[str, Descriptor] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    manifests: dict[str, Descriptor] = field(default_factory=dict)
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    referrers: dict[str, dict[str, Descriptor]] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a manifest with what it names."""
        self.manifests.setdefault(node.descriptor.digest, node.descriptor)
        for blob in node.manifest.blobs:
            self.blobs.setdefault(blob.digest, blob)
        if node.manifest.subject is not None:
            # Distribution spec, "listing referrers": the entry has the manifest's own type and annotations.
            entry = Descriptor(
                node.manifest.media_type,
                node.descriptor.digest,
                node.descriptor.size,
                annotations=node.manifest.annotations,
                artifact_type=node.manifest.kind_type,
            )
            self.referrers.setdefault(node.manifest.subject.digest, {})[node.descriptor.digest] = entry


def build_repositories(
    roots: Iterable[Descriptor], load: Callable[[Descriptor], bytes | None], *, prefix: str = ""
) -> dict[str, Repository]:
    """Return all repositories by name, in alphabetical order.

    Args:
        roots: of all bundles, oldest bundle first: a later root takes a tag from an earlier one.
        load: gives a manifest's verified bytes, or None when it isn't carried.
        prefix: what repositories begin with.

    Raises:
        VerificationError: a root has an impossible name, or a manifest does not parse.
    """
    found: dict[str, Repository] = {}
    for root in roots:
        if kind_of(root) in SERVED_ONLY:
            continue
        name = site_name(ref_of(root), prefix)
        repository = found.setdefault(name.repository, Repository())
        for node in walk(root, load, what=ref_of(root)):
            repository.add(node)
        if name.tag and root.digest in repository.manifests:
            repository.tags[name.tag] = replace(root, annotations={})
            if kind_of(root) == IMAGE:
                repository.images.add(name.tag)
    return {name: found[name] for name in sorted(found)}
