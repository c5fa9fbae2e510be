"""docs/format.md once more, in code that shares nothing with airbundle: every byte of a bundle from its documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from airbundle.store.plan import plan_bundle
from tests.support.bundles import Made, locked, make, write_bundle
from tests.support.images import attestation, index, layer, noise, referrer, tiny_image
from tests.support.keys import FIRST, SECOND, signature

BLOCK = 512


def ustar(name: str, size: int, typeflag: bytes) -> bytes:
    fields = {
        0: name.encode(),
        100: b"0000644",
        108: b"0000000",
        116: b"0000000",
        124: b"%011o" % size,
        136: b"00000000000",
        148: b"        ",
        156: typeflag,
        257: b"ustar\x0000",
        329: b"0000000",
        337: b"0000000",
    }
    block = bytearray(BLOCK)
    for offset, value in fields.items():
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def frame(start: int, name: str, size: int) -> bytes:
    large = size > 8**11 - 1
    if size < 65536 or (not large and (start + BLOCK) % 4096 == 0):
        return ustar(name, size, b"0")
    length = -(-(start + 1536) // 4096) * 4096 - start
    records = b""
    if large:
        records = f"{len(f'20 size={size}') + 1} size={size}\n".encode()
    left = length - 1024 - len(records)
    records += f"{left} comment=".encode().ljust(left - 1, b".") + b"\n"
    return ustar("././@PaxHeader", len(records), b"x") + records + ustar(name, 0 if large else size, b"0")


def append(file: bytearray, name: str, data: bytes, *, blob: bool = False) -> None:
    file += frame(len(file), name, len(data)) if blob else ustar(name, len(data), b"0")
    file += data
    file += bytes(-len(data) % BLOCK)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def docker_view(roots: list[dict[str, Any]], blobs: dict[str, bytes]) -> bytes:
    entries: dict[str, dict[str, Any]] = {}
    for root in roots:
        if root["annotations"]["dev.airbundle.kind"] != "image":
            continue
        found = leaves(root, blobs)
        preferred = [leaf for leaf in found if leaf.get("platform", {}) == {"architecture": "amd64", "os": "linux"}]
        chosen = (preferred or found)[0]
        manifest = json.loads(blobs[chosen["digest"]])
        entry = {
            "Config": "blobs/sha256/" + manifest["config"]["digest"][7:],
            "Layers": ["blobs/sha256/" + item["digest"][7:] for item in manifest["layers"]],
            "RepoTags": [],
        }
        entries.setdefault(chosen["digest"], entry)["RepoTags"].append(root["annotations"]["dev.airbundle.ref"])
    return canonical(list(entries.values()))


def leaves(descriptor: dict[str, Any], blobs: dict[str, bytes]) -> list[dict[str, Any]]:
    body = json.loads(blobs[descriptor["digest"]])
    if "manifests" in body:
        return [leaf for child in body["manifests"] if child["digest"] in blobs for leaf in leaves(child, blobs)]
    if "vnd.docker.reference.type" in descriptor.get("annotations", {}):
        return []
    return [descriptor]


def from_the_page(raw: bytes, blobs: dict[str, bytes], installer: bytes, signatures: list[tuple[str, bytes]]) -> bytes:
    """Build the file anew from its signed documents, which are taken out by their names."""
    import base64

    def document(name: str) -> bytes:
        header = raw.index(name.encode() + b"\0")
        size = int(raw[header + 124 : header + 135], 8)
        return raw[header + BLOCK : header + BLOCK + size]

    statement = document("airbundle/statement.json")
    subjects = {
        subject["name"]: (subject["digest"]["sha256"], subject["annotations"]["size"])
        for subject in json.loads(statement)["subject"]
    }
    bound = {name: document(name) for name in ("index.json", "airbundle/lock.json", "airbundle/toc.json")}
    for name, data in {**bound, "installer": installer}.items():
        assert subjects[name] == (hashlib.sha256(data).hexdigest(), len(data))
    lines = sorted(f"{key} {base64.b64encode(value).decode()}\n" for key, value in signatures)
    file = bytearray()
    append(file, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    append(file, "index.json", bound["index.json"])
    append(file, "manifest.json", docker_view(json.loads(bound["index.json"])["manifests"], blobs))
    append(file, "airbundle/statement.json", statement)
    append(file, "airbundle/signatures", "".join(lines).encode().ljust(65536, b"\0"))
    append(file, "airbundle/lock.json", bound["airbundle/lock.json"])
    append(file, "airbundle/toc.json", bound["airbundle/toc.json"])
    toc = json.loads(bound["airbundle/toc.json"])
    assert canonical(toc) == bound["airbundle/toc.json"]
    for digest, size in toc["blobs"]:
        assert len(blobs[f"sha256:{digest}"]) == size
        append(file, f"blobs/sha256/{digest}", blobs[f"sha256:{digest}"], blob=True)
    return bytes(file) + bytes(1024) + installer


def content() -> Made:
    base = layer({"base": noise("base", 66_000)})
    redis, child = tiny_image("redis", sizes=(10, 90_000), shared=[base]), tiny_image("nginx")
    both = index([attestation(child), tiny_image("nginx", platform="linux/arm64", shared=[base]), child])
    arm = index([tiny_image("arm", platform="linux/arm64"), tiny_image("arm", platform="linux/s390x")])
    claim, chart = referrer(redis.descriptor), tiny_image("chart")
    roots = [
        locked("docker.io/library/redis:7.2", redis, referrers=[claim]),
        locked("docker.io/library/redis:7", redis),
        locked("quay.io/x/nginx:1", both),
        locked("quay.io/x/arm:1", arm, children=arm.children[:1]),
        locked("charts.io/x/chart:1", chart, kind="chart"),
    ]
    return make([redis, both, arm, claim, chart], roots)


@pytest.mark.parametrize("installer", [b"", b"PK the zip" * 1000], ids=["empty", "zip"])
def test_the_page_and_the_program_agree_on_every_byte(tmp_path: Path, installer: bytes) -> None:
    made = content()
    statement = plan_bundle(made.content, installer=installer).statement
    signatures = [signature(signer, statement) for signer in (SECOND, FIRST)]
    path = write_bundle(tmp_path / "x.airbundle", made, installer=installer, signatures=signatures).path
    blobs = {**made.bytes, **made.content.small}
    assert from_the_page(path.read_bytes(), blobs, installer, signatures) == path.read_bytes()


@pytest.mark.parametrize("size", [65535, 65536, 8**11 - 1, 8**11, 10**13])
@pytest.mark.parametrize("blocks", range(9))
def test_frames_of_any_size_agree(size: int, blocks: int) -> None:
    from airbundle.bundle import tar

    (member,) = tar.place([("blobs/sha256/" + "a" * 64, size)], blocks * BLOCK)
    assert frame(blocks * BLOCK, member.name, size) == tar.frame(member)
