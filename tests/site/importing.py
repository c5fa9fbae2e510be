"""Images put straight into a node's containerd, for tests that are not about pulling."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from tests.support.real_images import real_images
from tests.support.sealed import Site
from tests.support.storage import Storage


def import_images(site: Site, node: int, names: Iterable[str], archive: Path) -> None:
    """Import real images, under their upstream names, into one node; `archive` is written on the way."""
    storage = Storage(real_images().storage)
    tags = storage.tags()
    blobs: dict[str, Path] = {}
    entries = []
    for name in names:
        path = storage.blob_path(tags[name])
        manifest = json.loads(path.read_bytes())
        note = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        kind = manifest["mediaType"]
        entries.append({"mediaType": kind, "digest": tags[name], "size": path.stat().st_size, "annotations": note})
        for digest in (tags[name], manifest["config"]["digest"], *(each["digest"] for each in manifest["layers"])):
            blobs[digest] = storage.blob_path(digest)
    with tarfile.open(archive, "w") as layout:
        index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        for member, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            layout.addfile(entry, BytesIO(data))
        for digest, path in blobs.items():
            layout.add(path, f"blobs/{digest.replace(':', '/')}")
    site.node(node, "ctr", "-n", "k8s.io", "images", "import", archive)
    archive.unlink()
