"""Content written straight into a registry's storage directory (distribution's filesystem driver, `paths.go`).

It is the fast way in: no upload, no auth, any number of bytes by hard link; and the only way to make a registry serve
what it would refuse, such as wrong bytes or an index with missing children. Works on a live registry too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from airbundle.bundle.digest import hex_of, sha256


class Storage:
    """A registry's storage directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._base = root / "docker" / "registry" / "v2"

    def blob_path(self, digest: str) -> Path:
        """Return where the bytes of `digest` lie."""
        name = hex_of(digest)
        return self._base / "blobs" / "sha256" / name[:2] / name / "data"

    def put_bytes(self, data: bytes, digest: str = "") -> str:
        """Store `data` below its digest, or below another `digest` to make the registry lie; return the digest."""
        digest = digest or sha256(data)
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"data.{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)
        return digest

    def put_file(self, source: Path, *, move: bool = False) -> str:
        """Store the bytes of `source` and return the digest. `move` takes the file away instead of copying it."""
        with source.open("rb") as file:
            digest = "sha256:" + _file_sha256(file.fileno())
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        if move:
            shutil.move(str(source), str(path))
        else:
            shutil.copyfile(source, path)
        return digest

    def link_blob(self, repository: str, digest: str) -> None:
        """Make a stored blob (config, layer) part of `repository`."""
        self._link(repository, f"_layers/sha256/{hex_of(digest)}", digest)

    def put_manifest(self, repository: str, raw: bytes, *tags: str, digest: str = "") -> str:
        """Store a manifest or index in `repository` and return its digest. Children are not looked at."""
        digest = self.put_bytes(raw, digest)
        name = hex_of(digest)
        self._link(repository, f"_manifests/revisions/sha256/{name}", digest)
        for tag in tags:
            self._link(repository, f"_manifests/tags/{tag}/index/sha256/{name}", digest)
            self._link(repository, f"_manifests/tags/{tag}/current", digest)
        return digest

    def delete_blob(self, digest: str) -> None:
        """Take away the bytes of `digest` in all repositories: asking for it is 404 from now on."""
        self.blob_path(digest).unlink()

    def tags(self) -> dict[str, str]:
        """Return the digest of each `repository:tag`."""
        repositories = self._base / "repositories"
        found: dict[str, str] = {}
        for link in sorted(repositories.glob("**/_manifests/tags/*/current/link")):
            tag = link.parent.parent.name
            name = link.parents[4].relative_to(repositories)
            found[f"{name}:{tag}"] = link.read_text()
        return found

    def _link(self, repository: str, path: str, digest: str) -> None:
        link = self._base / "repositories" / repository / path / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(digest)


def _file_sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(descriptor, 1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
