"""`manifest.json`: the docker-archive view of a bundle's images, for `podman load` and `docker load`.

The format knows one platform for each image: linux/amd64, else the first that is carried (design §3). Engines load
entry by entry and end at the first that they can't read: what an old one may not know comes last (docs/decisions/0022).
Spec: moby `image/spec/v1.2.md`, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airbundle.bundle.content import Node
from airbundle.bundle.digest import hex_of
from airbundle.bundle.index import IMAGE, kind_of, ref_of
from airbundle.bundle.oci import ATTESTATION_TYPE, Descriptor, Platform, canonical_json
from airbundle.bundle.tar import BLOBS

_DEFAULT = Platform("linux", "amd64")
_KNOWN_TO_ALL = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
"""Media types of layers that every engine reads; docker before 23 has no zstd."""


def docker_manifest(roots: Iterable[tuple[Descriptor, Iterable[Node]]]) -> bytes:
    """Return the bytes of `manifest.json`.

    Args:
        roots: the entries of `index.json`, each with its carried manifests, as `content.walk` yields them.
    """
    entries: dict[str, dict[str, Any]] = {}
    doubtful: set[str] = set()
    for root, nodes in roots:
        if kind_of(root) != IMAGE:
            continue
        node = _chosen(nodes)
        if node is None or node.manifest.config is None:
            continue
        entry = entries.setdefault(
            node.descriptor.digest,
            {
                "Config": _path(node.manifest.config.digest),
                "RepoTags": [],
                "Layers": [_path(layer.digest) for layer in node.manifest.layers],
            },
        )
        entry["RepoTags"].append(ref_of(root))
        if any(layer.media_type not in _KNOWN_TO_ALL for layer in node.manifest.layers):
            doubtful.add(node.descriptor.digest)
    return canonical_json([entries[digest] for digest in sorted(entries, key=doubtful.__contains__)])


def _path(digest: str) -> str:
    return BLOBS + hex_of(digest)


def _chosen(nodes: Iterable[Node]) -> Node | None:
    images = [node for node in nodes if not node.manifest.is_index and not is_attestation(node.descriptor)]
    for node in images:
        platform = node.descriptor.platform
        if platform is not None and platform.satisfies(_DEFAULT):
            return node
    return images[0] if images else None


def is_attestation(child: Descriptor) -> bool:
    """Tell whether a child of an index is BuildKit's attestation of another child, and no image."""
    if ATTESTATION_TYPE in child.annotations:
        return True
    return child.platform is not None and child.platform.os == "unknown"
