"""`build` against a real registry: the file, its determinism, and what it says when it can't."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.crypto.keys import generate_key, load_public_key
from airbundle.store.cache import Cache
from airbundle.store.reader import open_bundle
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.support import images
from tests.support.web import serve


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release key; its public half lies beside it."""
    private, public = generate_key(b"secret")
    path = tmp_path / "release.key"
    path.write_bytes(private)
    path.chmod(0o600)
    (tmp_path / "release.pub").write_bytes(public)
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "secret")
    return path


@pytest.fixture
def filled(workshop: Workshop) -> Workshop:
    """A workshop with two images that share a layer, one of them an index."""
    base = images.layer({"base": images.noise("base", 300_000)})
    workshop.put(images.tiny_image("app", shared=[base]), "app", "1.0")
    children = [images.tiny_image("multi", platform=p, shared=[base]) for p in ("linux/amd64", "linux/arm64")]
    workshop.put(images.index(children), "multi", "2.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/multi:2.0"])
    return workshop


def test_two_builds_of_one_lock_are_the_same_bytes(filled: Workshop, key: Path) -> None:
    outputs = []
    for name in ("first", "second"):
        directory = filled.root / name
        directory.mkdir()
        answer = filled.build(directory, "--key", key)
        assert answer.code == 0, answer.text
        outputs.append(Path(answer.body["path"]).read_bytes())
        assert hashlib.sha256(outputs[-1]).hexdigest() == answer.body["sha256"]
        # The second one is built without the first one's cache.
        (filled.root / "cache").rename(filled.root / f"cache-{name}")
    assert outputs[0] == outputs[1]
    for suffix in (".sha256", ".sig"):
        first, second = (filled.root / n / f"shop-1.0.0.airbundle{suffix}" for n in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_images_are_signed_with_all_carried_children(filled: Workshop, key: Path) -> None:
    path = Path(filled.build(filled.root, "--key", key).body["path"])
    with open_bundle([path]) as bundle:
        kinds = [root.annotations["dev.airbundle.kind"] for root in bundle.index]
        signed = load_public_key((filled.root / "release.pub").read_bytes())
        assert any(signed.verify(signature, bundle.statement_raw) for _, signature in bundle.signatures)
    # app, the index and its one carried child: a legacy signature and a referrer each.
    assert (kinds.count("image"), kinds.count("signature"), kinds.count("referrer")) == (2, 3, 3)


def test_an_unsigned_bundle_says_so_loudly(filled: Workshop) -> None:
    answer = filled.build(filled.root)
    assert answer.code == 0
    assert answer.body["signed"] is False
    assert "NOT SIGNED" in answer.text
    assert not (filled.root / "shop-1.0.0.airbundle.sig").exists()


def test_a_lock_that_does_not_fit_is_refused_with_what_does_not(filled: Workshop) -> None:
    filled.lock()
    filled.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/multi:2.0", f"{UPSTREAM}/new:3"])
    answer = filled.build(filled.root)
    assert answer.code == 2
    assert "new:3" in answer.errors
    assert "airbundle lock" in answer.text


def test_a_wrong_passphrase_is_told_before_anything_is_fetched(
    filled: Workshop, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "wrong")
    answer = filled.build(filled.root, "--key", key)
    assert answer.code == 2
    assert "passphrase" in answer.errors
    assert filled.registry.requests() == [] or not any("blobs" in r.path for r in filled.registry.requests())


def test_bytes_that_are_not_the_locked_ones_are_refused(filled: Workshop) -> None:
    filled.lock()
    store = filled.registry.storage / "docker/registry/v2/blobs/sha256"
    large = max(store.rglob("data"), key=lambda path: path.stat().st_size)
    raw = bytearray(large.read_bytes())
    raw[1000] ^= 1
    large.write_bytes(raw)
    answer = filled.build(filled.root)
    assert answer.code == 5
    assert large.parent.name in answer.errors
    assert not (filled.root / "shop-1.0.0.airbundle").exists()


def test_a_blob_that_vanished_upstream_is_named(filled: Workshop) -> None:
    filled.lock()
    store = filled.registry.storage / "docker/registry/v2/blobs/sha256"
    large = max(store.rglob("data"), key=lambda path: path.stat().st_size)
    large.unlink()
    answer = filled.build(filled.root)
    assert answer.code == 4
    assert large.parent.name in answer.errors
    assert not (filled.root / "shop-1.0.0.airbundle").exists()


def test_volumes_are_written_directly(filled: Workshop, key: Path) -> None:
    whole = Path(filled.build(filled.root, "--key", key).body["path"]).read_bytes()
    parts = filled.root / "parts"
    parts.mkdir()
    answer = filled.build(parts, "--key", key, "--split-size", "200K")
    assert answer.code == 0, answer.text
    volumes = [Path(name) for name in answer.body["volumes"]]
    assert len(volumes) > 1
    assert b"".join(path.read_bytes() for path in volumes) == whole


def test_building_again_gives_the_same_file(filled: Workshop, key: Path) -> None:
    first = filled.build(filled.root, "--key", key).body
    assert filled.build(filled.root, "--key", key).body["sha256"] == first["sha256"]


def _spoil(path: Path, *, cut: bool = False) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw[:-1] if cut else raw)


