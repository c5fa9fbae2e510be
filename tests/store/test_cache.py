from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import Descriptor
from airbundle.errors import DigestMismatch, HostError, NotFound, VerificationError
from airbundle.store.cache import Cache, default_cache_root
from airbundle.store.verified import VerifiedRecords

DATA = b"layer" * 1000
DIGEST = sha256(DATA)
TYPE = "application/x"


class Sink:
    """Takes what `copy_blob` writes, and counts the bytes."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.written = 0

    def __call__(self, offset: int, data: memoryview) -> None:
        self.data[offset : offset + len(data)] = data
        self.written += len(data)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def copied(cache: Cache, blob: Descriptor) -> bytes:
    sink = Sink(blob.size)
    cache.copy_blob(blob, sink)
    return bytes(sink.data)


def damage(path: Path, data: bytes) -> None:
    """Overwrite in place, as a bad disk or a careless hand does."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_added_bytes_are_read_back(cache: Cache) -> None:
    blob = cache.add(DATA, TYPE)
    assert blob == Descriptor(TYPE, DIGEST, len(DATA))
    assert cache.has(DIGEST)
    assert cache.has(DIGEST, len(DATA))
    assert not cache.has(DIGEST, 1)
    assert cache.read(DIGEST, 10_000) == DATA
    assert copied(cache, blob) == DATA
    assert cache.path(DIGEST) == cache.root / "blobs" / "sha256" / DIGEST[7:]


def test_modes_are_explicit_whatever_the_umask(cache: Cache) -> None:
    before = os.umask(0o266)
    try:
        cache.add(DATA, TYPE)
    finally:
        os.umask(before)
    assert cache.path(DIGEST).stat().st_mode & 0o777 == 0o600
    for directory in (cache.root, cache.path(DIGEST).parent, cache.records.root):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_an_uncommitted_blob_leaves_nothing(cache: Cache) -> None:
    with cache.adder() as adder:
        adder.write(DATA)
    assert not cache.has(DIGEST)
    assert list((cache.root / "tmp").iterdir()) == []


def test_an_unexpected_digest_is_refused(cache: Cache) -> None:
    with pytest.raises(DigestMismatch), cache.adder(sha256(b"other")) as adder:
        adder.write(DATA)
        adder.commit(TYPE)
    assert not cache.has(DIGEST)
    assert list((cache.root / "tmp").iterdir()) == []


def test_add_file(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert cache.add_file(path, TYPE, expected=DIGEST).digest == DIGEST
    with pytest.raises(DigestMismatch):
        cache.add_file(path, TYPE, expected=sha256(b""))
    with pytest.raises(HostError, match="nowhere"):
        cache.add_file(tmp_path / "nowhere", TYPE)


def test_a_missing_blob_is_not_found(cache: Cache) -> None:
    assert not cache.has(DIGEST)
    for use in (
        lambda: cache.read(DIGEST, 10),
        lambda: cache.copy_blob(Descriptor(TYPE, DIGEST, 1), Sink(1)),
        lambda: cache.read_into(DIGEST, 0, memoryview(bytearray(1))),
    ):
        with pytest.raises(NotFound):
            use()


@pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "sha512:" + "0" * 64, "sha256:" + "A" * 64])
def test_a_bad_digest_never_becomes_a_path(cache: Cache, digest: str) -> None:
    with pytest.raises(VerificationError):
        cache.path(digest)


def test_a_blob_over_the_limit_is_refused(cache: Cache) -> None:
    cache.add(DATA, TYPE)
    with pytest.raises(VerificationError, match="more than the 10 allowed"):
        cache.read(DIGEST, 10)


@pytest.mark.parametrize("spoil", [b"x" + DATA[1:], DATA + b"x", DATA[:-1], b""])
def test_wrong_bytes_are_dropped_and_told(cache: Cache, spoil: bytes) -> None:
    blob = cache.add(DATA, TYPE)
    cache.path(DIGEST).write_bytes(spoil)
    with pytest.raises(DigestMismatch, match=DIGEST):
        copied(cache, blob)
    assert not cache.has(DIGEST)
    cache.add(DATA, TYPE)
    assert copied(cache, blob) == DATA


def test_wrong_bytes_are_noticed_though_the_mtime_is_put_back(cache: Cache) -> None:
    blob = cache.add(DATA, TYPE)
    time.sleep(0.02)  # the kernel's clock for files ticks in steps
    damage(cache.path(DIGEST), b"x")
    with pytest.raises(DigestMismatch):
        copied(cache, blob)


def test_a_verified_blob_is_not_hashed_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = cache.add(DATA, TYPE)
    read: list[int] = []
    genuine = hashlib.sha256()

    class Counting:
        def update(self, data: bytes | bytearray | memoryview, /) -> None:
            read.append(len(data))
            genuine.update(data)

        def hexdigest(self) -> str:
            return genuine.hexdigest()

    monkeypatch.setattr("airbundle.store.cache.hashlib.sha256", Counting)
    assert copied(cache, blob) == DATA
    assert read == []
    cache.records.forget(f"sha256-{DIGEST[7:]}")
    assert copied(cache, blob) == DATA
    assert sum(read) == len(DATA)
    read.clear()
    assert copied(cache, blob) == DATA
    assert read == []


