"""A base and deltas on it, for tests: three bundles in a chain, of which each changes one layer."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from airbundle.bundle.digest import sha256
from airbundle.bundle.statement import Base
from airbundle.store.plan import BaseBundle, plan_bundle
from airbundle.store.reader import open_bundle
from tests.installer.bundles import Key, chart, content
from tests.support.bundles import SERIAL, Made, write_bundle
from tests.support.images import Artifact, layer, noise, tiny_image

LAYER = layer({"base": noise("delta base", 3_000_000)})
"""What no delta carries."""

APP = chart("app", "1.0.0")
STAYS = tiny_image("stays", sizes=(80_000,))
CHART = "charts.example.org/app:1.0.0"
FILE = ("file", "file/tool:1")
DATABASE = tiny_image("main.cvd", sizes=(100_000,))


def of_version(number: int, *, signer: Key | None = None, more: Mapping[str, Artifact] | None = None) -> Made:
    """Return the content of version 1.`number`: an image on LAYER with a layer of its own, a chart, a database."""
    images = {
        "docker.io/library/redis:7": tiny_image(f"redis{number}", shared=[LAYER], sizes=(70_000,)),
        "docker.io/library/stays:1": STAYS,
        **(more or {}),
    }
    return content(
        images,
        charts={CHART: APP},
        others={FILE: DATABASE},
        signer=signer.signer if signer else None,
        version=f"1.{number}.0",
        serial=SERIAL + 60 * number,
    )


def has(path: Path) -> frozenset[str]:
    """Return the blobs that a bundle carries or builds on."""
    with open_bundle([path]) as bundle:
        return frozenset(digest for digest, _ in bundle.toc.blobs + bundle.toc.external)


def write_delta(path: Path, made: Made, base: Path, key: Key, *, blobs: Container[str] | None = None) -> Path:
    """Write a signed delta of `made` on the bundle `base`, or on `blobs`."""
    with open_bundle([base]) as opened:
        statement = opened.statement
        told = Base(statement.name, statement.version, statement.serial, sha256(opened.statement_raw))
    delta = BaseBundle(told, has(base) if blobs is None else blobs)
    return write_signed(path, made, key, base=delta)


def write_signed(path: Path, made: Made, key: Key, *, base: BaseBundle | None = None) -> Path:
    """Write a signed bundle."""
    installer = b"PK the zip"
    statement = plan_bundle(made.content, installer=installer, base=base).statement
    signatures = [(key.signer.public_key.key_id, key.signer.sign(statement))]
    write_bundle(path, made, installer=installer, signatures=signatures, base=base, checksum=False)
    return path


@dataclass(frozen=True)
class Chain:
    """A full bundle, a delta on it, and a delta on that one."""

    key: Key
    base: Path
    delta: Path
    second: Path


def make_chain(directory: Path, key: Key) -> Chain:
    """Write the three."""
    base = write_signed(directory / "test-1.0.0.airbundle", of_version(0), key)
    delta = write_delta(directory / "test-1.1.0.airbundle", of_version(1), base, key)
    second = write_delta(directory / "test-1.2.0.airbundle", of_version(2), delta, key)
    return Chain(key, base, delta, second)


def flip(path: Path, digest: str) -> None:
    """Change one bit in the middle of a blob."""
    with open_bundle([path]) as bundle:
        member = bundle.table[digest]
    where = member.offset + member.size // 2
    with path.open("r+b") as stream:
        stream.seek(where)
        byte = stream.read(1)[0]
        stream.seek(where)
        stream.write(bytes([byte ^ 1]))
