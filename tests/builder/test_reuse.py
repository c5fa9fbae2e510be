"""`build --cache`: what has not changed is taken from earlier bundles, and only what is what its digest says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keys import generate_key
from airbundle.store.reader import BundleFile, open_bundle
from tests.builder.conftest import UPSTREAM, Answer, Workshop
from tests.support import images

NAME = "shop-1.0.0.airbundle"
BASE = images.layer({"base": images.noise("base", 600_000)})
APP = images.tiny_image("app", sizes=(200_000,), shared=[BASE])
NEW = images.tiny_image("new", sizes=(150_000,), shared=[BASE])
COMMAND = [sys.executable, "-c", "import sys; from airbundle.cli.entry import main; sys.exit(main())"]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release key."""
    private, _ = generate_key(b"secret")
    path = tmp_path / "release.key"
    path.write_bytes(private)
    path.chmod(0o600)
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", "secret")
    return path


@pytest.fixture
def built(workshop: Workshop, key: Path) -> Workshop:
    """A workshop with one image, built into `old/`."""
    workshop.put(APP, "app", "1.0")
    workshop.put(NEW, "new", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/app:1.0"])
    good(build(workshop, "old"))
    return workshop


@pytest.fixture
def shm() -> Iterator[Path]:
    """A directory on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def build(workshop: Workshop, directory: str, *words: str | Path) -> Answer:
    out = workshop.root / directory
    out.mkdir(exist_ok=True)
    return workshop.build(out, "--key", workshop.root / "release.key", *words)


def good(answer: Answer) -> Answer:
    assert answer.code == 0, answer.text
    return answer


def asked(workshop: Workshop, since: int = 0) -> list[str]:
    return [request.path.partition("?")[0] for request in workshop.registry.requests()[since:]]


def count(workshop: Workshop) -> int:
    return len(workshop.registry.requests())


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


def identity(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def middle(path: Path, digest: str) -> int:
    """Return a position in the middle of a blob."""
    with open_bundle([path]) as bundle:
        member = bundle.table[digest]
        return member.offset + member.size // 2


def sizes(*artifacts: images.Artifact) -> int:
    """Return the bytes of configs and layers, each counted once."""
    return sum({blob.descriptor.digest: blob.descriptor.size for a in artifacts for blob in a.blobs}.values())


def test_when_nothing_changed_nothing_is_written_and_nobody_is_asked(built: Workshop) -> None:
    path = built.root / "old" / NAME
    before, listing, requests = identity(path), sorted(os.listdir(path.parent)), count(built)
    answer = good(build(built, "old"))
    assert answer.body["changed"] is False
    assert (answer.body["reused"], answer.body["fetched"]) == (0, 0)
    assert identity(path) == before
    assert sorted(os.listdir(path.parent)) == listing
    assert count(built) == requests
    assert answer.body["sha256"] in (path.parent / f"{NAME}.sha256").read_text()


def test_volumes_that_did_not_change_stay_as_they_are(built: Workshop) -> None:
    first = good(build(built, "parts", "--split-size", "200K"))
    before = [identity(Path(name)) for name in first.body["volumes"]]
    answer = good(build(built, "parts", "--split-size", "200K"))
    assert answer.body["changed"] is False
    assert [identity(Path(name)) for name in answer.body["volumes"]] == before
    anew = good(build(built, "parts", "--split-size", "300K"))
    assert (anew.body["changed"], anew.body["fetched"]) == (True, 0)
    assert len(list((built.root / "parts").glob("*.00*"))) < len(first.body["volumes"])


@pytest.mark.parametrize("suffix", [".sha256", ".sig"])
@pytest.mark.parametrize("lost", [True, False])
def test_files_beside_an_unchanged_bundle_are_made_again(built: Workshop, suffix: str, lost: bool) -> None:
    beside = built.root / "old" / f"{NAME}{suffix}"
    want = beside.read_bytes()
    beside.unlink() if lost else beside.write_bytes(b"something else\n")
    assert good(build(built, "old")).body["changed"] is False
    assert beside.read_bytes() == want


def test_an_output_without_a_record_is_hashed_and_then_known(built: Workshop) -> None:
    shutil.rmtree(built.root / "cache" / "verified")
    assert good(build(built, "old")).body["changed"] is False
    assert list((built.root / "cache" / "verified").glob("file-*"))


@pytest.mark.parametrize("words", [[], ["--cache", "old"]], ids=["", "named"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_output_is_written_anew(built: Workshop, recorded: bool, words: list[str]) -> None:
    path = built.root / "old" / NAME
    want = path.read_bytes()
    if not recorded:
        shutil.rmtree(built.root / "cache" / "verified")
    flip(path, middle(path, BASE.descriptor.digest))
    requests = count(built)
    answer = good(build(built, "old", *(built.root / word if word == "old" else word for word in words)))
    assert path.read_bytes() == want
    assert "it is written anew" in answer.text
    assert answer.body["changed"] is True
    assert answer.body["fetched"] == BASE.descriptor.size
    assert {p.rpartition("/")[2] for p in asked(built, requests)} == {BASE.descriptor.digest}


def test_an_output_that_changes_while_it_is_hashed_is_written_anew(
    built: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built.root / "old" / NAME
    want = path.read_bytes()
    shutil.rmtree(built.root / "cache" / "verified")
    real = BundleFile.verify_blobs

    def meanwhile(self: BundleFile, *words: Any) -> None:
        real(self, *words)
        flip(path, middle(path, BASE.descriptor.digest))

    monkeypatch.setattr(BundleFile, "verify_blobs", meanwhile)
    answer = good(build(built, "old"))
    assert answer.body["changed"] is True
    assert path.read_bytes() == want
    assert hashlib.sha256(want).hexdigest() in (path.parent / f"{NAME}.sha256").read_text()


def test_a_copy_of_the_same_bundle_is_told_as_one(built: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "--no-installer", str(built.root / "inventory"), "--key", str(built.root / "release.key")]
    words += ["--registries", str(built.root / "registries.yaml"), "--cache-dir", str(built.root / "cache")]
    assert main([*words, "-o", f"{built.root / 'new'}/", "--cache", str(built.root / "old")]) == 0
    assert "nothing changed; " in capsys.readouterr().out
    assert main([*words, "-o", f"{built.root / 'new'}/"]) == 0
    assert "nothing changed\n" in capsys.readouterr().out


def test_only_what_is_new_is_fetched(built: Workshop) -> None:
    built.inventory(images=[f"{UPSTREAM}/app:1.0", f"{UPSTREAM}/new:1.0"])
    good(built.lock())
    requests = count(built)
    answer = good(build(built, "new", "--cache", built.root / "old"))
    assert answer.body["changed"] is True
    assert answer.body["reused"] == sizes(APP)
    assert answer.body["fetched"] == sizes(APP, NEW) - sizes(APP)
    fetched = {path.rpartition("/")[2] for path in asked(built, requests)}
    assert fetched == {blob.descriptor.digest for blob in NEW.blobs} - {BASE.descriptor.digest}
    fresh = good(build(built, "fresh"))
    assert (built.root / "new" / NAME).read_bytes() == (built.root / "fresh" / NAME).read_bytes()
    assert fresh.body["reused"] == 0


@pytest.mark.parametrize("recorded", [True, False])
def test_a_fresh_runner_asks_for_nothing_that_the_cache_has(built: Workshop, recorded: bool) -> None:
    """Not for manifests and configs either."""
    signature = images.cosign_signature(APP.descriptor, f"{UPSTREAM}/app")
    built.put(signature, "app", f"sha256-{APP.digest[7:]}.sig")
    built.inventory(images=[f"{UPSTREAM}/app:1.0"], files=[{"path": "notes.txt"}])
    (built.root / "inventory" / "notes.txt").write_bytes(images.noise("notes", 90_000))
    good(built.lock("--update", "all"))
    want = Path(good(build(built, "old")).body["path"]).read_bytes()
    kept = built.root / "cache" / "verified"
    shutil.rmtree(built.root / "cache" / "blobs")
    if not recorded:
        shutil.rmtree(kept)
    requests = count(built)
    answer = good(build(built, "new", "--cache", built.root / "old" / NAME))
    assert answer.body["changed"] is False
    assert answer.body["fetched"] == 0
    # Upstream's own signature is not in the bundle: ours, which was appended to it, has taken its place.
    lost = {signature.digest, signature.blobs[0].descriptor.digest}
    assert {path.rpartition("/")[2] for path in asked(built, requests)} == lost
    assert (built.root / "new" / NAME).read_bytes() == want
    assert answer.body["sha256"] in (built.root / "new" / f"{NAME}.sha256").read_text()


def test_a_cache_on_another_file_system(built: Workshop, shm: Path) -> None:
    good(build(built, str(shm)))
    (built.root / "old" / NAME).unlink()
    requests = count(built)
    answer = good(build(built, "new", "--cache", shm))
    assert (built.root / "new" / NAME).read_bytes() == (shm / NAME).read_bytes()
    assert answer.body["fetched"] == 0
    assert asked(built, requests) == []


def test_volumes_are_a_cache_any_of_them_or_their_directory(built: Workshop) -> None:
    good(build(built, "parts", "--split-size", "200K"))
    (built.root / "cache").rename(built.root / "elsewhere")
    for number, name in enumerate((f"parts/{NAME}.002", "parts")):
        requests = count(built)
        answer = good(build(built, f"new{number}", "--cache", built.root / name))
        assert answer.body["fetched"] == 0
        assert asked(built, requests) == []
        assert (built.root / f"new{number}" / NAME).read_bytes() == (built.root / "old" / NAME).read_bytes()
    answer = good(build(built, "again", "--split-size", "200K", "--cache", built.root / "old"))
    assert answer.body["changed"] is False
    sums = [(built.root / d / f"{NAME}.sha256").read_text() for d in ("parts", "again")]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("quiet", [True, False], ids=["mtime-restored", "mtime-new"])
def test_a_cache_that_was_changed_in_place_gives_no_wrong_byte(built: Workshop, recorded: bool, quiet: bool) -> None:
    path = built.root / "old" / NAME
    want, before = path.read_bytes(), path.stat()
    if not recorded:
        shutil.rmtree(built.root / "cache" / "verified")
    flip(path, middle(path, BASE.descriptor.digest))
    if quiet:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    answer = good(build(built, "new", "--cache", path))
    assert (built.root / "new" / NAME).read_bytes() == want
    assert answer.body["changed"] is True, "what is in the cache is not what was built"
    assert answer.text.count("what is damaged there is taken from elsewhere") == 1
    assert answer.body["fetched"] == BASE.descriptor.size
    assert answer.body["reused"] == sizes(APP) - BASE.descriptor.size


def test_a_damaged_manifest_in_a_cache_is_fetched(built: Workshop) -> None:
    path = built.root / "old" / NAME
    want = path.read_bytes()
    flip(path, middle(path, APP.digest))
    shutil.rmtree(built.root / "cache")
    answer = good(build(built, "new", "--cache", path))
    assert (built.root / "new" / NAME).read_bytes() == want
    assert "warning: cache" in answer.text


def test_a_cache_that_can_not_be_opened(built: Workshop) -> None:
    path = built.root / "old" / NAME
    want = path.read_bytes()
    missing = build(built, "new", "--cache", built.root / "nothing")
    assert missing.code == 2
    assert "--cache" in missing.errors
    cut = built.root / "cut.airbundle"
    cut.write_bytes(want[:-100_000])
    other = built.root / "other.airbundle"
    other.write_bytes(b"no bundle" * 1000)
    lone = built.root / "lone.airbundle.002"
    lone.write_bytes(b"no volume")
    answer = good(build(built, "new", "--cache", cut, "--cache", other, "--cache", lone))
    assert (built.root / "new" / NAME).read_bytes() == want
    for name in (cut, other, lone):
        assert f"warning: cache {name}" in answer.text
    empty = built.root / "empty"
    empty.mkdir()
    good(build(built, "new2", "--cache", empty))


def test_a_bundle_that_verify_has_read_needs_no_other_pass(built: Workshop) -> None:
    shutil.rmtree(built.root / "cache")
    assert built.run("verify", built.root / "old" / NAME).code == 0
    assert not (built.root / "cache").exists()  # nothing is left on hosts that build nothing
    (built.root / "cache" / "verified").mkdir(parents=True)
    assert built.run("verify", built.root / "old" / NAME).code == 0
    assert list((built.root / "cache" / "verified").glob("file-*"))
    before = (built.root / "old" / NAME).stat()
    assert good(build(built, "old")).body["changed"] is False
    assert (built.root / "old" / NAME).stat().st_ino == before.st_ino


def test_a_build_from_a_cache_that_is_killed_goes_on(workshop: Workshop, key: Path) -> None:
    layers = [images.layer({"data": images.noise(f"big {n}", 3_000_000)}, compression="none") for n in range(12)]
    workshop.put(images.image(layers), "big", "1.0")
    workshop.inventory(images=[f"{UPSTREAM}/big:1.0"])
    want = Path(good(build(workshop, "old")).body["path"]).read_bytes()
    shutil.rmtree(workshop.root / "cache" / "verified")  # hashing takes long enough to be killed in the middle
    out = workshop.root / "new"
    out.mkdir()
    words = ["build", workshop.root / "inventory", "--registries", workshop.root / "registries.yaml", "--no-installer"]
    words += ["-o", out, "--key", key, "--cache-dir", workshop.root / "cache", "--cache", workshop.root / "old"]
    process = subprocess.Popen([*COMMAND, *map(str, words), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = out / f"{NAME}.partial.journal"
    while process.poll() is None and not (journal.exists() and "done" in journal.read_text()):
        threading.Event().wait(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    requests = count(workshop)
    answer = good(build(workshop, "new", "--cache", workshop.root / "old"))
    assert (out / NAME).read_bytes() == want
    assert asked(workshop, requests) == []
    assert answer.body["fetched"] == 0
    assert not journal.exists()
    assert json.dumps(answer.body)