def _taken(answer: Answer) -> bytes:
    """Take a bundle away, which would serve the next build, and return its bytes."""
    path = Path(answer.body["path"])
    raw = path.read_bytes()
    path.unlink()
    return raw


@pytest.mark.parametrize("cut", [False, True])
def test_wrong_bytes_in_the_cache_heal(filled: Workshop, key: Path, cut: bool) -> None:
    """Of manifests, of an upstream signature's config, and of blobs that a registry has, too."""
    app = images.tiny_image("app", shared=[images.layer({"base": images.noise("base", 300_000)})])
    filled.put(images.cosign_signature(app.descriptor, f"{UPSTREAM}/app"), "app", f"sha256-{app.digest[7:]}.sig")
    good = _taken(filled.build(filled.root, "--key", key))
    cache = Cache(filled.root / "cache")
    for blob in app.blobs:
        assert blob.data is not None
        cache.add(blob.data, "")
    for path in (cache.root / "blobs/sha256").iterdir():
        _spoil(path, cut=cut)
    answer = filled.build(filled.root, "--key", key)
    assert answer.code == 0, answer.text
    assert Path(answer.body["path"]).read_bytes() == good


@pytest.mark.parametrize("cut", [False, True])
def test_wrong_bytes_of_what_only_the_cache_has_are_made_again_or_named(workshop: Workshop, cut: bool) -> None:
    directory = workshop.inventory(files=[{"path": "notes.txt"}, {"path": "more.txt"}])
    for name in ("notes.txt", "more.txt"):
        (directory / name).write_bytes(images.noise(name, 100_000))
    good = _taken(workshop.build(workshop.root))
    blobs = list((workshop.root / "cache/blobs/sha256").iterdir())
    for path in blobs:
        _spoil(path, cut=cut)
    answer = workshop.build(workshop.root)
    assert answer.code == 0, answer.text
    assert Path(answer.body["path"]).read_bytes() == good


def test_wrong_bytes_in_the_cache_that_can_not_be_made_again_are_named(workshop: Workshop) -> None:
    with serve() as web:
        web.files["/tool"] = tool = images.noise("tool", 100_000)
        digest = hashlib.sha256(tool).hexdigest()
        workshop.inventory(files=[{"url": f"{web.url}/tool", "sha256": digest}])
        assert workshop.lock().code == 0
        web.files.clear()
        _spoil(workshop.root / "cache/blobs/sha256" / digest)
        answer = workshop.build(workshop.root)
    assert answer.code == 4
    assert "file/tool:" in answer.errors
    assert not (workshop.root / "shop-1.0.0.airbundle").exists()


def test_a_foreign_layer_that_the_registry_lacks_is_told_as_what_it_is(workshop: Workshop) -> None:
    image = images.tiny_image("windows")
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    body = json.loads(image.raw)
    body["layers"].append(
        {"mediaType": foreign, "digest": f"sha256:{'a' * 64}", "size": 9, "urls": ["http://x.test/y"]}
    )
    raw = json.dumps(body).encode()
    changed = replace(image, raw=raw, descriptor=replace(image.descriptor, digest=sha256(raw), size=len(raw)))
    workshop.put(changed, "windows", "1")
    workshop.inventory(images=[f"{UPSTREAM}/windows:1"])
    answer = workshop.build(workshop.root)
    assert answer.code == 4
    assert "foreign layer" in answer.errors


def test_a_cache_that_can_not_be_written_only_costs_time(filled: Workshop) -> None:
    assert filled.lock().code == 0
    cache = filled.root / "cache"
    shutil.rmtree(cache)
    cache.mkdir()
    for name in ("tmp", "verified"):
        (cache / name).write_text("not a directory")
    answer = filled.build(filled.root)
    assert answer.code == 0, answer.text
    assert answer.text.count("warning: manifests are not kept") == 1
    assert "not kept" not in filled.build(filled.root, "--quiet").text
