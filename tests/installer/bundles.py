"""Signed bundles and the site's keys, for the tests of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.cosign import sign_image
from airbundle.bundle.digest import sha256
from airbundle.bundle.index import CHART, IMAGE
from airbundle.bundle.layout import Extra, repository_of
from airbundle.bundle.oci import HELM_CHART, HELM_CONFIG, Descriptor, artifact_manifest
from airbundle.crypto.keys import Signer, generate_key, load_signer
from airbundle.store.plan import plan_bundle
from tests.support.bundles import SERIAL, Made, lock_of, locked, make, write_bundle
from tests.support.images import Artifact, Blob


@dataclass(frozen=True)
class Key:
    """A release key: the file with its public half, and the signer."""

    public: Path
    signer: Signer


def make_key(directory: Path, name: str) -> Key:
    """Make a release key."""
    private, public = generate_key(b"secret")
    (directory / f"{name}.pem").write_bytes(private)
    (directory / f"{name}.pem").chmod(0o600)
    path = directory / f"{name}.pub"
    path.write_bytes(public)
    return Key(path, load_signer(str(directory / f"{name}.pem"), lambda: b"secret"))


def sign_and_write(
    path: Path, made: Made, *keys: Key, installer: bytes | None = None, volume_size: int | None = None
) -> Path:
    """Write a bundle with the signatures of `keys` and return its path (of volumes: their directory)."""
    statement = plan_bundle(made.content, installer=installer).statement
    signatures = [(key.signer.public_key.key_id, key.signer.sign(statement)) for key in keys]
    write_bundle(path, made, installer=installer, signatures=signatures, volume_size=volume_size, checksum=False)
    return path if volume_size is None else path.parent


def chart(name: str, version: str) -> Artifact:
    """Make a chart as helm pushes them."""
    import io
    import json
    import tarfile

    buffer = io.BytesIO()
    text = f"apiVersion: v2\nname: {name}\nversion: {version}\ndescription: a test\n".encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(f"{name}/Chart.yaml")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    config = json.dumps({"apiVersion": "v2", "name": name, "version": version, "description": "a test"}).encode()
    blobs = [
        Blob(Descriptor(kind, sha256(data), len(data)), data)
        for kind, data in ((HELM_CONFIG, config), (HELM_CHART, buffer.getvalue()))
    ]
    raw = artifact_manifest("", (blobs[1].descriptor,), config=blobs[0].descriptor)
    return Artifact(Descriptor("application/vnd.oci.image.manifest.v1+json", sha256(raw), len(raw)), raw, tuple(blobs))


def content(
    images: Mapping[str, Artifact],
    *,
    charts: Mapping[str, Artifact] | None = None,
    others: Mapping[tuple[str, str], Artifact] | None = None,
    carried: Mapping[str, Sequence[Artifact]] | None = None,
    referrers: Mapping[str, Sequence[Artifact]] | None = None,
    signer: Signer | None = None,
    name: str = "test",
    version: str = "1.0.0",
    serial: int = SERIAL,
    expires: str = "",
) -> Made:
    """Return the content of a bundle.

    Args:
        images, charts: by full name.
        others: by kind and full name.
        carried: children that are carried of the indexes named; by default all.
        referrers: of images.
        signer: signs the images as cosign does.
    """
    from dataclasses import replace
    from datetime import datetime, timezone

    everything = [*images.values(), *(charts or {}).values(), *(others or {}).values()]
    roots = [
        locked(
            ref,
            image,
            kind=IMAGE,
            children=(carried or {}).get(ref),
            referrers=(referrers or {}).get(ref, ()),
        )
        for ref, image in images.items()
    ]
    roots += [
        locked(ref, item, kind=CHART, info={"name": ref.rpartition("/")[2].partition(":")[0]})
        for ref, item in (charts or {}).items()
    ]
    roots += [locked(ref, item, kind=kind) for (kind, ref), item in (others or {}).items()]
    everything += [item for items in (referrers or {}).values() for item in items]
    extra = []
    if signer is not None:
        for ref, image in images.items():
            for target in [image, *((carried or {}).get(ref) or image.children)]:
                made = sign_image(signer, ref, target.descriptor)
                extra += [Extra.of(repository_of(ref), each) for each in made]
    created = datetime.fromtimestamp(serial, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    lock = replace(lock_of(roots, name=name, version=version, expires=expires), serial=serial, created=created)
    return make(everything, roots, extra, lock=lock)
