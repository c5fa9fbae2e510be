"""Things served at paths of their own: files, the index of each directory, and nothing that isn't listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airbundle.bundle.clamav_artifact import TITLE
from airbundle.bundle.digest import sha256
from airbundle.bundle.index import kind_of, ref_of
from airbundle.bundle.layout import repository_of
from airbundle.bundle.oci import Descriptor, Manifest, parse_manifest
from airbundle.server.deliver import Item, content_type
from airbundle.server.library import Library, Opened

Shelf = Mapping[str, Item]
"""Items by path below the shelf's own, such as `charts.jetstack.io/index.yaml`."""


@dataclass(frozen=True)
class Found:
    """A root of one kind with its manifest and the bundle it was found in."""

    opened: Opened
    root: Descriptor
    manifest: Manifest

    @property
    def ref(self) -> str:
        """Its full name."""
        return ref_of(self.root)

    @property
    def created(self) -> int:
        """When its bundle was made, in seconds since the epoch."""
        return self.opened.statement.serial


def roots_of(library: Library, kind: str) -> Iterator[Found]:
    """Yield the roots of one kind, newest bundle first.

    Raises:
        VerificationError: a manifest is damaged or does not parse.
    """
    for opened in library.bundles:
        for root in opened.bundle.index:
            if kind_of(root) == kind:
                raw = library.read_small(root.digest)
                yield Found(opened, root, parse_manifest(raw, root.media_type, what=ref_of(root)))


def layers_by_title(found: Found) -> Iterator[tuple[str, Descriptor]]:
    """Yield the layers of an artifact by file name; one without a title is called as the artifact is."""
    for layer in found.manifest.layers:
        name = layer.annotations.get(TITLE) or repository_of(found.ref).rpartition("/")[2]
        if name.isprintable() and name.strip("./") and not name.startswith("/"):
            yield name, layer


def blob_item(layer: Descriptor, modified: int) -> Item:
    """Return the item for a blob."""
    return Item(layer.digest, layer.size, content_type(layer.media_type), modified)


def made_item(data: bytes, media_type: str, modified: int) -> Item:
    """Return the item for bytes that were made at the start."""
    return Item(sha256(data), len(data), media_type, modified, data)


def build_files(library: Library) -> Shelf:
    """Return what `/files/` serves; of equal names the newest bundle's."""
    found: dict[str, Item] = {}
    for file in roots_of(library, "file"):
        for name, layer in layers_by_title(file):
            found.setdefault(name, blob_item(layer, file.created))
    return found