@given(start=st.integers(0, len(DATA)))
def test_a_copy_continues_where_another_ended(tmp_path_factory: pytest.TempPathFactory, start: int) -> None:
    cache = Cache(tmp_path_factory.getbasetemp() / "continued")
    blob = cache.add(DATA, TYPE)
    sink = Sink(len(DATA))
    cache.copy_blob(blob, sink, start=start, hasher=hashlib.sha256(DATA[:start]))
    assert sink.data[start:] == DATA[start:]
    assert sink.written == len(DATA) - start


def test_a_copy_that_began_wrong_starts_over(cache: Cache) -> None:
    blob = cache.add(DATA, TYPE)
    sink = Sink(len(DATA))
    cache.copy_blob(blob, sink, start=100, hasher=hashlib.sha256(b"x" * 100))
    assert bytes(sink.data) == DATA
    assert cache.has(DIGEST)


def test_reading_at_random(cache: Cache) -> None:
    cache.add(DATA, TYPE)
    buffer = bytearray(10)
    assert cache.read_into(DIGEST, 3, memoryview(buffer)) == 10
    assert bytes(buffer) == DATA[3:13]
    assert cache.read_into(DIGEST, len(DATA) - 2, memoryview(buffer)) == 2
    assert cache.read_into(DIGEST, len(DATA), memoryview(buffer)) == 0


def test_prune_drops_what_nobody_used(cache: Cache) -> None:
    old, used, fresh = (cache.add(data, TYPE) for data in (b"old", b"used", b"fresh"))
    past = time.time() - 1000
    for blob in (old, used):
        os.utime(cache.path(blob.digest), (past, past))
        cache.records.forget(f"sha256-{blob.digest[7:]}")
    copied(cache, used)
    assert cache.prune(500) == 3
    assert [cache.has(blob.digest) for blob in (old, used, fresh)] == [False, True, True]


def test_prune_of_an_empty_cache(cache: Cache) -> None:
    assert cache.prune(0) == 0


ADD_MANY = """
import sys
from pathlib import Path
from airbundle.store.cache import Cache
cache = Cache(Path(sys.argv[1]))
for round in range(10):
    for number in range(10):
        cache.add(b"%d" % number * 1000, "x")
        assert cache.read(cache.add(b"%d" % number * 1000, "x").digest, 10000) == b"%d" % number * 1000
"""


def test_many_processes_share_a_cache(cache: Cache) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", ADD_MANY, str(cache.root)]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert len(list((cache.root / "blobs" / "sha256").iterdir())) == 10
    assert list((cache.root / "tmp").iterdir()) == []


def test_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_root() == Path("/xdg/airbundle")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_cache_root() == Path("/home/x/.cache/airbundle")


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HostError, match="file"):
        Cache(tmp_path / "file" / "cache").add(b"", TYPE)


def test_a_record_holds_for_one_boot_and_its_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = VerifiedRecords(tmp_path / "records")
    file = tmp_path / "file"
    file.write_bytes(DATA)
    records.remember("bundle", file.stat(), statement=DIGEST)
    assert records.holds("bundle", file.stat(), statement=DIGEST)
    assert not records.holds("bundle", file.stat())
    assert not records.holds("other", file.stat(), statement=DIGEST)
    monkeypatch.setattr("airbundle.store.verified.boot_id", lambda: "another boot")
    assert not records.holds("bundle", file.stat(), statement=DIGEST)


@given(st.binary(max_size=200))
def test_a_damaged_record_is_no_record(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    records = VerifiedRecords(tmp_path_factory.getbasetemp() / "records")
    records.root.mkdir(exist_ok=True)
    (records.root / "key.json").write_bytes(content)
    assert not records.holds("key", records.root.stat())


@pytest.mark.parametrize("key", ["", "../x", "A", "a/b", ".hidden"])
def test_a_key_is_no_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError):
        VerifiedRecords(tmp_path).holds(key, tmp_path.stat())


TOO_MUCH = """
import resource, sys
from pathlib import Path
from airbundle.errors import NoSpace
from airbundle.store.cache import Cache
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cache = Cache(Path(sys.argv[1]))
try:
    cache.add(bytes(200_000), "x")
except NoSpace as error:
    print(error.exit_code, error.hint)
print([path.name for path in (cache.root / "tmp").iterdir()])
"""


def test_a_full_disk_is_told_and_leaves_nothing(cache: Cache) -> None:
    done = subprocess.run([sys.executable, "-c", TOO_MUCH, str(cache.root)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("7 free space")
    assert done.stdout.endswith("[]\n")
